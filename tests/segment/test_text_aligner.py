"""A long recording with its text becomes segments with the words that were said in them."""

import json

import numpy as np
import pytest
import soundfile
from decoding import run

from asr_kd.corpora.audio import read_audio
from asr_kd.corpora.manifest import Utterance, read_manifest, write_manifest
from asr_kd.segment.segment import SegmentRun, segment_recordings

RATE = 16000


@pytest.fixture(scope="module")
def talk(tone_utterances, tmp_path_factory) -> Utterance:
    """All tones, with pauses of a second between the utterances."""
    pause_N = 0.001 * np.random.default_rng(0).standard_normal(RATE)
    waves = [x for u in tone_utterances for x in (pause_N, read_audio(u.audio_filepath))]
    path = tmp_path_factory.mktemp("talk") / "talk.flac"
    soundfile.write(path, np.concatenate(waves), RATE)
    text = " ".join(u.text for u in tone_utterances)
    return Utterance("talk", str(path), sum(map(len, waves)) / RATE, 0.0, text, "anna")


def _run(talk, trained, out, **options):
    write_manifest(out / "given/labelled.jsonl", [talk])
    options = {"detector": "energy", "workers": 1, "max_seconds": 10.0, "min_seconds": 0.5} | options
    models = {"model": (trained / "model",), "lexicon": trained / "align/lexicon.txt"} | options
    segment_recordings(SegmentRun(inputs=(out / "given/labelled.jsonl",), out=out / "out", **models))
    return list(read_manifest(out / "out/labelled.jsonl"))


def test_each_segment_gets_its_words(talk, trained, tone_utterances, tmp_path, capsys):
    segments = _run(talk, trained, tmp_path)
    assert [s.text for s in segments] == [u.text for u in tone_utterances]
    assert {s.speaker for s in segments} == {"anna"} and not (tmp_path / "out/rejected.jsonl").exists()
    words = len(talk.text.split())
    assert f"{words} of {words} words (100.0%)" in capsys.readouterr().err


def test_speech_that_the_text_lacks_is_listed_and_the_rest_has_its_words(talk, trained, tone_utterances, tmp_path):
    missing = next(n for n, u in enumerate(tone_utterances) if n > 2 and len(u.text.split()) > 3)
    texts = [u.text for n, u in enumerate(tone_utterances) if n != missing]
    text = " ".join(["OH EE AH OH", *texts])  # and what nobody said
    segments = _run(Utterance(**{**vars(talk), "text": text}), trained, tmp_path)
    starts = [s.offset for s in segments]
    right = [s for s in segments if s.text in texts]
    assert len(right) >= len(texts) - 2 and starts == sorted(starts)
    rejected = [json.loads(line) for line in (tmp_path / "out/rejected.jsonl").read_text().splitlines()]
    assert len(rejected) + len(segments) == len(tone_utterances)
    assert all("recognised" in r["error"] for r in rejected)


def test_a_model_of_senones_needs_pronunciations(talk, trained, tmp_path):
    with pytest.raises(ValueError, match="--lexicon"):
        _run(talk, trained, tmp_path, lexicon=None)
    with pytest.raises(ValueError, match="only used with --model"):
        _run(talk, trained, tmp_path, model=())


def test_text_without_a_word_that_can_be_said_rejects_its_recording(talk, trained, tmp_path):
    other = Utterance(**{**vars(talk), "text": "42 1001", "id": "other"})
    write_manifest(tmp_path / "labelled.jsonl", [talk, other])
    words = ["--model", trained / "model", "--lexicon", trained / "align/lexicon.txt", "--detector", "energy"]
    code = run(
        "segment",
        tmp_path / "labelled.jsonl",
        *words,
        "--out",
        tmp_path / "out",
        "--max-skipped",
        0.5,
        "--max-seconds",
        10,
    )
    (rejected,) = [json.loads(line) for line in (tmp_path / "out/rejected.jsonl").read_text().splitlines()]
    assert code == 0 and rejected["id"] == "other" and "pronunciation" in rejected["error"]
