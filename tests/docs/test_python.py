"""The examples of docs/python.md run, and its table is that of the commands."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from decoding import run

import asr_kd
from asr_kd.cli import all_commands
from asr_kd.models.checkpoint import model_fingerprint
from asr_kd.shards.reader import open_shard

TEXT = (Path(__file__).parents[2] / "docs/python.md").read_text()
TRANSCRIBE, STREAM, LABEL, DISTILL, LOSSES = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)


def test_the_table_names_the_functions_of_the_commands():
    rows = re.findall(r"\| `asr-kd (.+?)` \| `(\w+)` \| `(\w+)` \|", TEXT)
    assert len(rows) > 10
    for command, function, config in rows:
        entry = all_commands()[command]
        assert entry.load()[:2] == (getattr(asr_kd, config), getattr(asr_kd, function))


def test_every_name_of_the_package_is_there():
    assert set(asr_kd.__all__) <= set(dir(asr_kd))
    assert all(getattr(asr_kd, name) is not None for name in asr_kd.__all__)
    exported = re.findall(r"import (\w+) as \1\n", Path(asr_kd.__file__).read_text())  # what type checkers see
    assert {"__version__", *exported} == set(asr_kd.__all__)
    with pytest.raises(AttributeError, match="no attribute 'lable'"):
        _ = asr_kd.lable


def test_a_waveform_is_transcribed_with_times(trained, tone_shards, tone_utterances, tmp_path, capsys):
    shard = open_shard(tone_shards[0])
    assert run("tune", *tone_shards, "--model", trained / "model", "--graph", trained / "graph", "--out", tmp_path) == 0
    places = {"exp/student/tune": tmp_path, "exp/student": trained / "model", "exp/graph": trained / "graph"}
    texts = {u.id: u.text for u in tone_utterances}
    for row, entry in enumerate(shard.entries):
        wave_N = shard.audio(row)
        soundfile.write(tmp_path / "hello.wav", wave_N, 16_000)
        found = execute(TRANSCRIBE, places | {"hello.wav": tmp_path / "hello.wav"})["found"]
        assert found.text == texts[entry.id] and 0 < found.confidence <= 1
        edges = [t for word in found.words for t in (word.start_s, word.end_s)]
        assert edges == sorted(edges) and edges[-1] <= entry.seconds + 0.03
    pieces = np.split(wave_N.astype(np.float32), 7 * [0] + [1000, 9000])
    streamed = execute(STREAM, places, pieces=pieces)["stream"]
    assert streamed.partial == [] and texts[entry.id] in capsys.readouterr().out
    student = asr_kd.load(trained / "model", graph=trained / "graph", scales=tmp_path)
    assert student.transcribe(wave_N).text == texts[entry.id]
    assert student.transcribe(wave_N[:100]).words == []
    with pytest.raises(ValueError, match="inventory is of kind senones"):
        asr_kd.load(trained / "model")


def test_commands_run_from_python(trained, tone_shards, tmp_path):
    places = {
        "exp/shards/unlabelled": tone_shards[0],
        "exp/shards/labelled": tone_shards[1],
        "exp/shards/dev": tone_shards[2],
        "exp/teacher": trained / "model",
        "exp/targets": tmp_path / "targets",
        "exp/aligned": trained / "align",
        "exp/student": tmp_path / "student",
        "exp/softer": tmp_path / "softer",
    }
    execute(LABEL, places)
    small = DISTILL.replace('"epochs": 1', '"epochs": 1, "unlabelled_sub_epochs": 1, "labelled_every": 1')
    config = execute(small + LOSSES, places)["run"]
    last = (tmp_path / "softer/metrics.jsonl").read_text().splitlines()[-1]
    assert json.loads(last)["losses"].keys() == {"label", "self_distillation"}
    noted = yaml.safe_load((tmp_path / "student/config.yaml").read_text())
    assert asr_kd.load_config(asr_kd.DistillRun, noted) == config
    again = {**noted, "out": str(tmp_path / "again")}
    asr_kd.distill_student(asr_kd.load_config(asr_kd.DistillRun, again))
    assert model_fingerprint(tmp_path / "again") == model_fingerprint(tmp_path / "student")


def execute(code: str, places: dict[str, Path], **variables: object) -> dict:
    """The variables of an example, with files of ours in the place of its own."""
    for name, path in places.items():
        code = code.replace(f'"{name}"', repr(str(path)))
    exec(compile(code, "docs/python.md", "exec"), variables)
    return variables
