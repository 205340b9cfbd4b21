"""What a run records of itself: lines of metrics, its end, what was skipped, its state, and what it goes on with."""

import json
import re
import time
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from tones import FRONTEND, INVENTORY, align_tones, fit

from asr_kd.data.loader import TrainingSet
from asr_kd.models.acoustic import build_model
from asr_kd.models.config import ModelConfig
from asr_kd.shards.catalogue import open_catalogue
from asr_kd.targets.alignments import AlignmentFolders
from asr_kd.train.config import OptimConfig, TrainConfig
from asr_kd.train.trainer import Trainer

CONFIG = TrainConfig(max_frames_per_batch=150, num_workers=0, device="cpu", optim=OptimConfig(lr=0.01))


@pytest.fixture(scope="module")
def streams(tone_shards, tmp_path_factory):
    aligned = align_tones(tone_shards, tmp_path_factory.mktemp("align"), set_aside={"tone-03"})
    targets = AlignmentFolders([aligned], INVENTORY)
    return (
        TrainingSet("labelled", open_catalogue(*tone_shards[:2]), targets),
        TrainingSet("unlabelled", open_catalogue(*tone_shards[1:]), targets),
        TrainingSet("dev", open_catalogue(*tone_shards[2:]), targets),
    )


def new_model():
    torch.manual_seed(0)
    return build_model(ModelConfig(num_layers=1, hidden_size=8), INVENTORY, FRONTEND)


@pytest.fixture
def recorded(streams, tmp_path, capsys):
    """A run of two sub-epochs: the set it trained on, how it ended, its lines, what it said."""
    labelled, _, dev = streams
    config = replace(CONFIG, ema_decay=0.0, optim=OptimConfig(lr=0.01, warmup_fraction=0.5))
    trainer = Trainer(new_model(), [(labelled, 1.0)] * 2, dev, config, tmp_path)
    result = trainer.run()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    return labelled, result, lines, capsys.readouterr().err


def test_each_sub_epoch_is_a_line_of_metrics_and_on_the_terminal(recorded):
    labelled, _, lines, told = recorded
    hours = labelled.shards.seconds_N.sum() / 3600
    assert [(line["sub_epoch"], line["stream"], line["skipped"]) for line in lines] == [
        (1, "labelled", 1),
        (2, "labelled", 1),
    ]
    assert [line["lr"] for line in lines] == pytest.approx([0.01, 0.01 * OptimConfig().min_lr_ratio])
    passed, lowest = 0.0, float("inf")
    for line in lines:
        assert line["losses"].keys() == {"labelled"} and line["loss"] == line["losses"]["labelled"]
        assert line["grad_norm"] == {}
        assert line["hours_per_second"] == pytest.approx(hours / (line["seconds"] - passed), rel=1e-6)
        passed = line["seconds"]
        best = r" \*" if line["dev_loss"] < lowest else ""
        lowest = min(lowest, line["dev_loss"])
        shown = (
            rf"^  {line['sub_epoch']}/2 labelled: loss {line['loss']:.3f}, dev {line['dev_loss']:.3f}, frame accuracy "
            rf"{100 * line['dev_frame_accuracy']:.1f}%, lr {line['lr']:.1e}, {line['hours_per_second']:.3f} h/s, "
            rf"{passed:.0f} s{best}$"
        )
        assert re.search(shown, told, re.MULTILINE)


def test_a_run_ends_with_the_best_of_its_tests(recorded, tmp_path):
    _, result, lines, _ = recorded
    best = min(lines, key=lambda line: line["dev_loss"])
    assert (result.best_step, result.dev_loss) == (best["step"], best["dev_loss"])
    assert result.dev_frame_accuracy == best["dev_frame_accuracy"]
    assert (result.steps, result.seconds) == (lines[-1]["step"], lines[-1]["seconds"])
    assert (result.stopped_early, result.accuracy_unit) == (False, "frames")
    assert result.hours == pytest.approx(2 * lines[0]["hours_per_second"] * lines[0]["seconds"])
    with safe_open(tmp_path / "model.safetensors", "pt") as f:
        (described,) = f.metadata().values()
    assert json.loads(described)["notes"] == {
        "step": best["step"],
        "loss": best["dev_loss"],
        "frame_accuracy": best["dev_frame_accuracy"],
    }


def test_what_is_skipped_is_told_once_when_a_pass_is_done_and_of_all_sets_at_the_end(
    tone_shards, streams, tmp_path, capsys
):
    targets = AlignmentFolders(
        [align_tones(tone_shards, tmp_path / "half", {f"tone-{n:02d}" for n in range(0, 12, 2)})], INVENTORY
    )
    config = replace(CONFIG, max_skipped=1.0, patience=None)
    labelled, unlabelled, dev = (replace(stream, targets=targets) for stream in streams)
    for expected in ([2, 1, 2], [1, 1, 1]):  # a run that has ended tells all of it again
        fit(new_model(), [(labelled, 1.0)] * 3 + [(unlabelled, 0.5)], dev, config, tmp_path / "out")
        told = capsys.readouterr().err
        assert (tmp_path / "out/skipped-unlabelled.jsonl").exists()
        counts = [told.count(f" {name} utterances skipped") for name in ("labelled", "unlabelled", "dev")]
        assert counts == expected
    rows = [json.loads(line) for line in (tmp_path / "out/skipped-labelled.jsonl").read_text().splitlines()]
    assert {row["id"] for row in rows} <= {f"tone-{n:02d}" for n in range(0, 12, 2)}
    assert {row["reason"] for row in rows} == {"it has no targets"}


def test_held_out_batches_are_kept_where_they_fit_and_give_the_same_where_not(streams, tmp_path, monkeypatch):
    labelled, _, dev = streams
    config = CONFIG
    kept = Trainer(new_model(), [(labelled, 1.0)], dev, config, tmp_path / "kept")
    assert next(kept._dev_batches()) is next(kept._dev_batches())
    kept.run()
    monkeypatch.setattr("asr_kd.train.trainer.KEPT_DEV_SECONDS", 0)
    anew = Trainer(new_model(), [(labelled, 1.0)], dev, config, tmp_path / "anew")
    assert next(anew._dev_batches()) is not next(anew._dev_batches())
    anew.run()
    for name in ("model.safetensors", "skipped-labelled.jsonl"):
        assert (tmp_path / "kept" / name).read_bytes() == (tmp_path / "anew" / name).read_bytes()


@pytest.mark.parametrize(("seconds", "saved"), [(50, False), (60.2, True)])
def test_the_state_is_saved_as_often_as_asked(streams, tmp_path, seconds, saved):
    labelled, _, dev = streams
    model, found = new_model(), []
    config = replace(CONFIG, checkpoint_every_minutes=1)
    trainer = Trainer(model, [(labelled, 1.0)], dev, config, tmp_path)

    def turn_back_the_clock(module, arguments):
        if module.training:
            found.append((tmp_path / "state.pt").exists())
            trainer.last_save = time.monotonic() - seconds

    model.register_forward_pre_hook(turn_back_the_clock)
    trainer.run()
    assert found[:3] == [False, False, saved]  # asked of all ranks in the step after
    assert time.monotonic() - trainer.last_save < 40


def test_a_run_goes_on_only_with_its_schedule_and_what_it_was_begun_with(streams, tmp_path):
    labelled, _, dev = streams
    config = CONFIG
    begin = lambda times, **given: Trainer(new_model(), [(labelled, 0.2)] * times, dev, config, tmp_path, **given)
    begin(1, begun_with={"init": "a"}).run()
    assert begin(1, begun_with={"init": "a"}).state.finished
    with pytest.raises(ValueError, match="this run was begun with init = a, here it is b"):
        begin(1, begun_with={"init": "b"})
    with pytest.raises(ValueError, match="this run was begun with schedule = "):
        begin(2, begun_with={"init": "a"})
    anew = begin(2, resume=False)
    assert anew.state.step == 0 and not (tmp_path / "state.pt").exists() and not (tmp_path / "metrics.jsonl").exists()
