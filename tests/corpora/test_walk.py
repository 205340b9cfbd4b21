"""Files in linked folders are used as others are; a name that no file can have costs its row."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import soundfile
from clips import audio_rows, clip, write_parquet, write_tar

from asr_kd.cli import main
from asr_kd.corpora.manifest import read_manifest
from asr_kd.corpora.walk import files_below

LONG = "n" * 300


def tone(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.3 * np.sin(0.1 * np.arange(8000)), 16000)
    return path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def prepared(reader: str, root: Path, out: Path) -> tuple[set[str], list[str]]:
    """Ids of the used, reasons of the rejected."""
    assert main(["prepare", reader, str(root), "--out", str(out), "--max-skipped", "0.9"]) == 0
    names = ("labelled", "dev", "test", "unlabelled")
    used = {u.id for p in out.glob("*.jsonl") if p.stem in names for u in read_manifest(p)}
    rejected = out / "rejected.jsonl"
    lines = rejected.read_text().splitlines() if rejected.exists() else []
    return used, [json.loads(line)["error"] for line in lines]


def test_linked_folders_are_walked_once_and_circles_end(tmp_path):
    root, outside = tmp_path / "a", tmp_path / "ext"
    for path in (root / "z/1", root / "b/c/2", root / "b-c", root / ".hidden/3", outside / "spk/4", outside / "5"):
        write(path, "")
    plain = files_below(root)
    assert plain == sorted(path for path in root.rglob("*") if path.is_file()) and len(plain) == 4
    links = {"first": root / "z", "spk3": outside / "spk", "whole": outside, "z/up": root, "gone": root / "no"}
    for name, target in links.items():
        (root / name).symlink_to(target)
    (outside / "back").symlink_to(root / "b")
    (root / "loop").symlink_to("loop")
    (root / "file").symlink_to(outside / "5")
    more = [root / "spk3/4", root / "whole/5", root / "file"]
    assert files_below(root) == sorted([*plain, *more])
    assert files_below(root / "b-c") == files_below(root / "not there") == []


def folder_of(path: Path, number: int) -> None:
    tone(path / f"{number}.wav")


def kaldi_of(path: Path, number: int) -> None:
    write(path / "wav.scp", f"u{number} {tone(path / f'{number}.wav')}\n")


def audiofolder_of(path: Path, number: int) -> None:
    tone(path / "named.wav")
    tone(path / "unnamed.wav")
    write(path / "metadata.csv", "file_name,text\nnamed.wav,one\n")


def parquet_of(path: Path, number: int) -> None:
    write_parquet(path / f"train-{number}.parquet", audio_rows([clip(number)], {"text": ["one"]}))


def parquet_of_names(path: Path, number: int) -> None:
    tone(path / "beside.wav")
    names = pa.StructArray.from_arrays([pa.nulls(1, pa.binary()), pa.array(["beside.wav"])], ["bytes", "path"])
    write_parquet(path / f"train-{number}.parquet", pa.table({"audio": names, "text": ["one"]}))


def tar_of(path: Path, number: int) -> None:
    write_tar(path / f"{number}.tar", {"1.flac": clip(number), "1.txt": b"one"})


def shar_of(path: Path, number: int) -> None:
    cut = {"id": f"u{number}", "type": "MonoCut", "start": 0, "duration": 0.5, "channel": 0, "supervisions": []}
    write_tar(path / "recording.000000.tar", {f"u{number}.flac": clip(number)})
    write(path / "cuts.000000.jsonl", json.dumps(cut) + "\n")


def ljspeech_of(path: Path, number: int) -> None:
    tone(path / f"{number}.wav")


@pytest.mark.parametrize(
    ("reader", "make", "each"),
    [
        ("folder", folder_of, 1),
        ("kaldi", kaldi_of, 1),
        ("huggingface", audiofolder_of, 2),
        ("huggingface", parquet_of, 1),
        ("huggingface", parquet_of_names, 1),
        ("nemo-tarred", tar_of, 1),
        ("shar", shar_of, 1),
        ("ljspeech", ljspeech_of, 1),
    ],
)
def test_audio_behind_a_link_is_used_as_other_audio(tmp_path, reader, make, each):
    root = tmp_path / "a"
    inside = root / "wavs" if reader == "ljspeech" else root / "train"
    if reader == "ljspeech":
        write(root / "metadata.csv", "1|one\n")
        tone(inside / "1.wav")
    make(inside / "spk2", 2)
    for number in (3, 4):
        make(tmp_path / f"ext{number}" / "spk", number)
        (inside / f"spk{number}").symlink_to(tmp_path / f"ext{number}" / "spk")
    used, rejected = prepared(reader, root, tmp_path / "out")
    assert rejected == [] and len(used) == 3 * each + (reader == "ljspeech")


@pytest.mark.parametrize("reader", ["table", "kaldi", "lhotse", "huggingface", "ljspeech"])
@pytest.mark.parametrize("name", [f"{LONG}.wav", LONG, f"{LONG}.ark:12", "n" * 253])
def test_a_name_that_is_too_long_for_a_file_costs_its_row(tmp_path, reader, name):
    root = tmp_path / "a"
    good = tone(root / ("wavs/good.wav" if reader == "ljspeech" else "good.wav"))
    if reader == "table":
        given = write(root / "t.csv", f"audio,text\n{name},one\n{good},two\n")
    elif reader == "kaldi":
        given = write(root / "wav.scp", f"long {name}\ngood good.wav\n").parent
    elif reader == "huggingface":
        given = write(root / "metadata.csv", f"file_name,text\n{name},one\ngood.wav,two\n").parent
    elif reader == "ljspeech":
        given = write(root / "metadata.csv", f"{name}|one\ngood|two\n").parent
    else:
        lines = []
        for own, file in (("long", name), ("good", str(good))):
            source = {"type": "file", "channels": [0], "source": file}
            recording = {"id": own, "sources": [source], "duration": 0.5, "sampling_rate": 16000}
            cut = {"type": "MonoCut", "id": own, "start": 0, "duration": 0.5, "channel": 0, "recording": recording}
            lines.append(json.dumps(cut) + "\n")
        given = write(root / "cuts.jsonl", "".join(lines))
    used, rejected = prepared(reader, given, tmp_path / "out")
    assert len(used) == 1 and len(rejected) == 1 and name[:200] in rejected[0]
