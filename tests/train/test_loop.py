import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from run_records import first_difference, record
from tones import FRONTEND, INVENTORY, align_tones, fit

from asr_kd.data.loader import TrainingSet, batches
from asr_kd.data.sampler import BatchSampler
from asr_kd.frontend.augment import AugmentConfig
from asr_kd.models.acoustic import build_model
from asr_kd.models.checkpoint import load_model
from asr_kd.models.config import ModelConfig
from asr_kd.shards.catalogue import open_catalogue
from asr_kd.targets.alignments import AlignmentFolders
from asr_kd.train.cmvn import feature_statistics
from asr_kd.train.config import OptimConfig, TrainConfig
from asr_kd.train.evaluate import evaluate
from asr_kd.train.objective import FrameObjective
from asr_kd.train.optim import adamw, learning_rate
from asr_kd.train.priors import log_priors
from asr_kd.train.trainer import Trainer

CONFIG = TrainConfig(max_frames_per_batch=150, num_workers=2, device="cpu", optim=OptimConfig(lr=0.01))


@pytest.fixture(scope="module")
def targets(tone_shards, tmp_path_factory):
    out = align_tones(tone_shards, tmp_path_factory.mktemp("align"), set_aside={"tone-03"})
    return AlignmentFolders([out], INVENTORY)


@pytest.fixture(scope="module")
def streams(tone_shards, targets):
    augment = AugmentConfig(speed_perturb=(0.9, 1.0, 1.1), noise_prob=0.5, num_time_masks=1)
    unlabelled = TrainingSet("unlabelled", open_catalogue(*tone_shards[1:]), targets, augment)
    return (
        TrainingSet("labelled", open_catalogue(*tone_shards[:2]), targets, augment),
        unlabelled,
        TrainingSet("dev", open_catalogue(*tone_shards[2:]), targets),
    )


def new_model():
    torch.manual_seed(0)
    return build_model(ModelConfig(num_layers=2, hidden_size=16, bidirectional=True, dropout=0.3), INVENTORY, FRONTEND)


def train(streams, out, config=CONFIG, model=None, **options):
    labelled, unlabelled, dev = streams
    schedule = [(unlabelled, 0.5), (labelled, 1.0)] * 2
    return fit(model or new_model(), schedule, dev, config, out, **options)


@pytest.fixture(scope="module")
def finished(streams, tmp_path_factory):
    """The folder of a run that has ended, and how it ended. Read only."""
    out = tmp_path_factory.mktemp("finished")
    return out, train(streams, out)


@pytest.fixture
def again(finished, tmp_path):
    """A copy of that folder."""
    shutil.copytree(finished[0], tmp_path / "again")
    return tmp_path / "again"


def model_that_is_signalled(at_step, which):
    """Sends a signal to this process in the forward pass of a training step."""
    model, steps = new_model(), []

    def hook(module, arguments):
        if module.training:
            steps.append(1)
            if len(steps) == at_step:
                os.kill(os.getpid(), which)

    model.register_forward_pre_hook(hook)
    return model


@pytest.mark.parametrize(
    ("stops", "workers", "which"),
    [((1, 2, 3), 2, signal.SIGTERM), ((4,), 0, signal.SIGINT)],
    ids=["stopped three times", "stopped once, other workers"],
)
def test_a_run_that_was_stopped_ends_bit_for_bit_as_one_that_was_not(
    streams, finished, tmp_path, capfd, stops, workers, which
):
    config = replace(CONFIG, num_workers=workers)
    out, whole = finished
    for step in stops:
        with pytest.raises(KeyboardInterrupt):
            train(streams, tmp_path / "cut", config, model=model_that_is_signalled(step, which))
        assert f"{which.name}: stopped at step" in capfd.readouterr().err
    cut = train(streams, tmp_path / "cut", config)
    assert cut.steps == whole.steps > sum(stops)
    assert first_difference(record(tmp_path / "cut"), record(out)) is None


def test_a_run_that_died_goes_on_from_its_last_state(streams, finished, tmp_path):
    out, whole = finished
    config = replace(CONFIG, checkpoint_every_minutes=0)  # after every step

    def die(module, arguments):
        if module.training:
            steps.append(1)
            if len(steps) == whole.steps - 1:
                raise SystemError

    steps, model = [], new_model()
    model.register_forward_pre_hook(die)
    with pytest.raises(SystemError):
        train(streams, tmp_path / "cut", config, model=model)
    with open(tmp_path / "cut" / "metrics.jsonl", "a") as f:
        f.write('{"sub_epoch": 100000, "of": "steps that are lost"}\n{"sub_ep')
    train(streams, tmp_path / "cut")
    assert first_difference(record(tmp_path / "cut"), record(out)) is None


def test_a_run_that_died_before_its_last_record_counted_records_that_sub_epoch_once(streams, finished, tmp_path):
    class Dying(FrameObjective):
        def after_sub_epoch(self, model):
            raise SystemError

    with pytest.raises(SystemError):
        train(streams, tmp_path, replace(CONFIG, checkpoint_every_minutes=0), objective=Dying())
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 1
    train(streams, tmp_path)
    assert first_difference(record(tmp_path), record(finished[0])) is None


def test_a_finished_run_is_not_run_again_and_restart_begins_anew(streams, finished, again, capsys):
    first, before = finished[1], record(again)
    assert before["parts"].keys() == {"model", "optimizer", "average"}
    assert train(streams, again) == first
    assert f"{again / 'state.pt'}: going on at step {first.steps}\n" in capsys.readouterr().err
    assert first_difference(record(again), before) is None
    assert train(streams, again, resume=False).steps == first.steps
    assert first_difference(record(again), before) is None


def test_a_run_with_other_settings_is_not_mixed_in(streams, again):
    with pytest.raises(ValueError, match=r"train\.optim\.lr = 0\.01, here it is 0\.02.*--restart"):
        train(streams, again, replace(CONFIG, optim=OptimConfig(lr=0.02)))
    (again / "state.pt").write_bytes((again / "state.pt").read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"state\.pt: damaged"):
        train(streams, again)


def test_a_run_goes_on_only_over_the_same_shards_and_targets(tone_shards, targets, streams, again, tmp_path):
    labelled, unlabelled, dev = streams
    others = AlignmentFolders([align_tones(tone_shards, tmp_path / "moved", {"tone-03"}, shift=1)], INVENTORY)
    without = AlignmentFolders([align_tones(tone_shards, tmp_path / "fewer", {"tone-03", "tone-05"})], INVENTORY)
    same = AlignmentFolders([align_tones(tone_shards, tmp_path / "copy", {"tone-03"})], INVENTORY)
    for changed, stream in (
        ((replace(labelled, targets=others), unlabelled, dev), "labelled"),
        ((labelled, replace(unlabelled, targets=without), dev), "unlabelled"),
        ((labelled, unlabelled, replace(dev, targets=others)), "dev"),
        ((replace(labelled, shards=open_catalogue(*tone_shards[1:])), unlabelled, dev), "labelled"),
    ):
        with pytest.raises(ValueError, match=rf"this run was begun with sets\.{stream}\.[a-z ]+ = "):
            train(changed, again)
    before = record(again)
    train(tuple(replace(stream, targets=same) for stream in streams), again)
    assert first_difference(record(again), before) is None


def damaged(content):
    """The content of a state with one bit, or one value, that is another."""
    weight = content["parts"]["model"]["output.weight"]
    moment = content["parts"]["optimizer"]["state"][0]["exp_avg"]
    yield "weight", lambda: weight.view(torch.int32)[0, 0].bitwise_xor_(1)
    yield "moment", lambda: moment.view(torch.int32).view(-1)[-1].bitwise_xor_(1 << 30)
    yield "counter", lambda: content["state"].__setitem__("step", content["state"]["step"] + 1)
    yield "position", lambda: content["state"]["positions"]["labelled"].__setitem__("batch", 1)
    yield "no digest", lambda: content.pop("digest")


@pytest.mark.parametrize("what", ["weight", "moment", "counter", "position", "no digest"])
def test_a_state_with_flipped_bits_is_refused(streams, again, what):
    content = torch.load(again / "state.pt", weights_only=True)
    dict(damaged(content))[what]()
    torch.save(content, again / "state.pt")
    with pytest.raises(ValueError, match=r"state\.pt: damaged \(its digest is another\)"):
        train(streams, again)


@pytest.mark.parametrize(
    "content", [[1, 2], {"parts": {}}, {"version": 2}, {"version": "x" * 500}, torch.ones(3), None]
)
def test_an_odd_or_older_state_is_one_clear_line(streams, tmp_path, content):
    torch.save(content, tmp_path / "state.pt")
    with pytest.raises(ValueError, match=r"state\.pt: (damaged|state version .*this asr_kd reads 5)") as e:
        train(streams, tmp_path)
    assert "\n" not in str(e.value) and len(str(e.value)) < 300


@pytest.mark.parametrize(
    "bytes_", [b"", b"\x80\x02}q\x00.", b"PK\x03\x04" + b"\0" * 100, b"\x80\x02K\x01.", b"cos\nsystem\n."]
)
def test_bytes_that_are_no_state_are_one_clear_line(streams, tmp_path, bytes_):
    (tmp_path / "state.pt").write_bytes(bytes_)
    with pytest.raises(ValueError, match=r"state\.pt: (damaged|state version)"):
        train(streams, tmp_path)


@pytest.mark.parametrize("select_checkpoint_by", ["dev_loss", "dev_frame_accuracy", "last"])
def test_weights_with_a_held_out_loss_that_is_no_number_are_never_kept(streams, tmp_path, select_checkpoint_by):
    config, model = replace(CONFIG, select_checkpoint_by=select_checkpoint_by, ema_decay=0.5), new_model()

    def spoil(module, arguments):
        if not module.training:
            module.output.bias.data.fill_(torch.nan)

    model.register_forward_pre_hook(spoil)
    with pytest.raises(ValueError, match=r"the held-out loss is nan at step \d+"):
        train(streams, tmp_path, config, model)
    assert not (tmp_path / "model.safetensors").exists()


def test_training_learns_and_keeps_the_best_weights_with_their_normalisation(streams, tmp_path):
    labelled, _, dev = streams
    model = new_model()
    model.set_normalisation(*feature_statistics(labelled, FRONTEND, seed=0))
    result = fit(model, [(labelled, 5.0)] * 6, dev, replace(CONFIG, ema_decay=0.9), tmp_path)
    assert result.dev_frame_accuracy > 0.8
    best = load_model(tmp_path)
    measured = evaluate(
        best, batches(BatchSampler(dev, 150, 0, shuffle=False), best.frontend, endless=False), "float32"
    )
    assert measured.loss == pytest.approx(result.dev_loss, rel=1e-5)
    prior_C = log_priors(best, labelled, 0, "float32").exp()
    assert prior_C.sum().item() == pytest.approx(1)
    assert prior_C[[1, 2, 3]].sum() > 0.5  # the three tones


def test_features_are_normalised_to_mean_0_and_deviation_1(streams):
    labelled, _, _ = streams
    mean_F, std_F = feature_statistics(labelled, FRONTEND, seed=0)
    assert mean_F.shape == std_F.shape == (60,)
    assert torch.isfinite(mean_F).all() and (std_F > 0).all()


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_the_kept_weights_are_the_average_where_there_is_one(streams, tmp_path, ema_decay):
    labelled, _, dev = streams
    trainer = Trainer(new_model(), [(labelled, 1.0)], dev, replace(CONFIG, ema_decay=ema_decay), tmp_path)
    trainer.run()
    kept, last = load_model(tmp_path).state_dict(), trainer.model.state_dict()
    assert all(torch.equal(kept[name], last[name]) for name in last) == (ema_decay == 0)
    line = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert line["sub_epoch"] == 1 and line["hours_per_second"] > 0


def test_patience_ends_a_run_that_no_longer_gains(streams, tmp_path, capsys):
    labelled, _, dev = streams
    still = replace(
        CONFIG, optim=OptimConfig(lr=1e-9), ema_decay=0.0, patience=2, select_checkpoint_by="dev_frame_accuracy"
    )
    result = fit(new_model(), [(labelled, 1.0)] * 8, dev, still, tmp_path)
    assert result.stopped_early
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 3
    assert capsys.readouterr().err.count(" s *\n") == 1  # of the first, which stays the best


def test_the_last_weights_are_kept_when_held_out_data_cannot_judge(streams, tmp_path):
    labelled, _, dev = streams
    still = replace(CONFIG, optim=OptimConfig(lr=1e-9), ema_decay=0.0, patience=2, select_checkpoint_by="last")
    result = fit(new_model(), [(labelled, 1.0)] * 4, dev, still, tmp_path)
    assert not result.stopped_early and result.best_step == result.steps


def test_newbob_halves_the_rate_until_its_floor(streams, tmp_path):
    labelled, _, dev = streams
    optim = OptimConfig(lr=1e-9, decay="newbob", min_lr_ratio=0.25, warmup_fraction=0)
    result = fit(new_model(), [(labelled, 0.5)] * 9, dev, replace(CONFIG, optim=optim, patience=None), tmp_path)
    rates = [json.loads(line)["lr"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert result.stopped_early
    assert rates == pytest.approx([1e-9, 1e-9, 5e-10, 2.5e-10])


def test_the_learning_rate_rises_then_falls_to_its_floor():
    for decay in ("linear", "cosine"):
        config = OptimConfig(lr=1.0, warmup_fraction=0.1, min_lr_ratio=0.05, decay=decay)
        assert learning_rate(config, 0.05) == pytest.approx(0.5)
        assert learning_rate(config, 0.1) == pytest.approx(1.0)
        assert learning_rate(config, 1.0) == pytest.approx(0.05)


def test_eps_decides_whether_a_weak_gradient_makes_a_full_step():
    moved = {}
    for eps in (1e-8, 1e-4):
        for slope in (1.0, 1e-6):
            weight = torch.nn.Parameter(torch.zeros(3))
            optimizer = adamw([weight], OptimConfig(lr=0.01, eps=eps))
            (slope * weight.sum()).backward()
            optimizer.step()
            moved[eps, slope] = -weight[0].item()
    assert moved[1e-8, 1.0] == pytest.approx(0.01) and moved[1e-8, 1e-6] == pytest.approx(0.01, rel=0.02)
    assert moved[1e-4, 1.0] == pytest.approx(0.01, rel=0.02) and moved[1e-4, 1e-6] == pytest.approx(0.0001, rel=0.02)
    with pytest.raises(ValueError, match=r"optim\.eps is 0; it must be above 0"):
        OptimConfig(eps=0)


def test_a_loss_that_is_not_finite_stops_the_run_with_its_batch(streams, tmp_path):
    model = new_model()
    with torch.no_grad():
        model.output.bias[0] = float("nan")
    with pytest.raises(ValueError, match=r"loss is nan at step 0 \(unlabelled: tone-"):
        train(streams, tmp_path, model=model)


SIGNALLED = """
import signal, torch
from asr_kd.train.signals import StopRequest
lstm, x_TBF = torch.nn.LSTM(192, 128), torch.randn(80, 25, 192)
gradient = lambda: torch.autograd.grad(lstm(x_TBF)[0].square().mean(), lstm.weight_ih_l0)[0]
with StopRequest():
    undisturbed = gradient()
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    assert all(torch.equal(gradient(), undisturbed) for _ in range(30))
    signal.setitimer(signal.ITIMER_REAL, 0)
"""


def test_signals_in_the_middle_of_a_step_do_no_harm():
    ended = subprocess.run([sys.executable, "-c", SIGNALLED], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
