"""Hugging Face data sets on disk: from Parquet, Arrow and audiofolders to shards; every row is used or listed."""

import json
import os
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pytest
import soundfile
from clips import audio_rows, clip, samples, write_parquet, write_stream, write_tar

from asr_kd.cli import main
from asr_kd.corpora.audio import read_audio
from asr_kd.corpora.manifest import Utterance, read_manifest
from asr_kd.shards.reader import open_shard


def prepare(root: Path, *options: str, code: int = 0) -> dict[str, list[Utterance]]:
    out = root.parent / "m"
    assert main(["prepare", "huggingface", str(root), "--out", str(out), *options]) == code
    return {p.stem: list(read_manifest(p)) for p in out.glob("*.jsonl") if p.stem != "rejected"}


def rejected(root: Path) -> list[dict[str, Any]]:
    path = root.parent / "m" / "rejected.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def rows(count: int, first: int = 0, **more: Any) -> pa.Table:
    columns = {
        "sentence": [f"Word number {i}." for i in range(count)],
        "client_id": [f"s{i % 5}" for i in range(count)],
    }
    return audio_rows([clip(first + i) for i in range(count)], columns | more)


def test_parquet_of_the_hub_goes_to_shards_with_every_row_once(tmp_path: Path):
    root = tmp_path / "set"
    sentences = rows(20)
    for part in range(2):
        write_parquet(root / f"data/train-0000{part}-of-00002.parquet", sentences.slice(10 * part, 10))
    write_parquet(root / "data/validation-00000-of-00001.parquet", rows(3, first=20))
    write_parquet(root / "data/test-00000-of-00001.parquet", rows(4, first=23))
    (root / "README.md").write_text("---\ntags: [audio]\n---\n")
    parts = prepare(root)
    assert {name: len(part) for name, part in parts.items()} == {"labelled": 20, "dev": 3, "test": 4}
    first = parts["labelled"][13]
    assert (first.id, first.text, first.speaker) == ("data-train-00001-of-00002-3", "WORD NUMBER 13", "s3")
    assert first.audio_filepath == f"{root}/data/train-00001-of-00002.parquet::3"
    manifests = [str(tmp_path / f"m/{name}.jsonl") for name in parts]
    assert main(["shard", *manifests, "--out", str(tmp_path / "s"), "--minutes", "0.1", "--jobs", "2"]) == 0
    tars = sorted((tmp_path / "s/labelled").glob("*.tar"))
    shards = [open_shard(tar) for tar in tars]
    waves = {entry.id: shard.audio(i) for shard in shards for i, entry in enumerate(shard.entries)}
    assert len(tars) == 2 and list(waves) == [u.id for u in parts["labelled"]]
    for i, wave_N in enumerate(waves.values()):
        np.testing.assert_array_equal(wave_N, samples(clip(i)))

    stood = [tar.stat().st_mtime_ns for tar in tars]
    assert main(["shard", manifests[0], "--out", str(tmp_path / "s"), "--minutes", "0.1"]) == 0
    assert [tar.stat().st_mtime_ns for tar in tars] == stood
    other = write_parquet(root / "data/train-00001-of-00002.parquet", rows(10, first=40))
    os.utime(other, ns=(1, 1))
    assert main(["shard", manifests[0], "--out", str(tmp_path / "s"), "--minutes", "0.1"]) == 0
    np.testing.assert_array_equal(open_shard(tars[1]).audio(7), samples(clip(49)))


def test_rows_without_usable_audio_are_listed_and_named_files_are_read_inside_the_folder(tmp_path: Path):
    root = tmp_path / "set"
    (root / "clips").mkdir(parents=True)
    for path in (root / "clips/1.flac", tmp_path / "outside.flac"):
        path.write_bytes(clip(5))
    (root / "link.flac").symlink_to(tmp_path / "outside.flac")
    named = [
        "clips/1.flac",
        "../outside.flac",
        str(tmp_path / "outside.flac"),
        "link.flac",
        "none.flac",
        None,
        "http://x/y",
    ]
    values = [{"bytes": None, "path": p} for p in named] + [None, {"bytes": b"fLaC", "path": "x"}]
    values += [{"bytes": clip(i), "path": "clips/1.flac"} for i in range(3)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    write_parquet(root / "train.parquet", pa.table({"audio": pa.array(values, kind), "text": ["a"] * len(values)}))
    parts = prepare(root, "--dev-fraction", "0", "--max-skipped", "0.9")
    assert [Path(u.audio_filepath).name for u in parts["labelled"]] == [
        "1.flac",
        *(f"train.parquet::{i}" for i in (9, 10, 11)),
    ]
    np.testing.assert_array_equal(read_audio(parts["labelled"][0].audio_filepath), samples(clip(5)))
    np.testing.assert_array_equal(read_audio(parts["labelled"][1].audio_filepath), samples(clip(0)))
    reasons = {r["id"]: r["error"] for r in rejected(root)}
    assert sorted(reasons) == [f"train-{i}" for i in range(1, 9)]
    assert all("leads out of" in reasons[f"train-{i}"] for i in (1, 2, 3))
    assert "names 'none.flac', which is no file in the data set" in reasons["train-4"]
    assert all("the row holds no audio" in reasons[f"train-{i}"] for i in (4, 5, 6, 7))
    assert "not readable as audio" in reasons["train-8"]


def test_what_datasets_itself_writes_is_read(tmp_path: Path):
    clips = [{"bytes": clip(i), "path": f"{i}.flac"} for i in range(6)]
    columns = {"transcription": ["Eins, zwei"] * 7, "gender": [0, 1] * 3 + [1], "locale": ["de"] * 7}
    made = datasets.Dataset.from_dict({"speech": [*clips, None], **columns})
    made = made.cast_column("speech", datasets.Audio(sampling_rate=16000, decode=False))
    made = made.cast_column("gender", datasets.ClassLabel(names=["f", "m"]))
    datasets.DatasetDict({"train": made, "test": made}).save_to_disk(
        tmp_path / "a/set", num_shards={"train": 2, "test": 1}
    )
    made.to_parquet(tmp_path / "b/set/train-00000-of-00001.parquet")
    for root, count in ((tmp_path / "a/set", 12), (tmp_path / "b/set", 6)):
        parts = prepare(root)
        assert sum(map(len, parts.values())) == count and len(rejected(root)) == count // 6
        for utterances in parts.values():
            for u in utterances:
                wave_N = read_audio(u.audio_filepath, u.offset, u.duration)
                assert any(np.array_equal(wave_N, samples(c["bytes"])) for c in clips)
                assert u.text == "EINS ZWEI" and u.meta["lang"] == "de" and u.meta["gender"] in "fm"


def test_classes_numbers_and_own_ids_are_kept(tmp_path: Path):
    root = tmp_path / "set"
    table = rows(
        4,
        gender=[0, 1, 1, 0],
        age=[20, 30, None, 40],
        snr=[1.5, float("nan"), 2.0, 3.0],
        id=[f"u{i}" for i in range(4)],
    )
    note = json.loads(table.schema.metadata[b"huggingface"])
    note["info"]["features"]["gender"] = {"names": ["female", "male"], "_type": "ClassLabel"}
    table = table.append_column("tags", pa.array([["a"], [], None, ["b"]]))
    write_parquet(root / "train.parquet", table.replace_schema_metadata({"huggingface": json.dumps(note)}))
    parts = prepare(root, "--dev-fraction", "0", "--speaker-column", "none", "--text-column", "sentence")
    assert [u.id for u in parts["labelled"]] == ["u0", "u1", "u2", "u3"]
    assert [u.meta for u in parts["labelled"]][1] == {"client_id": "s1", "gender": "male", "age": 30, "source_id": "u1"}
    assert parts["labelled"][0].speaker is None
    prepare(root, "--text-column", "words", "--max-skipped", "1", code=2)


def test_columns_of_other_writers_are_known_by_their_shape(tmp_path: Path):
    root = tmp_path / "set"
    words = pa.array(["one", "two", "one"]).dictionary_encode()
    table = pa.table({"wav": pa.array([clip(i) for i in range(3)], pa.large_binary()), "Transcript": words})
    write_parquet(root / "part-0.parquet", table)
    parts = prepare(root, "--dev-fraction", "0")
    assert [u.text for u in parts["labelled"]] == ["ONE", "TWO", "ONE"]
    np.testing.assert_array_equal(read_audio(parts["labelled"][2].audio_filepath), samples(clip(2)))


def test_decoded_samples_are_audio_at_the_rate_that_stands_beside_them(tmp_path: Path):
    wave_N = samples(clip(3))
    decoded = [{"array": wave_N, "path": None, "sampling_rate": 16000}, None]
    decoded += [{"array": [], "path": None, "sampling_rate": 8000}, {"array": [0.1], "path": None, "sampling_rate": 1}]
    kind = pa.struct([("array", pa.list_(pa.float64())), ("path", pa.string()), ("sampling_rate", pa.int64())])
    table = pa.table({"audio": pa.array(decoded, kind), "text": ["a"] * 4})
    write_parquet(tmp_path / "a/set/train.parquet", table)
    write_stream(tmp_path / "b/set/train.arrow", table)
    for root in (tmp_path / "a/set", tmp_path / "b/set"):
        (u,) = prepare(root, "--dev-fraction", "0", "--max-skipped", "0.8")["labelled"]
        np.testing.assert_array_equal(read_audio(u.audio_filepath), wave_N)
        assert len(rejected(root)) == 3


def test_splits_are_taken_by_name_and_the_others_are_named(tmp_path: Path, capsys):
    root = tmp_path / "set"
    for i, name in enumerate(("train.clean.100", "validation.clean", "test.other", "invalidated")):
        write_parquet(
            root / f"en/{name}-00000-of-00001.parquet", rows(5, first=5 * i, client_id=[f"{name}{j}" for j in range(5)])
        )
    parts = prepare(root, "--max-skipped", "0.5")
    assert {name: len(part) for name, part in parts.items()} == {"labelled": 5, "dev": 5, "test": 5}
    assert "5 utterances are left out, split invalidated" in capsys.readouterr().err
    assert len(rejected(root)) == 1
    parts = prepare(
        root, "--unlabelled-splits", "invalidated", "--test-splits", "validation.clean", "--dev-splits", "test.other"
    )
    assert {name: len(part) for name, part in parts.items()} == dict.fromkeys(
        ("labelled", "dev", "test", "unlabelled", "unlabelled_references"), 5
    )
    assert parts["test"][0].id.startswith("en-validation")
    prepare(root, "--dev-splits", "nothing", code=2)


def test_what_save_to_disk_wrote_is_read_without_its_caches(tmp_path: Path):
    root = tmp_path / "set"
    for name, count in (("train", 8), ("test", 3)):
        folder = root / name
        write_stream(folder / "data-00000-of-00001.arrow", rows(count))
        (folder / "state.json").write_text(
            json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": name})
        )
        (folder / "dataset_info.json").write_text("{}")
    write_stream(root / "train/cache-0123.arrow", rows(8))
    (root / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    parts = prepare(root, "--dev-fraction", "0.2")
    assert {name: len(part) for name, part in parts.items()} == {"labelled": 6, "dev": 2, "test": 3}
    np.testing.assert_array_equal(read_audio(parts["test"][2].audio_filepath), samples(clip(2)))
    assert [Path(r["audio_filepath"]).name for r in rejected(root)] == ["cache-0123.arrow"]
    (root / "test/state.json").write_text(
        json.dumps({"_data_files": [{"filename": "../train/data-00000-of-00001.arrow"}, {"filename": "x.arrow"}]})
    )
    prepare(root, "--max-skipped", "0.5")
    assert sum("names '../train" in r["error"] for r in rejected(root)) == 1


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_an_audiofolder_takes_its_text_from_the_metadata(kind: str, tmp_path: Path):
    root = tmp_path / "set"
    (root / "train/clips").mkdir(parents=True)
    for i in range(4):
        soundfile.write(root / f"train/clips/ä {i}.wav", samples(clip(i)), 16000)
    (tmp_path / "out.wav").write_bytes(clip(1, kind="WAV"))
    table = [
        ("clips/ä 0.wav", 'Say "yes",\nplease'),
        ("clips/ä 1.wav", "No"),
        ("../../out.wav", "x"),
        ("clips/9.wav", "y"),
        ("clips/ä 1.wav", "z"),
    ]
    if kind == "csv":
        lines = ["file_name,transcription", *(f'"{f}","{t.replace(chr(34), chr(34) * 2)}"' for f, t in table), "a,b,c"]
        (root / "train/metadata.csv").write_text("\n".join(lines) + "\n")
    else:
        lines = [json.dumps({"file_name": f, "transcription": t}) for f, t in table]
        (root / "train/metadata.jsonl").write_text("\n".join(lines) + "\n")
    parts = prepare(root, "--dev-fraction", "0", "--max-skipped", "0.6")
    assert [(u.id, u.text) for u in parts["labelled"]] == [
        ("train-clips-ä 0.wav", "SAY YES PLEASE"),
        ("train-clips-ä 1.wav", "NO"),
    ]
    assert [u.id for u in parts["unlabelled"]] == ["train-clips-ä 2.wav", "train-clips-ä 3.wav"]
    assert len(rejected(root)) == 3 + (kind == "csv")


def test_a_folder_without_a_data_set_says_what_reads_it(tmp_path: Path, capsys):
    write_tar(tmp_path / "set/a.tar", {})
    prepare(tmp_path / "set", code=2)
    assert "prepare folder" in capsys.readouterr().err
