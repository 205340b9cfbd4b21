"""Students that are copies of their teacher: of some of its layers, or in eight bits."""

import json

import pytest
import torch
from tones import FRONTEND, INVENTORY, align_tones, fit

from asr_kd.cli import main
from asr_kd.data.loader import TrainingSet, batches
from asr_kd.data.sampler import BatchSampler
from asr_kd.frontend.fbank import FrontEndConfig
from asr_kd.inventory.senones import Senones
from asr_kd.models.acoustic import build_model
from asr_kd.models.checkpoint import init_from_checkpoint, load_model, save_model
from asr_kd.models.config import ModelConfig
from asr_kd.models.quantisation import fake_quantise
from asr_kd.shards.catalogue import open_catalogue
from asr_kd.targets.alignments import AlignmentFolders
from asr_kd.train import trainer
from asr_kd.train.config import OptimConfig, TrainConfig
from asr_kd.train.evaluate import evaluate

DEEP = ModelConfig(num_layers=5, hidden_size=8, lookahead=7)
SET = (
    "frontend.mel_bins=20",
    "epochs=2",
    "train.max_frames_per_batch=150",
    "train.num_workers=0",
    "train.optim.lr=0.01",
)


def model_of(config, inventory=INVENTORY, frontend=FRONTEND, seed=0):
    torch.manual_seed(seed)
    model = build_model(config, inventory, frontend)
    model.set_normalisation(torch.full_like(model.feature_mean_F, seed), torch.full_like(model.feature_std_F, 2.0))
    return model


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    path = tmp_path_factory.mktemp("teacher")
    save_model(path, model_of(DEEP, seed=1))
    return path


@pytest.fixture(scope="module")
def alignments(tone_shards, tmp_path_factory):
    return align_tones(tone_shards, tmp_path_factory.mktemp("align"))


def train(shards, alignments, out, *more, changes=()):
    paths = ["train", *shards[:2], "--dev", shards[2], "--alignments", alignments, "--out", out, "--device", "cpu"]
    return main([*map(str, paths), *more, "--set", *SET, *changes])


def test_a_shallower_copy_begins_as_the_layers_that_were_named(teacher):
    student = model_of(ModelConfig(num_layers=3, hidden_size=8, lookahead=7, dropout=0.5))
    before = {name: value.clone() for name, value in student.state_dict().items()}
    init_from_checkpoint(student, teacher, [0, 2, 4])
    theirs, ours = load_model(teacher).state_dict(), student.state_dict()
    for mine, its in ((0, 0), (1, 2), (2, 4)):
        for leaf in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
            name = "encoder.layers.{}.forwards." + leaf
            assert torch.equal(ours[name.format(mine)], theirs[name.format(its)]), name
    for name in ("output.weight", "output.bias", "feature_mean_F", "feature_std_F", "log_prior_C"):
        assert torch.equal(ours[name], theirs[name]), name
    # Of 7 frames of look-ahead the teacher's layers have 2 2 1 1 1, the student's 3 2 2: none of these fit theirs.
    for number in range(3):
        name = f"encoder.lookaheads.{number}.weight_JF"
        assert torch.equal(ours[name], before[name])


def test_all_layers_in_order_are_the_whole_model(teacher):
    copy = model_of(DEEP)
    init_from_checkpoint(copy, teacher, range(5))
    for name, value in load_model(teacher).state_dict().items():
        assert torch.equal(copy.state_dict()[name], value), name


@pytest.mark.parametrize(
    ("config", "layers", "message"),
    [
        (ModelConfig(num_layers=2, hidden_size=8), [0, 2, 4], "these are 3 layers of .*, this model has 2"),
        (ModelConfig(num_layers=2, hidden_size=8), [0, 5], "has layers 0 to 4"),
        (ModelConfig(num_layers=2, hidden_size=8), [-1, 2], "has layers 0 to 4"),
        (ModelConfig(num_layers=2, hidden_size=8), [1, 2], r"layers\.1\..* is \(32, 8\), .*layers\.0\..* \(32, 60\)"),
        (ModelConfig(num_layers=2, hidden_size=9), [0, 1], "architecture differs"),
        (ModelConfig(num_layers=2, hidden_size=8, proj_size=8), [0, 1], "architecture differs"),
        (ModelConfig(num_layers=2, hidden_size=8, bidirectional=True), [0, 1], "architecture differs"),
    ],
)
def test_layers_that_do_not_fit_are_refused_naming_both_sides(teacher, config, layers, message):
    model = model_of(config)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=message) as refused:
        init_from_checkpoint(model, teacher, layers)
    assert str(teacher) in str(refused.value) and "\n" not in str(refused.value)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_another_inventory_or_front_end_is_refused(teacher):
    config = ModelConfig(num_layers=2, hidden_size=8)
    with pytest.raises(ValueError, match="inventory differs"):
        init_from_checkpoint(model_of(config, Senones.monophone(["SIL", "AH", "EE", "UH"])), teacher, [0, 2])
    with pytest.raises(ValueError, match="front end differs"):
        init_from_checkpoint(model_of(config, frontend=FrontEndConfig(mel_bins=20, low_hz=80.0)), teacher, [0, 2])


def test_the_verb_trains_a_shallower_copy_and_refuses_before_the_first_step(
    teacher, tone_shards, alignments, tmp_path, capsys
):
    init = ("--init", str(teacher), "--init-from-layers", "0", "3")
    two = ("model={num_layers: 2, hidden_size: 8, lookahead: 7}",)
    assert train(tone_shards, alignments, tmp_path / "out", *init, changes=(*two, "train.optim.lr=1e-9")) == 0
    student, its = load_model(tmp_path / "out").state_dict(), load_model(teacher).state_dict()
    ours, theirs = "encoder.layers.1.forwards.weight_hh_l0", "encoder.layers.3.forwards.weight_hh_l0"
    torch.testing.assert_close(student[ours], its[theirs], atol=1e-5, rtol=0)
    assert train(tone_shards, alignments, tmp_path / "out", changes=(*two, "train.optim.lr=1e-9")) == 2
    assert "this run was begun with init = " in capsys.readouterr().err
    for options, changes, message in (
        (init, ("model={num_layers: 3, hidden_size: 8}",), "this model has 3"),
        (init[2:], two, "Name it with --init"),
    ):
        for more in ((), ("--dry-run",)):
            capsys.readouterr()
            assert train(tone_shards, alignments, tmp_path / "refused", *options, *more, changes=changes) == 2
            assert message in capsys.readouterr().err.splitlines()[-1]
            assert not (tmp_path / "refused" / "metrics.jsonl").exists()
    assert train(tone_shards, alignments, tmp_path / "dry", *init, "--dry-run", changes=two) == 0
    assert not (tmp_path / "dry").exists()


@pytest.mark.parametrize("ema", [0, 0.9])
def test_a_student_in_eight_bits_learns_and_resumes_bit_for_bit(ema, tone_shards, alignments, tmp_path):
    changes = ("model={num_layers: 1, hidden_size: 16, weight_dtype: int8}", f"train.ema_decay={ema}", "epochs=8")
    assert train(tone_shards, alignments, tmp_path / "whole", changes=changes) == 0
    lines = [json.loads(line) for line in (tmp_path / "whole/metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["loss"] < 0.8 * lines[0]["loss"] and lines[-1]["dev_loss"] < 0.8 * lines[0]["dev_loss"]
    save = trainer.Trainer._save

    def save_and_stop(run):
        save(run)
        if run.state.sub_epoch == 3:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(trainer.Trainer, "_save", save_and_stop)
        assert train(tone_shards, alignments, tmp_path / "cut", changes=changes) == 130
    assert train(tone_shards, alignments, tmp_path / "cut", changes=changes) == 0
    bytes_of = lambda name: (tmp_path / name / "model.safetensors").read_bytes()
    assert bytes_of("cut") == bytes_of("whole")
    # Small steps add up underneath the codes: what is trained is not on their grid.
    trained = torch.load(tmp_path / "whole/state.pt", weights_only=True)["parts"]["model"]["output.weight"]
    model = load_model(tmp_path / "whole")
    assert model.config.weight_dtype == "int8"
    assert not torch.equal(trained, fake_quantise(trained))
    assert torch.equal(model.output.weight, fake_quantise(model.output.weight))


def test_a_student_in_eight_bits_begins_as_its_float_teacher(tone_shards, alignments, teacher, tmp_path):
    changes = (
        "model={num_layers: 5, hidden_size: 8, lookahead: 7, weight_dtype: int8}",
        "train.optim.lr=1e-9",
        "epochs=1",
    )
    assert train(tone_shards, alignments, tmp_path / "copy", "--init", str(teacher), changes=changes) == 0
    assert main(["quantise", str(teacher), "--out", str(tmp_path / "rounded")]) == 0
    copy, rounded = (load_model(tmp_path / name).output.weight for name in ("copy", "rounded"))
    torch.testing.assert_close(copy, rounded, atol=1e-4, rtol=0)


def test_a_loaded_model_in_eight_bits_is_tested_as_it_is_kept(tone_shards, alignments, tmp_path):
    """Also its running average, which is made before the first step."""
    save_model(tmp_path / "begun", model_of(ModelConfig(num_layers=1, hidden_size=16, weight_dtype="int8")))
    targets = AlignmentFolders([alignments], INVENTORY)
    labelled, dev = (
        TrainingSet("labelled", open_catalogue(*tone_shards[:2]), targets),
        TrainingSet("dev", open_catalogue(*tone_shards[2:]), targets),
    )
    config = TrainConfig(
        max_frames_per_batch=150, num_workers=0, device="cpu", ema_decay=0.9, optim=OptimConfig(lr=0.01)
    )
    result = fit(load_model(tmp_path / "begun"), [(labelled, 3.0)], dev, config, tmp_path / "out")
    held_out = batches(BatchSampler(dev, 150, 0, shuffle=False), FRONTEND, endless=False)
    kept = evaluate(load_model(tmp_path / "out"), held_out, "float32")
    assert kept.loss == pytest.approx(result.dev_loss, rel=1e-6)
