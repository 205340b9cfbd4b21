"""The examples of docs/extending.md: each is one file and one line, and trains."""

import importlib.util
import re
from pathlib import Path

import pytest
from distilling import distill, metrics

from asr_kd.distill.losses.registry import KD_LOSSES
from asr_kd.distill.online_teachers.registry import ONLINE_TEACHERS
from asr_kd.jobs.job import Worker
from asr_kd.label.label_job import LabelJob
from asr_kd.teachers.registry import TEACHERS, known_teachers, load_models
from asr_kd.transcripts.pseudo_labels import read_transcripts

TEXT = (Path(__file__).parents[2] / "docs/extending.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)


def example(tmp_path, number, registry, monkeypatch):
    """Load the file and register it as its line says; the name it goes by."""
    file, line = BLOCKS[2 * number : 2 * number + 2]
    (tmp_path / "example.py").write_text(file)
    spec = importlib.util.spec_from_file_location(f"example{number}", tmp_path / "example.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(__import__("sys").modules, spec.name, module)
    spec.loader.exec_module(module)
    name, class_name = re.fullmatch(r'\s*"([\w:]+)": (\w+),\n', line).groups()
    monkeypatch.setitem(registry, name, getattr(module, class_name))
    return name


def test_the_loss_of_the_docs_trains(given, tone_shards, tmp_path, monkeypatch):
    name = example(tmp_path, 0, KD_LOSSES, monkeypatch)
    settings = [f"losses=[{{kind: kd}}, {{kind: {name}, weight: 0.5}}]"]
    arguments = ("--online-teacher", str(given / "teacher"))
    assert distill(given, tone_shards, tmp_path / "out", *arguments, settings=settings) == 0
    paces = [line["losses"][name] for line in metrics(tmp_path / "out") if name in line["losses"]]
    assert paces[-1] < paces[0]


def test_the_teacher_of_the_docs_teaches(given, tone_shards, tmp_path, monkeypatch, capsys):
    name = example(tmp_path, 1, ONLINE_TEACHERS, monkeypatch)
    arguments = ("--mode", name, "--online-teacher", str(given / "teacher"))
    assert distill(given, tone_shards, tmp_path / "out", *arguments, targets=None) == 0
    answers = [line["losses"]["kd"] for line in metrics(tmp_path / "out")]
    assert answers[-1] < answers[0]
    assert distill(given, tone_shards, tmp_path / "none", "--mode", name, targets=None) == 2
    assert "give one teacher with --online-teacher" in capsys.readouterr().err


def test_the_labelling_teacher_of_the_docs_labels(tone_shards, tmp_path, monkeypatch):
    prefix = example(tmp_path, 2, TEACHERS, monkeypatch)
    out = tmp_path / "transcripts"
    for threshold, texts in ((0.0, {"SPEECH"}), (1.0, {None})):
        job = LabelJob(teacher=(f"{prefix}{threshold}",), out=str(out), device="cpu")
        events, paths = [], iter([str(tone_shards[0]), None])
        Worker(job.processor(), events.append).run(lambda paths=paths: next(paths))
        assert [e.kind for e in events if e.kind != "audio"] == ["done"]
        assert {utterance.text for utterance in read_transcripts(out)} == texts
    assert f"{prefix}THRESHOLD" in known_teachers("transcripts")
    with pytest.raises(ValueError, match=rf"{prefix}1: gives transcripts, no posteriors"):
        load_models([f"{prefix}1"])


def test_the_kinds_of_the_docs_are_where_they_say(pytestconfig):
    for folder, file in re.findall(r"\| `(asr_kd/[a-z/]+)` \| `([a-z]+/[a-z]+\.py)`", TEXT):
        station = Path(folder).parts[1]
        assert (pytestconfig.rootpath / folder).is_dir()
        assert any((pytestconfig.rootpath / "asr_kd" / p / file).is_file() for p in ("", station)), file
