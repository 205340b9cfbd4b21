"""Tars for lhotse and NeMo: what their readers, and ours, find is what the manifests hold."""

import json
import os
import tarfile
from pathlib import Path

import lhotse
import numpy as np
import pytest
from clips import audio_rows, clip, samples, write_parquet

from asr_kd.cli import main
from asr_kd.convert import tarred
from asr_kd.corpora.audio import read_audio
from asr_kd.corpora.manifest import Utterance, read_manifest, write_manifest


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Rows of a Parquet file: ids with blanks, dots and slashes, stretches, one without text, one that is damaged."""
    path = write_parquet(tmp_path / "x.parquet", audio_rows([*(clip(i, 1.0) for i in range(5)), b"fLaC nothing"], {}))
    utterances = [
        Utterance("b.c/d 1", f"{path}::0", 1.0, 0.0, "ONE", "ann", {"gender": "f", "snr": 7}),
        Utterance("../é", f"{path}::1", 0.5, 0.25, "TWO THREE", "bob b", {"lang": "fr"}),
        Utterance("x", f"{path}::2", 1.0, 0.0, "", None),
        Utterance("y", f"{path}::3", 1.0, 0.0, None, None),
        Utterance("z", f"{path}::4", 1.0, 0.0, "FIVE", "ann"),
        Utterance("bad", f"{path}::5", 1.0, 0.0, "SIX", "ann"),
    ]
    write_manifest(tmp_path / "labelled.jsonl", utterances)
    return tmp_path / "labelled.jsonl"


def convert(manifest: Path, form: str) -> Path:
    out = manifest.parent / form
    assert main(["convert", str(manifest), "--to", form, "--out", str(out)]) == 0
    rejected = [json.loads(line) for line in (out / "rejected.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rejected] == ["bad"]
    return out


@pytest.mark.parametrize("form", ["shar", "nemo-tarred"])
def test_tars_come_back_as_the_same_utterances(form: str, manifest: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tarred, "UTTERANCES_PER_TAR", 2)
    out = convert(manifest, form)
    (out / "labelled" / ("recording.000007.tar" if form == "shar" else "audio_7.tar")).touch()  # of an earlier run
    convert(manifest, form)
    assert len(list(out.glob("labelled/*.tar"))) == 3
    back = manifest.parent / "back"
    assert main(["prepare", form, str(out), "--out", str(back), "--dev-fraction", "0"]) == 0
    found = [u for name in ("labelled", "unlabelled") for u in read_manifest(back / f"{name}.jsonl")]
    before = [u for u in read_manifest(manifest) if u.id != "bad"]
    texts = [sorted((u.text or "?", u.speaker or "?") for u in part) for part in (found, before)]
    assert texts[0] == texts[1]
    assert {u.id for u in found} == {"../é" if form == "nemo-tarred" else tarred._shar_id("../é"), "b.c/d 1", *"xyz"}
    for u in before:
        same = next(x for x in found if (x.text, x.speaker) == (u.text, u.speaker))
        assert {**same.meta, **u.meta} == same.meta
        wave_N = read_audio(u.audio_filepath, u.offset, u.duration)
        np.testing.assert_array_equal(read_audio(same.audio_filepath), wave_N)


def test_lhotse_reads_the_shar_cut_by_cut(manifest: Path):
    cuts = list(lhotse.CutSet.from_shar(in_dir=convert(manifest, "shar") / "labelled"))
    assert cuts[0].id == "b.c/d 1" and len(cuts) == 5
    texts = [cut.supervisions[0].text for cut in cuts]
    assert texts == ["ONE", "TWO THREE", "", None, "FIVE"] and cuts[1].supervisions[0].language == "fr"
    np.testing.assert_array_equal(cuts[0].load_audio()[0], samples(clip(0, 1.0)))
    np.testing.assert_array_equal(cuts[1].load_audio()[0], samples(clip(1, 1.0))[4000:12000])


def test_nemo_finds_each_line_in_its_tar_by_a_key_without_dots(manifest: Path):
    folder = convert(manifest, "nemo-tarred") / "labelled"
    lines = [json.loads(line) for line in (folder / "tarred_audio_manifest.json").read_text().splitlines()]
    with tarfile.open(folder / "audio_0.tar") as tar:
        assert tar.getnames() == [line["audio_filepath"] for line in lines]
    assert all(os.path.splitext(line["audio_filepath"])[0].count(".") == 0 for line in lines)
    assert [line.get("text") for line in lines] == ["ONE", "TWO THREE", "", None, "FIVE"]
    assert all(line["shard_id"] == 0 for line in lines) and lines[1]["duration"] == 0.5


def test_nemo_has_a_manifest_of_each_tar_too_and_those_of_an_earlier_run_go(manifest: Path, monkeypatch):
    monkeypatch.setattr(tarred, "UTTERANCES_PER_TAR", 2)
    folder = convert(manifest, "nemo-tarred") / "labelled"
    files = [*sorted(folder.glob("sharded_manifests/*"))]
    assert [f.name for f in files] == ["manifest_0.json", "manifest_1.json", "manifest_2.json"]
    assert "".join(f.read_text() for f in files) == (folder / "tarred_audio_manifest.json").read_text()
    monkeypatch.setattr(tarred, "UTTERANCES_PER_TAR", 5)
    convert(manifest, "nemo-tarred")
    assert [f.name for f in folder.glob("sharded_manifests/*")] == ["manifest_0.json"]
