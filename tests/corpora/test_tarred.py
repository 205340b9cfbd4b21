"""Tarred data of lhotse, NeMo and WebDataset: every cut, line and member is used or listed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from clips import RATE, clip, samples, write_tar

from asr_kd.cli import main
from asr_kd.corpora.audio import read_audio
from asr_kd.corpora.manifest import Utterance, read_manifest


def prepare(reader: str, root: Path, *options: str, code: int = 0) -> dict[str, list[Utterance]]:
    out = root.parent / "m"
    assert main(["prepare", reader, str(root), "--out", str(out), "--max-skipped", "0.9", *options]) == code
    return {p.stem: list(read_manifest(p)) for p in out.glob("*.jsonl") if p.stem != "rejected"}


def reasons(root: Path) -> dict[str, str]:
    lines = (root.parent / "m" / "rejected.jsonl").read_text().splitlines()
    return {row["id"]: row["error"] for row in map(json.loads, lines)}


def test_what_lhotse_wrote_as_shar_has_its_texts_speakers_and_samples(tmp_path: Path):
    lhotse = pytest.importorskip("lhotse")
    root = tmp_path / "shar"
    for split, count in (("train", 7), ("dev", 2)):
        cuts = []
        for i in range(count):
            path = tmp_path / f"{split} {i}.wav"
            soundfile.write(path, samples(clip(i, 1.0)), RATE)
            cut = lhotse.Recording.from_file(path, recording_id=f"{split}-{i}.x").to_cut()
            more = {"speaker": f"s{i % 3}", "language": "English", "custom": {"snr": 2.5}}
            starts = {3: [(0.0, 0.4), (0.5, 0.5)], 4: [(0.25, 0.5)]}.get(i, [(0.0, 1.0)])
            cut.supervisions = [
                lhotse.SupervisionSegment(f"{i}{j}", cut.recording_id, start, s, text=f"Text {j}!", **more)
                for j, (start, s) in enumerate(starts)
                if i != 5
            ]
            cuts.append(cut.truncate(offset=0.25, duration=0.5) if i == 4 else cut)
        (root / split).mkdir(parents=True)
        lhotse.CutSet.from_cuts(cuts).to_shar(root / split, fields={"recording": "flac"}, shard_size=4)
    parts = prepare("shar", root)
    assert {name: len(part) for name, part in parts.items()} == {"labelled": 7, "dev": 2, "unlabelled": 1}
    first = parts["labelled"][0]
    assert (first.text, first.speaker, first.duration, first.meta) == ("TEXT 0", "s0", 1.0, first.meta | {"snr": 2.5})
    second = next(u for u in parts["labelled"] if u.text == "TEXT 1")
    assert (second.offset, second.duration) == (0.5, 0.5)
    np.testing.assert_array_equal(read_audio(second.audio_filepath, 0.5, 0.5), samples(clip(3, 1.0))[8000:])
    cut_out = next(u for u in parts["labelled"] if u.speaker == "s1" and u.duration == 0.5)
    np.testing.assert_array_equal(read_audio(cut_out.audio_filepath), samples(clip(4, 1.0))[4000:12000])
    assert main(["shard", *(str(tmp_path / f"m/{n}.jsonl") for n in parts), "--out", str(tmp_path / "s")]) == 0


def test_of_a_shar_that_is_not_whole_the_rest_is_used_and_the_others_are_listed(tmp_path: Path):
    root = tmp_path / "shar"
    cut = {"type": "MonoCut", "start": 0, "duration": 0.5, "channel": 0, "supervisions": []}
    cuts = [cut | {"id": name} for name in ("a", "b", "c", "gone")] + [cut | {"id": "d", "type": "MixedCut"}]
    cuts[1] = cuts[1] | {"duration": 0.9}
    cuts[2] = cuts[2] | {"supervisions": ["no"]}
    members = {f"{name}.flac": clip(1) for name in "abcde"} | {"gone.nodata": b"", "a.json": b"{}"}
    write_tar(root / "recording.000000.tar", members)
    (root / "cuts.000000.jsonl").write_text("".join(json.dumps(c) + "\n" for c in cuts) + "{damaged\n")
    (root / "cuts.000001.jsonl.gz").write_bytes(b"\x1f\x8bnothing")
    parts = prepare("shar", root)
    assert [u.id for u in parts["unlabelled"]] == ["a"]
    why = reasons(root)
    assert "0.50 s of audio, the corpus says 0.90 s" in why["b"] and "MixedCut" in why["d"] and "no cut" in why["e"]
    assert sorted(why) == ["b", "c", "cuts.000000.jsonl-6", "cuts.000001.jsonl.gz", "d", "e", "gone"]


def nemo(root: Path, lines: list[dict[str, Any]]) -> None:
    for shard in range(2):
        write_tar(root / f"audio_{shard}.tar", {f"data_{i}.wav": clip(10 * shard + i, 1.0, "WAV") for i in range(3)})
    (root / "tarred_audio_manifest.json").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_nemo_lines_find_their_members_by_shard_with_offsets_and_other_codecs(tmp_path: Path):
    root = tmp_path / "t"
    lines: list[dict[str, Any]] = [
        {"audio_filepath": "data_0.wav", "duration": 1.0, "text": "zero", "shard_id": 0, "lang": "de"},
        {"audio_filepath": "data_0.wav", "duration": 0.25, "offset": 0.5, "text": "one", "shard_id": 1},
        {"audio_filepath": "data_0-sub1.wav", "duration": 0.25, "offset": 0.75, "text": "two", "shard_id": 1},
        {"audio_filepath": "data_1.flac", "duration": 1.0, "text": "three", "shard_id": 1},
        {"audio_filepath": "data_1.wav", "duration": 1.5, "text": "too long", "shard_id": 0},
        {"audio_filepath": "data_7.wav", "duration": 1.0, "text": "gone", "shard_id": 0},
        {"audio_filepath": "data_2.wav", "duration": 1.0, "text": "gone", "shard_id": 5},
    ]
    nemo(root, lines)
    parts = prepare("nemo-tarred", root, "--dev-fraction", "0")
    assert [u.text for u in parts["labelled"]] == ["ZERO", "ONE", "TWO", "THREE"]
    assert [u.id for u in parts["labelled"]] == ["0-data_0", "1-data_0", "1-data_0-sub1", "1-data_1"]
    assert parts["labelled"][0].meta["lang"] == "de"
    two = parts["labelled"][2]
    wave_N = read_audio(two.audio_filepath, two.offset, two.duration)
    np.testing.assert_array_equal(wave_N, samples(clip(10, 1.0, "WAV"))[12000:])
    why = reasons(root)
    assert "1.00 s of audio, the utterance ends at 1.50 s" in why["0-data_1"]
    assert "not in tar 0" in why["data_7"] and "no line of the manifest names it" in why["data_2.wav"]
    (root / "tarred_audio_manifest.json").unlink()
    (root / "sharded_manifests").mkdir()
    for i in range(2):
        (root / f"sharded_manifests/manifest_{i}.json").write_text(json.dumps(lines[i]) + "\n")
    assert len(prepare("nemo-tarred", root, "--dev-fraction", "0")["labelled"]) == 2


def test_webdataset_tars_take_text_beside_the_audio_and_folders_as_splits(tmp_path: Path):
    root = tmp_path / "t"
    note = json.dumps({"text": "from json", "speaker": 7, "snr": 3, "tags": ["a"]}).encode()
    write_tar(
        root / "train/0.tar",
        {"a/1.flac": clip(1), "a/1.txt": b"One.\n", "2.json": note, "2.flac": clip(2), "3.flac": clip(3)}
        | {"4.txt": b"no audio", "5.flac": clip(5), "5.wav": clip(5), "6.flac": clip(6), "6.json": b"[1]"},
    )
    whole = write_tar(root / "test/0.tar", {"1.flac": clip(1), "1.txt": b"Two", "2.flac": clip(2), "2.txt": b"Three"})
    whole.write_bytes(whole.read_bytes()[: whole.read_bytes().index(b"2.flac") + 3000])
    (root / "train/1.tar").write_bytes(b"no tar")
    (root / "train/2.tar.gz").write_bytes(b"\x1f\x8b")
    parts = prepare("nemo-tarred", root, "--dev-fraction", "0")
    assert {u.id: (u.text, u.speaker) for u in parts["labelled"]} == {
        "train-0-a-1": ("ONE", None),
        "train-0-2": ("FROM JSON", "7"),
    }
    assert parts["labelled"][1].meta == {"snr": 3}
    assert [u.id for u in parts["unlabelled"]] == ["train-0-3"] and [u.text for u in parts["test"]] == ["TWO"]
    assert sorted(reasons(root)) == ["0.tar", "1.tar", "2.tar.gz", "train-0-4", "train-0-5", "train-0-6"]


def test_a_nemo_line_with_values_of_another_kind_is_listed_alone(tmp_path: Path):
    root = tmp_path / "t"
    good = {"audio_filepath": "data_0.wav", "duration": 1.0, "offset": None, "text": "good", "shard_id": 0}
    bad = [{"offset": "0.5"}, {"duration": "0.5"}, {"text": 5}, {"audio_filepath": "/"}, {"duration": True}]
    nemo(root, [good | change for change in bad] + [good])
    parts = prepare("nemo-tarred", root, "--dev-fraction", "0")
    assert {name: [(u.text, u.offset) for u in part] for name, part in parts.items()} == {"labelled": [("GOOD", 0.0)]}
    why = [reasons(root)[f"{root / 'tarred_audio_manifest.json'}:{line}"] for line in range(1, 6)]
    told = (
        "offset is '0.5', not a number",
        "duration is '0.5', not a",
        "text is 5, not a string",
        "is '/', not the name",
    )
    assert all(part in reason for part, reason in zip(told, why, strict=False)) and "duration is 'True'" in why[4]
