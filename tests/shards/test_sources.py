"""Shards know the files that they came from: what failed is tried again when it can go well, and nothing is lost."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import soundfile

from asr_kd.cli import main
from asr_kd.core.files import sha256_file
from asr_kd.shards.index import index_path
from asr_kd.shards.reader import open_shard
from asr_kd.targets.sidecar import read_sidecar, write_sidecar

RATE = 16000


def tone(path: Path, hertz: float = 300.0, seconds: float = 0.5) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE), RATE)
    return path


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Four utterances of half a second, each of its own file in audio/, the last from the middle of a longer one."""
    lines = []
    for i in range(4):
        tone(tmp_path / "audio" / f"{i}.wav", 300 + 100 * i, 0.5 if i < 3 else 2.0)
        line = {"id": f"u{i}", "audio_filepath": f"audio/{i}.wav", "duration": 0.5, "offset": 0.0 if i < 3 else 1.0}
        lines.append(line)
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path / "m.jsonl"


def shard(manifest: Path, code: int = 0) -> Path:
    command = ["shard", str(manifest), "--out", str(manifest.parent / "s"), "--max-skipped", "0.5"]
    assert main(command) == code
    return manifest.parent / "s" / "m" / "shard-000000.tar"


def ids(tar: Path) -> list[str]:
    return [entry.id for entry in open_shard(tar).entries]


def test_a_missing_file_is_tried_again_when_it_is_back(manifest: Path):
    whole = sha256_file(shard(manifest))
    path = manifest.parent / "audio" / "2.wav"
    path.rename(manifest.parent / "away.wav")
    index_path(shard(manifest)).unlink()
    for _ in range(2):
        assert ids(shard(manifest)) == ["u0", "u1", "u3"]
    (manifest.parent / "away.wav").rename(path)
    assert sha256_file(shard(manifest)) == whole


def test_a_damaged_file_is_tried_again_when_it_was_mended(manifest: Path):
    path = manifest.parent / "audio" / "1.wav"
    path.write_bytes(b"RIFF nonsense")
    tar = shard(manifest)
    assert ids(tar) == ["u0", "u2", "u3"]
    stood = tar.stat().st_mtime_ns
    assert shard(manifest).stat().st_mtime_ns == stood
    tone(path)
    assert ids(shard(manifest)) == ["u0", "u1", "u2", "u3"]


def test_audio_replaced_under_its_old_name_is_noticed(manifest: Path):
    before = sha256_file(shard(manifest))
    path = tone(manifest.parent / "audio" / "1.wav", 1000.0)
    assert sha256_file(shard(manifest)) != before
    tone(path, 400.0)
    assert sha256_file(shard(manifest)) == before


def test_a_finished_shard_outlives_its_audio(manifest: Path):
    tar = shard(manifest)
    before = sha256_file(tar), index_path(tar).read_bytes()
    (manifest.parent / "audio" / "0.wav").unlink()
    tone(manifest.parent / "audio" / "1.wav", 1000.0)
    shard(manifest)
    for path in (manifest.parent / "audio").iterdir():
        path.unlink()
    shard(manifest)
    assert (sha256_file(tar), index_path(tar).read_bytes()) == before


def test_a_mount_that_is_away_stops_the_run_and_sets_nothing_aside(manifest: Path, capsys):
    audio = manifest.parent / "audio"
    audio.rename(manifest.parent / "elsewhere")
    audio.mkdir()
    shard(manifest, code=2)
    assert "audio/0.wav" in capsys.readouterr().err
    assert not list((manifest.parent / "s").rglob("*.json*"))
    audio.rmdir()
    (manifest.parent / "elsewhere").rename(audio)
    assert ids(shard(manifest)) == ["u0", "u1", "u2", "u3"]


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO, errno.ESTALE, errno.EACCES, errno.ENOMEM])
def test_an_error_of_the_system_stops_shard_and_prepare(number: int, manifest: Path, monkeypatch):
    real = open

    def failing(path, *args, **kwargs):
        if str(path).endswith("2.wav"):
            raise OSError(number, os.strerror(number), str(path))
        return real(path, *args, **kwargs)

    monkeypatch.setattr("builtins.open", failing)
    shard(manifest, code=2)
    command = ["prepare", "folder", str(manifest.parent / "audio"), "--out", str(manifest.parent / "p")]
    assert main(command) == 2
    assert not (manifest.parent / "p").exists()
    monkeypatch.undo()
    assert ids(shard(manifest)) == ["u0", "u1", "u2", "u3"]


def test_shards_say_where_an_utterance_came_from(manifest: Path, capsys):
    tar = shard(manifest)
    found = [(entry.audio_filepath, entry.offset) for entry in open_shard(tar).entries]
    assert found == [(str(manifest.parent / "audio" / f"{i}.wav"), 0.0 if i < 3 else 1.0) for i in range(4)]
    capsys.readouterr()
    assert main(["inspect", "--json", str(tar)]) == 0
    assert json.loads(capsys.readouterr().out)["rows"][0]["audio_filepath"] == str(manifest.parent / "audio" / "0.wav")
    assert str(manifest.parent).encode() not in tar.read_bytes()


def test_an_index_of_the_first_version_is_read_and_what_it_set_aside_gets_another_try(manifest: Path):
    path = manifest.parent / "audio" / "1.wav"
    path.rename(manifest.parent / "away.wav")
    tar = shard(manifest)
    old = json.loads(index_path(tar).read_text())
    old = {k: v for k, v in old.items() if k not in ("sources", "digest")} | {"version": 1}
    for entry in old["entries"]:
        del entry["audio_filepath"], entry["offset"]
    index_path(tar).write_text(json.dumps(old))
    assert ids(tar) == ids(shard(manifest)) == ["u0", "u2", "u3"]
    (manifest.parent / "away.wav").rename(path)
    assert ids(shard(manifest)) == ["u0", "u1", "u2", "u3"]


def test_utterances_too_long_to_train_on_are_told_with_their_hours(tmp_path: Path, capsys):
    root = tmp_path / "in"
    for name, seconds in (("a", 60.0), ("b", 61.0), ("c", 119.0)):
        tone(root / f"{name}.flac", seconds=seconds)
    told = "2 utterances (0.050 h) are longer than 60 s"
    assert main(["prepare", "folder", str(root), "--out", str(tmp_path / "m")]) == 0
    assert f"unlabelled: {told}" in capsys.readouterr().err
    assert main(["shard", str(tmp_path / "m" / "unlabelled.jsonl"), "--out", str(tmp_path / "s")]) == 0
    assert told in capsys.readouterr().err


def test_a_sidecar_that_does_not_fit_into_memory_is_not_called_damaged(tmp_path: Path, monkeypatch):
    table = pyarrow.table({"id": ["a"], "states": [[1, 2]]})
    write_sidecar(tmp_path / "a.parquet", table, {"kind": "alignment", "shard": "0" * 64})

    def full(*args, **kwargs):
        raise pyarrow.ArrowMemoryError("malloc of size 64 failed")

    for name in ("read_metadata", "ParquetFile"):
        with monkeypatch.context() as patch:
            patch.setattr(pyarrow.parquet, name, full)
            with pytest.raises(MemoryError):
                read_sidecar(tmp_path / "a.parquet")


def test_a_flipped_bit_of_audio_that_still_decodes_is_noticed(manifest: Path):
    tar = shard(manifest)
    opened = open_shard(tar)
    data = bytearray(tar.read_bytes())
    for entry in opened.entries:
        data[entry.audio_offset + 26 + 8] ^= 1  # of FLAC's own digest of the samples, which no decoder asks for
    tar.write_bytes(data)
    for row in range(len(opened.entries)):
        with pytest.raises(ValueError, match=r"damaged audio \(its bytes are not those that its index was made of\)"):
            open_shard(tar).audio(row)
