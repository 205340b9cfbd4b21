"""Promises of one training step: what it does in which order, and that the host never waits for the device in it."""

import dataclasses

import pytest
import torch
from tones import FRONTEND, INVENTORY, align_tones
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from asr_kd.core.runtime import has_bf16, training_precision
from asr_kd.data.loader import START, Position, TrainingSet
from asr_kd.distill.losses.hidden_states import FeatureLossConfig
from asr_kd.distill.losses.kd import KDConfig
from asr_kd.distill.losses.rkd import RKDConfig
from asr_kd.distill.losses.spec import LossSpec
from asr_kd.distill.objective import DistillObjective, build_online_teacher
from asr_kd.distill.online_teachers.mean_teacher import MeanTeacherConfig
from asr_kd.distill.online_teachers.snapshot import SnapshotTeacherConfig
from asr_kd.inventory.tokens import Tokens
from asr_kd.models.acoustic import build_model
from asr_kd.models.config import ModelConfig
from asr_kd.shards.catalogue import open_catalogue
from asr_kd.shards.writer import write_shards
from asr_kd.targets.alignments import AlignmentFolders
from asr_kd.targets.empty import NoTargets
from asr_kd.targets.text_targets import TextTargets
from asr_kd.train.config import OptimConfig, TrainConfig
from asr_kd.train.optim import EmaModel
from asr_kd.train.priors import log_priors
from asr_kd.train.strategies.strategy import StepFrames
from asr_kd.train.trainer import Trainer

CONFIG = TrainConfig(max_frames_per_batch=300, num_workers=0, device="cpu", optim=OptimConfig(lr=0.01))
ALL_LOSSES = (
    LossSpec("kd", options=KDConfig(source="online", temperature=2.0, frame_matching="shifted")),
    LossSpec("hidden_states", options=FeatureLossConfig(layers={"layer0": "layer0"}, distance="l2")),
    LossSpec("spkd"),
    LossSpec("rkd"),
    LossSpec("rkd", options=RKDConfig(level="utterances")),
    LossSpec("fsp"),
    LossSpec("self_distillation"),
)


@pytest.fixture(scope="module")
def labelled(tone_shards, tmp_path_factory):
    targets = AlignmentFolders([align_tones(tone_shards, tmp_path_factory.mktemp("align"))], INVENTORY)
    return TrainingSet("labelled", open_catalogue(*tone_shards), targets)


def new_model(inventory=INVENTORY, **changes):
    torch.manual_seed(0)
    return build_model(ModelConfig(**{"num_layers": 2, "hidden_size": 16} | changes), inventory, FRONTEND)


def trainer_of(data, out, config=CONFIG, model=None, objective=None):
    return Trainer(model or new_model(), [(data, 2.0)], data, config, out, objective=objective)


def first_batches(trainer, count):
    data = trainer._batches("labelled")
    return [data.step(Position(0, number)).batches[0] for number in range(count)]


def first_batch(trainer):
    return first_batches(trainer, 1)[0]


class NoReads(TorchFunctionMode):
    """Whatever would have to wait for a GPU: reading a value, or making a tensor whose size depends on values."""

    def __torch_function__(self, function, types, arguments=(), keywords=None):
        name = getattr(function, "__name__", "")
        assert name not in ("item", "tolist", "numpy", "cpu", "__bool__", "__float__", "__int__", "__index__"), name
        return function(*arguments, **(keywords or {}))


class NoReadsInside(TorchDispatchMode):
    """The same of what PyTorch does itself, the backward pass included."""

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        name = function.overloadpacket.__name__
        masked = name.startswith("index") and any(
            isinstance(x, torch.Tensor) and x.dtype == torch.bool
            for argument in arguments[1:2]
            for x in (argument if isinstance(argument, (list, tuple)) else [argument])
        )
        waits = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "unique", "_unique2")
        assert name not in waits and not masked, name
        return function(*arguments, **(keywords or {}))


def objectives(student):
    yield "targets", None
    at_once = {"start_after_sub_epochs": 0}
    modes = {"mutual": None, "mean_teacher": MeanTeacherConfig(**at_once), "snapshot": SnapshotTeacherConfig(**at_once)}
    for mode, options in modes.items():
        yield mode, DistillObjective(student, ALL_LOSSES, 1.0, build_online_teacher(mode, options, student, []), False)


@pytest.mark.parametrize("encoder", ["lstm", "conformer"])
@pytest.mark.parametrize("which", ["targets", "mutual", "mean_teacher", "snapshot"])
def test_in_a_step_the_host_never_waits_for_the_device(labelled, tmp_path, which, encoder):
    student = new_model(encoder=encoder, bidirectional=encoder == "conformer")
    trainer = trainer_of(labelled, tmp_path, model=student, objective=dict(objectives(student))[which])
    trainer.losses.every = 50  # as on a GPU
    data = trainer._batches("labelled")
    steps = [data.step(Position(0, number)) for number in range(2)]
    with NoReads(), NoReadsInside():
        for step in steps:
            trainer._step(step)
    assert trainer.state.step == 2 and not trainer.state.losses
    trainer._read_losses()
    assert trainer.state.losses


def test_unlabelled_audio_without_targets_is_trained_on_without_reading_either(labelled, tmp_path):
    unlabelled = dataclasses.replace(labelled, targets=NoTargets(), is_supervised=False)
    student = new_model()
    trainer = trainer_of(unlabelled, tmp_path, model=student, objective=dict(objectives(student))["mutual"])
    trainer.losses.every = 50
    batch = first_batch(trainer)
    assert not batch.targets and batch.utterances
    with NoReads(), NoReadsInside():
        assert "peer" not in trainer.forward_backward(batch)


def norm_of(trainer):
    return torch.stack([p.grad.norm() for p in trainer.trained if p.grad is not None]).norm().item()


def test_the_gradient_that_updates_the_weights_is_no_longer_than_the_threshold(labelled, tmp_path):
    norms = {}
    for threshold in (0.01, 1000.0):
        config = dataclasses.replace(CONFIG, optim=OptimConfig(max_grad_norm=threshold))
        trainer = trainer_of(labelled, tmp_path / str(threshold), config)
        trainer.forward_backward(first_batch(trainer))
        before = norm_of(trainer)
        trainer.optimizer.register_step_pre_hook(lambda *_, t=trainer, at=threshold: norms.update({at: norm_of(t)}))
        trainer.synchronise(StepFrames(1, 1))
        trainer.update()
        assert all(p.grad is None for p in trainer.trained)
    assert 0.01 < before < 1000
    assert norms == {0.01: pytest.approx(0.01, rel=1e-3), 1000.0: pytest.approx(before, rel=1e-6)}


def test_the_pull_of_each_term_is_the_norm_of_its_gradient_taken_once_a_sub_epoch(labelled, tmp_path):
    student = new_model(dropout=0.0)
    losses = (LossSpec("kd", 0.5, KDConfig(source="online")), LossSpec("self_distillation"))
    objective = DistillObjective(student, losses, 1.0, build_online_teacher("mutual", None, student, []), False)
    trainer = trainer_of(labelled, tmp_path, model=student, objective=objective)
    batch = first_batch(trainer)
    weights = list(student.parameters())
    expected = {}
    for name, loss in objective.losses(student, batch).items():
        pulls = torch.autograd.grad(loss.mean, weights, retain_graph=True, allow_unused=True)
        expected[name] = torch.cat([pull.flatten() for pull in pulls if pull is not None] or [torch.zeros(1)]).norm()
    trainer.forward_backward(batch)
    assert expected.keys() == trainer.grad_norm.keys() == {"label", "kd", "self_distillation", "peer", "peer_kd"}
    for name, norm in trainer.grad_norm.items():
        assert norm.item() == pytest.approx(expected[name].item(), rel=1e-4, abs=1e-9)
    assert trainer.grad_norm["kd"] > 0 and trainer.grad_norm["peer"] == trainer.grad_norm["peer_kd"] == 0
    before = dict(trainer.grad_norm)
    trainer.forward_backward(batch)
    assert all(trainer.grad_norm[name] is norm for name, norm in before.items())
    trainer._read_losses()
    trainer.forward_backward(batch)
    assert not trainer.grad_norm
    trainer._read_losses()
    assert trainer.state.grad_norm == {name: float(x) for name, x in before.items()}


def test_pulls_are_measured_where_there_are_two_terms_and_not_of_one_alone(labelled, tmp_path):
    for losses, measured in ((), set()), ((LossSpec("self_distillation"),), {"label", "self_distillation"}):
        student = new_model()
        trainer = trainer_of(labelled, tmp_path, model=student, objective=DistillObjective(student, losses))
        trainer.forward_backward(first_batch(trainer))
        assert trainer.grad_norm.keys() == measured


def test_an_update_goes_by_the_rate_of_the_audio_done_and_is_followed(labelled, tmp_path):
    optim = OptimConfig(lr=0.02, warmup_fraction=0.5)
    student = new_model()
    objective = dict(objectives(student))["mean_teacher"]
    config = dataclasses.replace(CONFIG, optim=optim, ema_decay=0.9)
    trainer = trainer_of(labelled, tmp_path, config, student, objective)
    assert trainer.audio_seconds == pytest.approx(2 * labelled.shards.seconds_N.sum())
    trainer.state.audio_seconds, trainer.state.lr_factor = trainer.audio_seconds / 4, 0.5
    trainer.forward_backward(first_batch(trainer))
    trainer.update()
    assert [group["lr"] for group in trainer.optimizer.param_groups] == [pytest.approx(0.005)] * 2
    assert trainer.state.step == trainer.average.steps == objective.online_teacher.average.steps == 1
    assert torch.equal(trainer.average.module.output.weight, student.output.weight)
    trainer.state.audio_seconds = 2 * trainer.audio_seconds
    assert trainer._progress() == 1


def test_dropout_is_drawn_from_seed_and_step(labelled, tmp_path):
    trainer = trainer_of(labelled, tmp_path, model=new_model(dropout=0.5))
    batch = first_batch(trainer)

    def loss(step, seed=0):
        trainer.config = dataclasses.replace(CONFIG, seed=seed)
        trainer.state.step = step
        return trainer.forward_backward(batch)["labelled"].sum.item()

    assert loss(3) == loss(3)
    assert len({loss(0), loss(1), loss(2), loss(0, seed=1)}) == 4


def test_what_does_not_train_gets_no_gradient_and_no_rate(labelled, tmp_path):
    model = new_model()
    model.output.bias.requires_grad_(False)
    trainer = trainer_of(labelled, tmp_path, model=model)
    assert len(trainer.trained) == len(list(model.parameters())) - 1
    before = model.output.bias.clone()
    trainer._step(trainer._batches("labelled").step(START))
    assert torch.equal(model.output.bias, before) and model.training
    assert trainer.state.losses["labelled"][1] > 0  # on a CPU, losses are read at once


def test_training_is_in_float32_on_a_cpu_unless_asked(labelled, tmp_path):
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert [training_precision(d, "auto") for d in (cpu, gpu)] == ["float32", "auto"]
    assert [training_precision(d, p) for d in (cpu, gpu) for p in ("bf16", "float32")] == ["bf16", "float32"] * 2
    if not has_bf16(cpu):
        pytest.skip("this processor has no bfloat16 kernels")
    for precision, expected in (("auto", torch.float32), ("bf16", torch.bfloat16)):
        model, seen = new_model(encoder="conformer", bidirectional=True), set()
        model.output.register_forward_hook(lambda module, x, y, seen=seen: seen.add((module.training, y.dtype)))
        config = dataclasses.replace(CONFIG, precision=precision)
        trainer = trainer_of(labelled, tmp_path / precision, config, model)
        trainer.forward_backward(first_batch(trainer))
        assert seen == {(True, expected)}


@pytest.mark.parametrize("mode", ["mutual", "snapshot"])
def test_who_teaches_is_told_of_each_sub_epoch_saved_with_the_state_and_with_the_model(labelled, tmp_path, mode):
    student = new_model()
    options = SnapshotTeacherConfig(interval_sub_epochs=1) if mode == "snapshot" else None
    losses = (LossSpec("kd", options=KDConfig(source="online")),)
    objective = DistillObjective(student, losses, 1.0, build_online_teacher(mode, options, student, []), False)
    trainer = Trainer(student, [(labelled, 0.3)], labelled, CONFIG, tmp_path, objective=objective)
    trainer.run()
    parts = torch.load(tmp_path / "state.pt", weights_only=True)["parts"]
    assert parts.keys() == {"model", "optimizer", "objective", "average"}
    assert_equal_states(parts["objective"], objective.state_dict())
    assert_equal_states(parts["average"], trainer.average.state_dict())
    if mode == "mutual":
        assert (tmp_path / "peer" / "model.safetensors").exists()
    else:
        assert_equal_states(objective.online_teacher.model.state_dict(), student.state_dict())


def assert_equal_states(left, right):
    assert left.keys() == right.keys()
    assert all(torch.equal(torch.as_tensor(value), torch.as_tensor(right[name])) for name, value in left.items())


def test_the_seed_of_a_step_stays_what_it_was(labelled, tmp_path):
    """A run that goes on with a later version draws the same."""
    trainer = trainer_of(labelled, tmp_path)
    assert trainer._dropout_seed(0) == 7896617691693857887
    trainer.config, trainer.state.step = dataclasses.replace(CONFIG, seed=7), 1000
    assert trainer._dropout_seed(0) == 3070391556088676067
    trainer.config = dataclasses.replace(trainer.config, lanes=2)
    assert trainer._dropout_seed(0) != trainer._dropout_seed(1)


def whole_step(data, out, lanes):
    """The batches of a step of as many lanes, each of all its audio, and the gradient that updates the weights."""
    optim = OptimConfig(max_grad_norm=1e9)
    config = dataclasses.replace(CONFIG, max_frames_per_batch=10**6, lanes=lanes, optim=optim)
    trainer, grads = trainer_of(data, out, config, new_model(dropout=0.0)), []
    trainer.optimizer.register_step_pre_hook(lambda *_: grads.extend(p.grad.clone() for p in trainer.trained))
    step = trainer._batches("labelled").step(START)
    trainer._step(step)
    assert len(grads) == len(trainer.trained) and trainer.state.step == 1
    return step.batches, grads


def test_lanes_on_one_rank_accumulate_the_gradient_of_their_batches_in_one(tone_utterances, tmp_path):
    shards = write_shards(tone_utterances, tmp_path / "shards", shard_seconds=5.0)
    targets = AlignmentFolders([align_tones(shards, tmp_path / "align")], INVENTORY)
    data = TrainingSet("labelled", open_catalogue(*shards), targets)
    four, ours = whole_step(data, tmp_path / "four", lanes=4)
    one, theirs = whole_step(data, tmp_path / "one", lanes=1)
    assert len(four) == 4 and len({batch.frames for batch in four.values()}) > 1
    assert sorted(u for batch in four.values() for u in batch.utterances) == sorted(one[0].utterances)
    for mine, its in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-4, atol=1e-6)


def test_a_loss_that_is_not_finite_is_told_though_it_is_read_later(labelled, tmp_path):
    model = new_model()
    trainer = trainer_of(labelled, tmp_path, model=model)
    trainer.losses.every = 50
    steps = []

    def spoil(module, arguments):
        if module.training and (steps.append(1) or len(steps)) == 2:
            module.output.bias.data[0] = torch.nan

    model.register_forward_pre_hook(spoil)
    with pytest.raises(ValueError, match=r"the loss is nan at step 1 \(labelled: tone-"):
        trainer.run()
    assert not (tmp_path / "state.pt").exists() and not (tmp_path / "model.safetensors").exists()


def test_the_running_average_takes_normalisation_as_it_is_and_weights_by_and_by():
    model = new_model()
    average = EmaModel(model, decay=0.9)
    expected = None
    for step in range(4):
        with torch.no_grad():
            model.output.bias.fill_(step)
        model.set_normalisation(torch.full((60,), float(step)), torch.full((60,), 2.0 + step))
        average.follow(model)
        keep = min(0.9, (1 + step) / (10 + step))
        expected = step if step == 0 else keep * expected + (1 - keep) * step
        assert average.module.output.bias[0].item() == pytest.approx(expected, abs=1e-6)
        for ours, theirs in zip(average.module.buffers(), model.buffers(), strict=True):
            assert torch.equal(ours, theirs)


def test_priors_are_means_over_real_frames(labelled):
    model = new_model(bidirectional=True)
    model.output.weight.data.mul_(5)
    one_by_one = dataclasses.replace(CONFIG, max_frames_per_batch=1)
    plan_of_one = Trainer(
        model, [(labelled, 1.0)], labelled, one_by_one, labelled.shards.path(0).parent / "none", False
    )
    found = first_batches(plan_of_one, 12)
    assert all(len(batch.utterances) == 1 for batch in found)
    assert len({int(batch.frames_B) for batch in found}) > 1  # in one batch, some are padded
    with torch.inference_mode():
        p_NC = torch.cat([model.eval()(b.x_BTF, b.frames_B)[0, : int(b.frames_B)].softmax(-1) for b in found])
    priors_C = log_priors(model, labelled, 0, "float32").exp()
    torch.testing.assert_close(priors_C, p_NC.double().mean(0).float(), atol=1e-6, rtol=1e-4)


def test_what_has_tokens_is_trained_with_them(tone_shards, tmp_path):
    tokens = Tokens.characters(["AH", "EE", "OH"])
    data = TrainingSet("labelled", open_catalogue(*tone_shards), TextTargets(tokens))
    trainer = trainer_of(data, tmp_path, model=new_model(tokens))
    loss = trainer.forward_backward(first_batch(trainer))["labelled"]
    assert loss.mean.item() > 0
