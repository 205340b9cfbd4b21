"""`asr-kd inspect` says what any of our files is."""

import json

import numpy as np
import pyarrow
import pytest
import safetensors.numpy
import soundfile

from asr_kd.cli import main
from asr_kd.corpora.manifest import Utterance, write_manifest
from asr_kd.shards.reader import open_shard
from asr_kd.targets.sidecar import sidecar_path, write_sidecar


@pytest.fixture
def files(tmp_path):
    """A manifest, its shards, a sidecar and a checkpoint."""
    soundfile.write(tmp_path / "a.wav", np.zeros(16000), 16000)
    utterances = [Utterance(f"u{i}", str(tmp_path / "a.wav"), 1.0, 0.0, "YES" if i else None, "s") for i in range(5)]
    write_manifest(tmp_path / "part.jsonl", utterances)
    main(["shard", str(tmp_path / "part.jsonl"), "--out", str(tmp_path / "shards"), "--minutes", "0.05"])
    for tar in sorted((tmp_path / "shards" / "part").glob("*.tar")):
        shard = open_shard(tar)
        table = pyarrow.table({"id": [e.id for e in shard.entries], "states": [[1] * 40 for _ in shard.entries]})
        write_sidecar(sidecar_path(tmp_path / "targets", shard), table, {"kind": "alignment", "shard": shard.digest})
    (tmp_path / "model").mkdir()
    weights = {"w": np.zeros((3, 4), np.float32), "b": np.zeros(4, np.float32)}
    description = {"asr_kd": json.dumps({"model": "lstm", "inventory": "ab"})}
    safetensors.numpy.save_file(weights, tmp_path / "model" / "model.safetensors", description)
    return tmp_path


def inspected(capsys, *arguments) -> dict:
    capsys.readouterr()
    assert main(["inspect", "--json", *map(str, arguments)]) == 0
    return json.loads(capsys.readouterr().out)


def test_each_kind_is_recognised_with_its_counts(files, capsys):
    manifest = inspected(capsys, files / "part.jsonl", "--rows", 2)
    assert (manifest["kind"], manifest["count"], manifest["with_text"], len(manifest["rows"])) == ("manifest", 5, 4, 2)
    shards = inspected(capsys, files / "shards" / "part", "--verify")
    assert (shards["kind"], shards["files"], shards["count"], shards["hours"]) == ("shards", 2, 5, round(5 / 3600, 4))
    assert inspected(capsys, files / "shards" / "part" / "shard-000001.tar")["count"] == 2
    catalogue = inspected(capsys, files / "shards" / "part" / "catalogue.parquet", "--rows", 1)
    assert (catalogue["kind"], catalogue["shards"], catalogue["count"]) == ("catalogue", 2, 5)
    assert [(row["path"], row["utterances"]) for row in catalogue["rows"]] == [("shard-000000.tar", 3)]
    sidecar = inspected(capsys, files / "targets" / "shard-000000.parquet")
    assert (sidecar["kind"], sidecar["count"]) == ("sidecar of alignment", 3)
    assert sidecar["rows"][0]["states"] == "40 values, the first [1, 1, 1, 1]"
    assert inspected(capsys, files / "targets")["count"] == 5
    for path in (files / "model", files / "model" / "model.safetensors"):
        checkpoint = inspected(capsys, path)
        assert (checkpoint["kind"], checkpoint["numbers"]) == ("checkpoint", 16)
        assert checkpoint["description"] == {"model": "lstm", "inventory": "ab"}


def test_plain_output_names_path_and_kind(files, capsys):
    assert main(["inspect", str(files / "part.jsonl"), str(files / "model")]) == 0
    out = capsys.readouterr().out
    assert f"{files / 'part.jsonl'}: manifest" in out
    assert "    model: lstm" in out


def test_what_is_not_ours_is_refused_in_one_line(files, capsys):
    (files / "x.txt").write_text("x")
    (files / "x.safetensors").write_text("x")
    (files / "x.tar").write_text("x")
    for name in ("x.txt", "x.safetensors", "x.tar", "missing", "shards"):
        assert main(["inspect", str(files / name)]) == 2
        assert capsys.readouterr().err.count("\n") == 1
