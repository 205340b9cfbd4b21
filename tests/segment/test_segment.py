"""Recordings become manifests of segments: every recording is cut once or listed, whoever does the work."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr_kd.corpora.audio import read_audio
from asr_kd.corpora.manifest import Utterance, read_manifest, write_manifest
from asr_kd.segment import recordings as rooms
from asr_kd.segment.recordings import find_sources, parts_of, read_part, write_part
from asr_kd.segment.segment import SegmentRun, segment_recordings
from asr_kd.segment.segment_job import SegmentJob, SegmentWorker
from asr_kd.shards.reader import find_shards, open_shard
from asr_kd.shards.shard import ShardRun, make_shards

RATE = 16000


def _talk(words: int, seed: int, pause_s: float = 1.0) -> np.ndarray:
    """Bursts of noise of 2 s between pauses."""
    rng = np.random.default_rng(seed)
    pause_N = 0.001 * rng.standard_normal(round(pause_s * RATE))
    return np.concatenate([pause_N, *(np.concatenate([0.1 * rng.standard_normal(2 * RATE), pause_N]),) * words])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Three talks, one of silence, one that is no audio."""
    root = tmp_path_factory.mktemp("my recordings")
    for number in range(3):
        soundfile.write(root / f"Gespräch {number}.flac", _talk(number + 2, number), RATE)
    soundfile.write(root / "silence.flac", np.zeros(5 * RATE), RATE)
    (root / "broken.flac").write_bytes(b"fLaC" + bytes(100))
    return root


def _run(out: Path, *inputs: Path, **options) -> list[Utterance]:
    options = {"detector": "energy", "workers": 1, "max_skipped": 0.5} | options
    segment_recordings(SegmentRun(inputs=inputs, out=out, **options))
    return list(read_manifest(out / "unlabelled.jsonl"))


def test_a_folder_becomes_segments_and_what_is_left_out_is_listed(folder, tmp_path, capsys):
    segments = _run(tmp_path / "out", folder)
    assert [s.meta["recording"] for s in segments] == [f"Gespräch {n}" for n in (0, 0, 1, 1, 1, 2, 2, 2, 2)]
    assert segments[0].id == f"Gespräch 0-{round(segments[0].offset * 1000):08d}"
    assert all(2.3 <= s.duration < 2.8 and s.audio_filepath.endswith(".flac") and s.text is None for s in segments)
    rejected = [json.loads(line) for line in (tmp_path / "out/rejected.jsonl").read_text().splitlines()]
    assert [(r["id"], "no speech" in r["error"]) for r in rejected] == [("broken", False), ("silence", True)]
    with open(tmp_path / "out/recordings.csv", encoding="utf-8", newline="") as f:
        rows = {row["id"]: row for row in csv.DictReader(f)}
    assert len(rows) == 5 and rows["Gespräch 2"]["segments"] == "4"
    assert 7.5 < float(rows["Gespräch 2"]["speech_s"]) < 8.5 and float(rows["Gespräch 2"]["seconds"]) == 13
    assert "1 recordings hold no speech" in capsys.readouterr().err


def test_segments_are_the_audio_of_the_recording_in_shards(folder, tmp_path):
    segments = _run(tmp_path / "out", folder)
    make_shards(ShardRun(manifests=(tmp_path / "out/unlabelled.jsonl",), out=tmp_path / "shards"))
    (shard,) = [open_shard(p) for p in find_shards(tmp_path / "shards/unlabelled")]
    assert [e.id for e in shard.entries] == [s.id for s in segments]
    last = segments[-1]
    np.testing.assert_allclose(
        shard.audio(len(segments) - 1), read_audio(last.audio_filepath, last.offset, last.duration), atol=1e-4
    )


def test_speaker_and_meta_are_carried_on_and_offsets_add_up(folder, tmp_path):
    path = str(folder / "Gespräch 2.flac")
    whole = Utterance("talk", path, 6.0, 3.0, None, "anna", {"channel": "phone"})
    write_manifest(tmp_path / "unlabelled.jsonl", [whole])
    segments = _run(tmp_path / "out", tmp_path / "unlabelled.jsonl")
    assert [s.speaker for s in segments] == ["anna"] * len(segments) != []
    assert segments[0].meta == {"channel": "phone", "recording": "talk"}
    assert all(s.offset >= 3.0 and s.offset + s.duration <= 9.001 for s in segments)
    assert segments[0].offset == pytest.approx(3.75, abs=0.1)  # the second burst


def test_text_of_short_recordings_stays_and_long_ones_are_listed(folder, tmp_path):
    short = Utterance("short", str(folder / "Gespräch 0.flac"), 7.0, 0.0, "HELLO")
    long = Utterance("long", str(folder / "Gespräch 2.flac"), 13.0, 0.0, "HELLO AGAIN")
    write_manifest(tmp_path / "labelled.jsonl", [short, long])
    options = {"detector": "energy", "workers": 1, "max_seconds": 10.0}
    segment_recordings(SegmentRun(inputs=(tmp_path / "labelled.jsonl",), out=tmp_path / "out", **options))
    assert list(read_manifest(tmp_path / "out/labelled.jsonl")) == [short]
    (rejected,) = [json.loads(line) for line in (tmp_path / "out/rejected.jsonl").read_text().splitlines()]
    assert rejected["id"] == "long" and "--ignore-text" in rejected["error"]
    segment_recordings(
        SegmentRun(inputs=(tmp_path / "labelled.jsonl",), out=tmp_path / "bare", ignore_text=True, **options)
    )
    segments = list(read_manifest(tmp_path / "bare/labelled.jsonl"))
    assert len(segments) == 6 and {s.text for s in segments} == {None}


def test_the_bytes_do_not_depend_on_workers_parts_or_stops(folder, tmp_path, monkeypatch):
    _run(tmp_path / "one", folder)
    monkeypatch.setattr(rooms, "PART_RECORDINGS", 1)  # every recording is a part
    _run(tmp_path / "many", folder, workers=3)
    results = sorted((tmp_path / "many/.work/segments").iterdir())
    assert len(results) == 4  # what cannot be measured is in no part
    before = {path: path.stat().st_mtime_ns for path in results}
    results[1].unlink()  # as if it had been killed before the rename
    (tmp_path / "many/unlabelled.jsonl").unlink()
    _run(tmp_path / "many", folder)
    assert [path for path in results if path.stat().st_mtime_ns != before[path]] == [results[1]]
    for name in ("unlabelled.jsonl", "rejected.jsonl", "recordings.csv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "many" / name).read_bytes()


def test_a_manifest_that_grows_cuts_only_what_is_new(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(rooms, "PART_RECORDINGS", 1)
    files = sorted(folder.glob("Gespr*.flac"))
    _run(tmp_path / "out", *files[:2])
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/.work/segments").iterdir()}
    assert len({s.meta["recording"] for s in _run(tmp_path / "out", *files)}) == 3
    assert all(path.stat().st_mtime_ns == at for path, at in before.items())


def test_other_settings_are_refused_for_an_output_that_is_there(folder, tmp_path):
    _run(tmp_path / "out", folder)
    with pytest.raises(ValueError, match="max_seconds"):
        _run(tmp_path / "out", folder, max_seconds=30.0)


def test_a_recording_that_ends_early_is_listed_and_does_not_stop_its_part(folder, tmp_path):
    path = str(folder / "Gespräch 0.flac")
    given = [Utterance("too long", path, 70.0), Utterance("good", path, 7.0), Utterance("gone", "gone.flac", 3.0)]
    write_manifest(tmp_path / "unlabelled.jsonl", given)
    segments = _run(tmp_path / "out", tmp_path / "unlabelled.jsonl", max_skipped=0.9)
    assert {s.meta["recording"] for s in segments} == {"good"}
    rejected = [json.loads(line) for line in (tmp_path / "out/rejected.jsonl").read_text().splitlines()]
    assert [r["id"] for r in rejected] == ["too long", "gone"]
    assert "7.00 s of audio" in rejected[0]["error"] and "does not exist" in rejected[1]["error"]


def test_status_and_dry_run_write_nothing(folder, tmp_path, capsys):
    _run_nothing = SegmentRun(inputs=(folder,), out=tmp_path / "out", detector="energy", dry_run=True)
    segment_recordings(_run_nothing)
    segment_recordings(replace(_run_nothing, dry_run=False, status=True))
    assert not (tmp_path / "out").exists()
    assert "0 of 1 parts done" in capsys.readouterr().out


def test_two_manifests_of_one_name_and_nothing_are_refused(tmp_path):
    for inputs in ([tmp_path / "a/x.jsonl", tmp_path / "b/x.jsonl"], [tmp_path / "rejected.jsonl"]):
        with pytest.raises(ValueError, match=r"name|rejected"):
            find_sources(inputs)


def test_silero_cuts_a_recording_the_same_beside_any_others(an4_root, tmp_path):
    files = sorted(an4_root.rglob("*.flac"))[:6]
    pause_N = np.zeros(RATE, np.float32)
    wave_N = np.concatenate([x for f in files for x in (read_audio(f), pause_N)])
    soundfile.write(tmp_path / "talk.flac", wave_N, RATE)
    talk = Utterance("talk", str(tmp_path / "talk.flac"), len(wave_N) / RATE)
    others = [Utterance(f.stem, str(f), len(read_audio(f)) / RATE) for f in files]
    worker = SegmentWorker(SegmentJob("silero", str(tmp_path)), lambda event: None)
    alone = worker.cut(talk)
    assert len(alone.segments) >= 4
    (part,) = parts_of([*others, talk])
    write_part(tmp_path / "part.jsonl", part)
    assert [worker.cut(u) for u in read_part(tmp_path / "part.jsonl")][-1] == alone


def test_segments_never_replace_the_manifest_that_is_cut(folder, tmp_path):
    recording = Utterance("talk", str(folder / "Gespräch 1.flac"), 10.0)
    write_manifest(tmp_path / "s" / "unlabelled.jsonl", [recording])
    (tmp_path / "link").symlink_to(tmp_path / "s")
    before = (tmp_path / "s" / "unlabelled.jsonl").read_bytes()
    for out in ("s", "link"):
        with pytest.raises(ValueError, match=r"unlabelled\.jsonl: .*Give another --out"):
            _run(tmp_path / out, tmp_path / "s" / "unlabelled.jsonl")
    assert [p.name for p in (tmp_path / "s").iterdir()] == ["unlabelled.jsonl"]
    assert (tmp_path / "s" / "unlabelled.jsonl").read_bytes() == before
