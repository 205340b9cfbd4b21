"""Each mode of distillation: short runs lower the loss and move only the weights that they should."""

import copy
import json
from dataclasses import replace

import pytest
import torch
from tones import FRONTEND, INVENTORY, align_tones, fit

from asr_kd.core.config import load_config
from asr_kd.core.runtime import has_bf16
from asr_kd.data.loader import TrainingSet, batches
from asr_kd.data.sampler import BatchSampler
from asr_kd.distill.losses.hidden_states import FeatureLossConfig
from asr_kd.distill.losses.kd import KDConfig
from asr_kd.distill.losses.spec import LossSpec
from asr_kd.distill.objective import DistillObjective, build_online_teacher
from asr_kd.distill.online_teachers.frozen import FrozenTeacherConfig, check_inventory
from asr_kd.distill.online_teachers.mean_teacher import MeanTeacherConfig
from asr_kd.distill.online_teachers.peer import PeerTeacherConfig
from asr_kd.distill.online_teachers.snapshot import SnapshotTeacherConfig
from asr_kd.frontend.augment import AugmentConfig
from asr_kd.inventory.senones import Senones
from asr_kd.models.acoustic import build_model
from asr_kd.models.checkpoint import load_model, save_model
from asr_kd.models.config import ModelConfig
from asr_kd.shards.catalogue import open_catalogue
from asr_kd.targets.alignments import AlignmentFolders
from asr_kd.targets.empty import NoTargets
from asr_kd.train.cmvn import feature_statistics
from asr_kd.train.config import OptimConfig, TrainConfig

CONFIG = TrainConfig(max_frames_per_batch=150, num_workers=0, device="cpu", ema_decay=0.5, optim=OptimConfig(lr=0.01))
RESPONSE = (LossSpec("kd", options=KDConfig(source="online")),)
MODES = {
    "offline": None,
    "teacher_too": PeerTeacherConfig(ModelConfig(num_layers=2, hidden_size=12, bidirectional=True), peer_kd_weight=0.0),
    "mutual": None,
    "mean_teacher": MeanTeacherConfig(decay=0.5, start_after_sub_epochs=1),
    "snapshot": SnapshotTeacherConfig(interval_sub_epochs=2),
}
SUM = (
    LossSpec("kd", 0.5, KDConfig(source="online")),
    LossSpec("hidden_states", 0.2, FeatureLossConfig(layers={"layer0": "layer0"})),
    *(LossSpec(kind, 0.2) for kind in ("spkd", "rkd", "fsp", "self_distillation")),
)


@pytest.fixture(scope="module")
def streams(tone_shards, tmp_path_factory):
    targets = AlignmentFolders([align_tones(tone_shards, tmp_path_factory.mktemp("align"))], INVENTORY)
    masked = AugmentConfig(speed_perturb=(0.9, 1.0), num_time_masks=1)
    return (
        TrainingSet("labelled", open_catalogue(*tone_shards[:1]), targets, masked),
        TrainingSet("unlabelled", open_catalogue(*tone_shards[1:2]), NoTargets(), masked, is_supervised=False),
        TrainingSet("dev", open_catalogue(*tone_shards[2:]), targets),
    )


def new_model(seed=0, **changes):
    torch.manual_seed(seed)
    made = {"num_layers": 2, "hidden_size": 16, "lookahead": 1, "dropout": 0.1} | changes
    return build_model(ModelConfig(**made), INVENTORY, FRONTEND)


@pytest.fixture(scope="module")
def teacher(streams, tmp_path_factory):
    """A teacher that has learned the tones."""
    out = tmp_path_factory.mktemp("teacher")
    model = new_model(1, lookahead=0, bidirectional=True)
    model.set_normalisation(*feature_statistics(streams[0], FRONTEND, seed=0))
    fit(model, [(streams[0], 5.0)] * 2, streams[2], CONFIG, out)
    return out


def begun(mode, streams, teacher, knowledge=RESPONSE):
    """A student and what it learns from, before the first step."""
    student = new_model()
    student.set_normalisation(*feature_statistics(streams[0], FRONTEND, seed=0))
    paths = [teacher] if mode == "offline" else []
    teacher_beside = build_online_teacher("mutual" if mode == "teacher_too" else mode, MODES[mode], student, paths)
    teacher_beside.on_train_start(student, streams[0], CONFIG)
    return student, DistillObjective(student, knowledge, online_teacher=teacher_beside, stored=False)


def schedule(streams, rounds=3, passes=1.0):
    labelled, unlabelled, _ = streams
    return [(labelled, passes), (unlabelled, 1.0)] * rounds


def lines(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def weights(module):
    return {name: p.detach().clone() for name, p in module.named_parameters()}


def moved(before, module):
    return {name for name, p in module.named_parameters() if not torch.equal(p, before[name])}


@pytest.mark.parametrize("mode", MODES)
def test_a_short_run_lowers_the_loss_and_moves_what_it_should(mode, streams, teacher, tmp_path):
    student, objective = begun(mode, streams, teacher)
    ours, theirs = weights(student), weights(objective)
    fixed = copy.deepcopy(objective.online_teacher._teacher[0].state_dict()) if mode == "offline" else {}
    fit(student, schedule(streams, passes=4.0), streams[2], CONFIG, tmp_path, objective=objective)
    found = lines(tmp_path)
    assert found[-1]["dev_loss"] < 0.8 * found[0]["dev_loss"]
    assert moved(ours, student) == ours.keys()
    if mode in ("teacher_too", "mutual"):
        assert moved(theirs, objective) == theirs.keys()
        peer = load_model(tmp_path / "peer")
        assert peer.config.bidirectional == (mode == "teacher_too")
        assert found[-2]["losses"]["peer"] < found[0]["losses"]["peer"]
        assert ("peer_kd" in found[-1]["losses"]) == (mode == "mutual")
    elif mode == "offline":
        assert not theirs  # nothing to train beside the student
        for name, value in objective.online_teacher._teacher[0].state_dict().items():
            assert torch.equal(value, fixed[name])
    silent = {"mean_teacher": [True, False], "snapshot": [True, True, False]}.get(mode, [False])
    for line, quiet in zip(found, silent, strict=False):
        assert ("kd" not in line["losses"]) == quiet


@pytest.mark.skipif(not has_bf16(torch.device("cpu")), reason="this processor has no bfloat16 kernels")
def test_a_teacher_that_listens_in_bf16_says_nearly_the_same(streams, teacher):
    plan = BatchSampler(streams[1], CONFIG.max_frames_per_batch, 0)
    batch = next(batches(plan, FRONTEND, teacher=FRONTEND))
    exact, rounded = (
        build_online_teacher("offline", FrozenTeacherConfig(p), new_model(), [teacher]) for p in ("float32", "bf16")
    )
    ours, theirs = (t.outputs(batch.teacher_features_BTF, batch.frames_B) for t in (exact, rounded))
    assert theirs.logits_BTC.dtype == theirs.hidden_states["layer0"].dtype == torch.float32
    assert not torch.equal(ours.logits_BTC, theirs.logits_BTC)
    inside_BT = torch.arange(ours.logits_BTC.shape[1]) < batch.frames_B[:, None]
    p_NC, q_NC = (trace.logits_BTC[inside_BT].softmax(-1) for trace in (ours, theirs))
    torch.testing.assert_close(q_NC, p_NC, atol=0.02, rtol=0)
    with pytest.raises(ValueError, match="precision"):
        load_config(FrozenTeacherConfig, {"precision": "int4"})


def test_average_and_snapshot_are_the_students_past(streams, teacher, tmp_path):
    for mode in ("mean_teacher", "snapshot"):
        student, objective = begun(mode, streams, teacher)
        fit(student, schedule(streams), streams[2], CONFIG, tmp_path / mode, objective=objective)
        teacher_beside = objective.online_teacher
        past = teacher_beside.model
        distance = {
            name: (p - dict(student.named_parameters())[name]).detach().abs().max().item()
            for name, p in past.named_parameters()
        }
        if mode == "mean_teacher":
            assert 0 < max(distance.values()) < 0.05  # near, and not the same
            assert not any(p.requires_grad for p in past.parameters())
            assert all(p.dtype == torch.float32 for p in past.parameters())
        else:
            assert max(distance.values()) == 0  # renewed after the 6th sub-epoch, the last one
        torch.testing.assert_close(past.feature_mean_F, student.feature_mean_F)


@pytest.mark.parametrize("mode", ["mean_teacher", "snapshot"])
def test_what_the_student_begins_as_teaches_at_once_where_asked(mode, streams):
    student = new_model()
    teacher_beside = build_online_teacher(mode, replace(MODES[mode], start_after_sub_epochs=0), student, [])
    student.load_state_dict(new_model(seed=7).state_dict())  # as --init does, after the teacher is made
    teacher_beside.on_train_start(student, streams[0], CONFIG)
    batch = next(iter(batches(BatchSampler(streams[0], 150, seed=0), FRONTEND, endless=False)))
    said = teacher_beside.outputs(batch.x_BTF, batch.frames_B).logits_BTC
    torch.testing.assert_close(said, student.eval()(batch.x_BTF, batch.frames_B))
    with pytest.raises(ValueError, match=r"online_teacher.start_after_sub_epochs is -1"):
        replace(MODES[mode], start_after_sub_epochs=-1)


def test_every_term_of_a_sum_is_reported_with_its_pull(streams, teacher, tmp_path):
    student, objective = begun("offline", streams, teacher, SUM)
    fit(student, schedule(streams, 1), streams[2], CONFIG, tmp_path, objective=objective)
    labelled, unlabelled = lines(tmp_path)
    names = {spec.kind for spec in SUM}
    assert labelled["losses"].keys() == names | {"label"} and unlabelled["losses"].keys() == names
    assert unlabelled["loss"] == pytest.approx(sum(unlabelled["losses"].values()), rel=0.2)  # frames against batches
    assert all(pull > 0 for pull in unlabelled["grad_norm"].values()) and unlabelled["grad_norm"].keys() == names


def test_a_teacher_of_other_classes_or_frames_is_refused_naming_both(tmp_path):
    student = new_model()
    other = Senones.monophone(["SIL", "AH", "EE"])
    made = build_model(ModelConfig(num_layers=1, hidden_size=4), other, FRONTEND)
    save_model(tmp_path, made)
    with pytest.raises(ValueError, match=rf"5 classes of inventory {other.fingerprint[:8]}, the student has 7"):
        build_online_teacher("offline", None, student, [tmp_path])
    made.inventory = Senones.monophone(["SIL", "AH", "EE"], frame_shift_s=0.02)
    with pytest.raises(ValueError, match="one frame every 20 ms, the student has 30 ms"):
        check_inventory(made, "teacher", student)
    with pytest.raises(ValueError, match="mode is hybrid; known: offline, mutual"):
        build_online_teacher("hybrid", None, student, [])
    with pytest.raises(ValueError, match="give the teacher with --online-teacher"):
        build_online_teacher("offline", None, student, [])
