"""Teachers by prefix: what is refused says what there is instead."""

from pathlib import Path

import pytest

from asr_kd.cli import main
from asr_kd.teachers.registry import TEACHERS, known_teachers, load_models, posterior_kind, teacher_kind


def test_names_with_another_prefix_are_refused_with_those_that_exist():
    with pytest.raises(ValueError) as e:
        teacher_kind("kaldi:model")
    assert "\n" not in str(e.value)
    assert str(e.value).startswith("kaldi:model: no teacher has the prefix kaldi: ")
    assert "bundle:NAME_OR_FILE, whisper:NAME_OR_FOLDER" in str(e.value)


def test_a_file_of_ours_may_have_a_colon_in_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("run:1").mkdir()
    assert teacher_kind("run:1") is teacher_kind(Path("run")) is TEACHERS[""]


def test_what_a_teacher_does_not_give_is_refused_with_those_that_do():
    with pytest.raises(ValueError, match=r"whisper:small: gives transcripts, no posteriors.*bundle:NAME_OR_FILE\.$"):
        load_models(["whisper:small"])
    with pytest.raises(ValueError, match=r"bundle:X: does not take a student's features in training.*Others: MODEL"):
        posterior_kind("bundle:X", "features")
    with pytest.raises(ValueError, match=r"x.onnx: does not take a student's features in training.*Others: MODEL"):
        posterior_kind("x.onnx", "features")
    assert known_teachers("transcripts") == "whisper:NAME_OR_FOLDER"


def test_the_help_of_label_names_every_prefix(capsys):
    with pytest.raises(SystemExit):
        main(["label", "--help"])
    shown = capsys.readouterr().out
    assert all(prefix + kind.argument in shown for prefix, kind in TEACHERS.items() if prefix)
