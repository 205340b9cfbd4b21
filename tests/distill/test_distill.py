import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from distilling import INVENTORY, SETTINGS, distill, metrics, posteriors, write_alignments, write_teacher

from asr_kd.core.config import load_config, to_dict
from asr_kd.data import loader
from asr_kd.distill.distill import DistillRun
from asr_kd.distill.losses.kd import KDConfig
from asr_kd.distill.losses.spec import LossSpec
from asr_kd.distill.online_teachers.peer import PeerTeacherConfig
from asr_kd.frontend.fbank import FrontEndConfig
from asr_kd.inventory.senones import Senones
from asr_kd.models.acoustic import build_model
from asr_kd.models.checkpoint import load_model, model_fingerprint, save_model
from asr_kd.models.config import PRESETS
from asr_kd.shards.catalogue import open_catalogue
from asr_kd.shards.reader import open_shard
from asr_kd.targets.soft_targets import SoftTargets
from asr_kd.train import trainer


def mean_kl(teacher, student, tar):
    """KL of the student from the teacher in nats per frame."""
    log_p_NC, log_q_NC = (torch.cat(posteriors(model, tar)) for model in (teacher, student))
    return float((log_p_NC.exp() * (log_p_NC - log_q_NC)).sum(-1).mean())


def test_a_student_moves_towards_its_teacher_in_the_declared_order(given, tone_shards, tmp_path):
    assert distill(given, tone_shards, tmp_path / "student", "--teacher", str(given / "teacher")) == 0
    lines = metrics(tmp_path / "student")
    assert [line["stream"] for line in lines] == ["unlabelled", "unlabelled", "labelled"] * 4
    student = load_model(tmp_path / "student")
    assert student.inventory == INVENTORY and student.config.hidden_size == 24
    torch.manual_seed(0)
    untrained = build_model(student.config, INVENTORY, FrontEndConfig())
    save_model(tmp_path / "untrained", untrained)
    before = mean_kl(given / "teacher", tmp_path / "untrained", tone_shards[0])
    after = mean_kl(given / "teacher", tmp_path / "student", tone_shards[0])
    assert after < 0.7 * before


@pytest.mark.parametrize(
    "option", [["--hard-labels"], ["--top-k", "2"], ["--residual", "renormalise"], ["--temperature", "2"]]
)
def test_each_form_of_target_trains(given, tone_shards, tmp_path, option):
    assert distill(given, tone_shards, tmp_path, *option) == 0
    assert np.isfinite([line["loss"] for line in metrics(tmp_path)]).all()


SUM = "losses=[{kind: kd}, {kind: hidden_states, weight: 0.1}, {kind: self_distillation, layers: [layer0]}]"


def test_a_sum_of_knowledge_trains_with_a_teacher_that_listens(given, tone_shards, tmp_path):
    more = [SUM, "model.num_layers=2"]
    assert distill(given, tone_shards, tmp_path, "--online-teacher", str(given / "teacher"), settings=more) == 0
    unlabelled, _, labelled = metrics(tmp_path)[:3]
    assert unlabelled["losses"].keys() == {"kd", "hidden_states", "self_distillation"}
    assert labelled["losses"].keys() == {
        "label",
        "hidden_states",
        "self_distillation",
    }  # the stored kd is of unlabelled audio


def test_without_stored_targets_the_teacher_listens(given, tone_shards, tmp_path, capsys):
    assert distill(given, tone_shards, tmp_path / "out", "--teacher", str(given / "teacher"), targets=None) == 0
    assert metrics(tmp_path / "out")[0]["losses"].keys() == {"kd"}
    assert distill(given, tone_shards, tmp_path / "none", targets=None) == 2
    assert "give the teacher with --online-teacher" in capsys.readouterr().err
    assert distill(given, tone_shards, tmp_path / "none", "--hard-labels", targets=None) == 2
    assert "--hard-labels and --top-k: only used with --targets" in capsys.readouterr().err


def test_a_mode_is_an_option(given, tone_shards, tmp_path):
    for mode in ("mutual", "mean_teacher"):
        assert distill(given, tone_shards, tmp_path / mode, "--mode", mode, targets=None) == 0
    assert load_model(tmp_path / "mutual" / "peer").config.hidden_size == 24


def test_losses_and_the_online_teacher_of_a_mode_are_typed_and_written_as_they_are_read():
    needed = {"out": "x", "unlabelled": ["x"], "labelled": ["x"], "dev": ["x"]}
    settings = ["losses=[{kind: kd, weight: 0.5, temperature: 2}]", "mode=mutual"]
    settings += ["online_teacher_options={model: {preset: teacher-tiny}, peer_kd_weight: 0}"]
    config = load_config(DistillRun, needed, settings)
    assert config.losses == (LossSpec("kd", 0.5, KDConfig(temperature=2.0)),)
    assert config.online_teacher_options == PeerTeacherConfig(PRESETS["teacher-tiny"], peer_kd_weight=0.0)
    written = to_dict(config)
    assert written["losses"][0] == {"kind": "kd", "weight": 0.5, **to_dict(KDConfig(temperature=2.0))}
    assert load_config(DistillRun, written) == config
    assert replace(config, temperature=3.0).resolved_losses()[0].options == KDConfig(temperature=3.0)
    plain = to_dict(load_config(DistillRun, needed))
    assert load_config(DistillRun, plain, ["mode=mean_teacher"]).online_teacher_options is None
    with pytest.raises(ValueError, match="mode snapshot needs SnapshotTeacherConfig"):
        replace(config, mode="snapshot")
    for mistake, message in (
        ("mode=[mutual]", r"x.yaml: mode is"),
        ("online_teacher_options=5", "x.yaml: online_teacher_options is 5; a mapping of fields is needed"),
        ("online_teacher_options={decay: 0.5}", "x.yaml: PeerTeacherConfig: unknown key decay"),
        ("online_teacher_options={feedback: 1}", "unknown key feedback. Since version 0.3 it is called peer_kd_weight"),
        ("losses=kd", "x.yaml: losses is 'kd'"),
        ("losses=[kd]", r"x.yaml: losses\[0\] is 'kd'; a mapping of fields is needed"),
    ):
        with pytest.raises(ValueError, match=message):
            load_config(DistillRun, needed, [*settings, mistake], name="x.yaml")


def test_a_dry_run_checks_everything_and_writes_nothing(given, tone_shards, tmp_path, capsys):
    assert distill(given, tone_shards, tmp_path / "out", "--dry-run") == 0
    assert "12 sub-epochs" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_another_inventory_is_refused_before_the_first_step_naming_both(given, tone_shards, tmp_path, capsys):
    other = Senones.monophone(["SIL", "AH", "EE"])
    write_alignments(tmp_path / "aligned", tone_shards, given / "teacher", other)
    assert distill(given, tone_shards, tmp_path / "out", alignments=tmp_path / "aligned") == 2
    message = capsys.readouterr().err
    assert INVENTORY.fingerprint[:12] in message and other.fingerprint[:12] in message
    assert not (tmp_path / "out").exists()


def test_targets_of_another_teacher_are_refused_naming_both(given, tone_shards, tmp_path, capsys):
    other = write_teacher(tmp_path / "other", seed=1)
    assert distill(given, tone_shards, tmp_path / "out", "--teacher", str(other)) == 2
    message = capsys.readouterr().err
    assert model_fingerprint(given / "teacher")[:12] in message and model_fingerprint(other)[:12] in message


def test_unlabelled_shards_without_targets_are_named(given, tone_shards, tmp_path, capsys):
    assert distill(given, tone_shards, tmp_path / "out", targets=tmp_path / "empty") == 2
    assert f"{tone_shards[0].stem}.parquet" in capsys.readouterr().err


def test_a_run_does_not_go_on_with_other_targets(given, tone_shards, tmp_path, capsys):
    distill(given, tone_shards, tmp_path)
    weights = (tmp_path / "model.safetensors").read_bytes()
    assert distill(given, tone_shards, tmp_path, "--hard-labels") == 2
    assert "hard_labels = False, here it is True" in capsys.readouterr().err
    assert distill(given, tone_shards, tmp_path) == 0  # finished: nothing left to do
    assert (tmp_path / "model.safetensors").read_bytes() == weights


def test_checking_the_targets_says_which_teacher_made_them(given, tone_shards):
    targets = SoftTargets(given / "targets", INVENTORY)
    assert targets.check(open_catalogue(*tone_shards[:2])) == model_fingerprint(given / "teacher")


def write_list(path, ids):
    path.write_text("".join(json.dumps({"id": i, "text": "NOT LOOKED AT"}) + "\n" for i in ids))
    return ["--utterances", str(path)]


def weights(out):
    return (out / "model.safetensors").read_bytes()


def test_only_the_listed_utterances_are_learned_from(given, tone_shards, tmp_path, monkeypatch, capsys):
    ids = [e.id for tar in tone_shards[:2] for e in open_shard(tar).entries]
    listed = ids[1::3]
    seen = []
    make = loader._BatchDataset._make  # looks on, changes nothing

    def looking_on(self, spec):
        batch = make(self, spec)
        seen.extend((batch.stream, i) for i in batch.utterances)
        return batch

    monkeypatch.setattr(loader._BatchDataset, "_make", looking_on)
    assert distill(given, tone_shards, tmp_path / "out", *write_list(tmp_path / "list.jsonl", listed)) == 0
    assert {i for stream, i in seen if stream == "unlabelled"} == set(listed)
    assert sum(stream == "unlabelled" for stream, _ in seen) == 4 * len(listed)  # epochs
    assert f"in {len(listed)} utterances, labelled" in capsys.readouterr().err


def test_a_run_with_a_list_resumes_exactly_and_refuses_another_list(given, tone_shards, tmp_path, capsys):
    ids = [e.id for tar in tone_shards[:2] for e in open_shard(tar).entries]
    only = write_list(tmp_path / "list.jsonl", ids[::2])
    assert distill(given, tone_shards, tmp_path / "whole", *only) == 0
    save, stopped = trainer.Trainer._save, []

    def save_and_stop(run):
        save(run)
        if run.state.sub_epoch == 3:
            stopped.append(run.state.step)
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(trainer.Trainer, "_save", save_and_stop)
        assert distill(given, tone_shards, tmp_path / "cut", *only) == 130
    assert stopped
    other = write_list(tmp_path / "other.jsonl", ids[1::2])
    capsys.readouterr()
    assert distill(given, tone_shards, tmp_path / "cut", *other) == 2
    assert "this run was begun with utterances = " in capsys.readouterr().err
    assert distill(given, tone_shards, tmp_path / "cut") == 2
    shuffled = write_list(tmp_path / "shuffled.jsonl", reversed(ids[::2]))  # the same utterances
    assert distill(given, tone_shards, tmp_path / "cut", *shuffled) == 0
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"id": "nobody"}\n{"id": "noone"}\n', "nobody and 1 more of 2 listed utterances: in no unlabelled shard"),
        ("", "lists no utterance"),
        ('{"id": "a"}\n{"id": "a"}\n', "a is also at"),
        ('{"id": 5}\n', 'list.jsonl:1: no text field "id"'),
        ("nonsense\n", "list.jsonl:1: not valid JSON"),
        (None, "list.jsonl: no such file"),
    ],
)
def test_a_list_that_cannot_be_right_is_refused_in_a_line(given, tone_shards, tmp_path, capsys, text, message):
    if text is not None:
        (tmp_path / "list.jsonl").write_text(text)
    capsys.readouterr()
    assert distill(given, tone_shards, tmp_path / "out", "--utterances", str(tmp_path / "list.jsonl")) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_layers_that_a_student_began_as_are_recorded_and_must_stay(given, tone_shards, tmp_path, capsys):
    init = ("--init", str(given / "teacher"), "--init-from-layers", "0")
    with pytest.MonkeyPatch.context() as patched:
        small = "model={num_layers: 1, hidden_size: 8, bidirectional: true}"
        patched.setattr("distilling.SETTINGS", [small, *SETTINGS[1:]])
        assert distill(given, tone_shards, tmp_path, *init) == 0
        record = json.loads(torch.load(tmp_path / "state.pt", weights_only=True)["run"])
        assert (record["init"], record["init_layers"]) == (model_fingerprint(given / "teacher"), [0])
        assert distill(given, tone_shards, tmp_path, *init[:2]) == 2
    assert "this run was begun with init_layers = [0], here it is None" in capsys.readouterr().err
    assert distill(given, tone_shards, tmp_path / "dry", *init, "--dry-run") == 2  # a student of other layers
    assert "or without --init." in capsys.readouterr().err and not (tmp_path / "dry").exists()
