"""Manifests get columns: every utterance is measured once or listed, whoever does the work."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr_kd.cleaning.annotate import AnnotateRun, annotate_manifests
from asr_kd.corpora.manifest import Utterance, read_manifest, write_manifest
from asr_kd.segment import recordings as rooms

RATE = 16000


def _noise(seed: int, seconds: float = 1.5) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * RATE))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Three recordings, the first again as WAV, one clipped, one of silence, one that is no audio."""
    root = tmp_path_factory.mktemp("my recordings")
    for number in range(3):
        soundfile.write(root / f"höre {number}.flac", _noise(number), RATE, subtype="PCM_16")
    soundfile.write(root / "zz copy.wav", soundfile.read(root / "höre 0.flac")[0], RATE, subtype="PCM_16")
    soundfile.write(root / "loud.flac", np.clip(20 * _noise(7), -0.9, 0.9), RATE)
    soundfile.write(root / "silence.flac", np.zeros(2 * RATE), RATE)
    (root / "broken.flac").write_bytes(b"fLaC" + bytes(100))
    return root


def _run(out: Path, *inputs: Path, **options) -> dict[str, dict]:
    annotate_manifests(
        AnnotateRun(inputs=inputs, out=out, **{"measures": ("level", "duplicate"), "workers": 1} | options)
    )
    return {u.id: u.meta for u in read_manifest(out / "unlabelled.jsonl")}


def test_a_folder_becomes_a_manifest_with_columns_and_what_cannot_be_read_is_listed(folder, tmp_path, capsys):
    columns = _run(tmp_path / "out", folder)
    assert sorted(columns) == ["höre 0", "höre 1", "höre 2", "loud", "silence", "zz copy"]
    assert columns["zz copy"]["duplicate_of"] == "höre 0" and columns["zz copy"]["duplicate_kind"] == "exact"
    assert [name for name, c in columns.items() if c["duplicate_of"] is not None] == ["zz copy"]
    assert columns["höre 1"]["level_db"] == pytest.approx(-20, abs=0.3)
    assert [name for name, c in columns.items() if c["clipping"] > 0.01] == ["loud"]
    assert [name for name, c in columns.items() if c["digital_silence"] > 0.5] == ["silence"]
    (rejected,) = [json.loads(line) for line in (tmp_path / "out/rejected.jsonl").read_text().splitlines()]
    assert rejected["id"] == "broken"
    assert "unlabelled" in capsys.readouterr().out


def test_copies_are_found_across_manifests_but_no_utterance_is_a_copy_of_itself(folder, tmp_path):
    paths = {p.stem: str(p) for p in folder.iterdir()}
    test = [Utterance("t", paths["höre 0"], 1.5, text="GO"), Utterance("both", paths["höre 2"], 1.5)]
    train = [Utterance("a", paths["zz copy"], 1.5), Utterance("both", paths["höre 2"], 1.5, meta={"group": "x"})]
    write_manifest(tmp_path / "test.jsonl", test)
    write_manifest(tmp_path / "train.jsonl", train)
    options = {"measures": ("duplicate",), "workers": 1}
    annotate_manifests(
        AnnotateRun(inputs=(tmp_path / "test.jsonl", tmp_path / "train.jsonl"), out=tmp_path / "out", **options)
    )
    train_found = {u.id: u for u in read_manifest(tmp_path / "out/train.jsonl")}
    assert train_found["a"].meta == {"duplicate_of": "t", "duplicate_kind": "exact"}
    assert train_found["both"].meta == {"group": "x", "duplicate_of": None, "duplicate_kind": None}
    assert next(read_manifest(tmp_path / "out/test.jsonl")).text == "GO"


def test_the_bytes_do_not_depend_on_workers_parts_or_stops(folder, tmp_path, monkeypatch):
    _run(tmp_path / "one", folder)
    monkeypatch.setattr(rooms, "PART_RECORDINGS", 1)  # every utterance is a part
    _run(tmp_path / "many", folder, workers=2)
    results = sorted((tmp_path / "many/.work/columns").iterdir())
    assert len(results) == 6
    before = {path: path.stat().st_mtime_ns for path in results}
    results[1].unlink()  # as if it had been killed before the rename
    (tmp_path / "many/unlabelled.jsonl").unlink()
    _run(tmp_path / "many", folder)
    assert [path for path in results if path.stat().st_mtime_ns != before[path]] == [results[1]]
    for name in ("unlabelled.jsonl", "rejected.jsonl"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "many" / name).read_bytes()


def test_other_measures_and_unknown_ones_are_refused_for_an_output_that_is_there(folder, tmp_path):
    _run(tmp_path / "out", folder)
    with pytest.raises(ValueError, match="measures"):
        _run(tmp_path / "out", folder, measures=("level",))
    with pytest.raises(ValueError, match="at least one"):
        _run(tmp_path / "new", folder, measures=())


def test_a_recording_of_hours_and_one_that_ends_early_are_listed(folder, tmp_path):
    path = str(folder / "höre 0.flac")
    given = [Utterance("hours", path, 7200.0), Utterance("good", path, 1.5), Utterance("ends", path, 3.0)]
    write_manifest(tmp_path / "unlabelled.jsonl", given)
    assert list(_run(tmp_path / "out", tmp_path / "unlabelled.jsonl", max_skipped=0.9)) == ["good"]
    rejected = [json.loads(line) for line in (tmp_path / "out/rejected.jsonl").read_text().splitlines()]
    assert "asr-kd segment" in rejected[0]["error"] and rejected[1]["id"] == "ends"


def test_status_and_dry_run_write_nothing(folder, tmp_path, capsys):
    run = AnnotateRun(inputs=(folder,), out=tmp_path / "out", dry_run=True)
    annotate_manifests(run)
    annotate_manifests(replace(run, dry_run=False, status=True))
    assert not (tmp_path / "out").exists()
    assert "0 of 1 parts done" in capsys.readouterr().out


def test_transcripts_of_other_audio_are_refused_before_anything_is_measured(folder, tmp_path):
    hyp = {"id": "x", "duration": 1.0, "text": "a", "confidence": 1.0, "words": []}
    (tmp_path / "o.hyp.jsonl").write_text(json.dumps(hyp) + "\n")
    config = AnnotateRun(inputs=(folder,), out=tmp_path / "out", transcripts=(tmp_path / "o.hyp.jsonl",), workers=1)
    with pytest.raises(ValueError, match=r"has a transcript of no utterance of .* Label the shards"):
        annotate_manifests(config)
    assert not list(tmp_path.glob("out/*.jsonl"))


def test_columns_never_replace_the_manifest_that_is_read(folder, tmp_path):
    write_manifest(tmp_path / "unlabelled.jsonl", [Utterance("a", str(folder / "höre 1.flac"), 1.5)])
    before = (tmp_path / "unlabelled.jsonl").read_bytes()
    with pytest.raises(ValueError, match=r"unlabelled\.jsonl: .*Give another --out"):
        _run(tmp_path, tmp_path / "unlabelled.jsonl")
    assert [p.name for p in tmp_path.iterdir()] == ["unlabelled.jsonl"]
    assert (tmp_path / "unlabelled.jsonl").read_bytes() == before
