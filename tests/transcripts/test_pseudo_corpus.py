"""A teacher's transcripts take the place of labels; nobody who is tested on is trained on."""

import json
from pathlib import Path

import pytest

from asr_kd.cli import main
from asr_kd.corpora.manifest import Utterance, read_manifest, write_manifest
from asr_kd.transcripts.pseudo_corpus import split_pseudo_labelled
from asr_kd.transcripts.recognised import RecognisedUtterance, Word, write_recognised


@pytest.fixture
def manifest(tone_utterances: list[Utterance], tmp_path: Path) -> Path:
    """Twelve utterances of four speakers; their own text must not be read."""
    spoken = [
        Utterance(u.id, u.audio_filepath, u.duration, text="SECRET", speaker=f"s{number % 4}")
        for number, u in enumerate(tone_utterances)
    ]
    write_manifest(tmp_path / "all.jsonl", spoken)
    return tmp_path / "all.jsonl"


@pytest.fixture
def transcripts(tone_utterances: list[Utterance], tmp_path: Path) -> Path:
    """All but the last, which holds no word; the first is unsure."""
    lines = [
        RecognisedUtterance(
            id=u.id,
            text="" if u is tone_utterances[-1] else "oh, yes!",
            seconds=u.duration,
            confidence=0.2 if u is tone_utterances[0] else 0.9,
            words=[Word("oh", 0.0, 0.1, 0.9)],
        )
        for u in tone_utterances
    ]
    write_recognised(tmp_path / "t.hyp.jsonl", lines)
    return tmp_path / "t.hyp.jsonl"


def parts(out: Path) -> dict[str, list[Utterance]]:
    return {path.stem: list(read_manifest(path)) for path in sorted(out.glob("*.jsonl"))}


def test_transcripts_become_text_and_speakers_are_held_out_whole(manifest, transcripts, tmp_path) -> None:
    command = ["prepare", "pseudo-labels", str(manifest), "--transcripts", str(transcripts), "--min-confidence", "0.5"]
    assert main([*command, "--dev-fraction", "0.2", "--test-fraction", "0.2", "--out", str(tmp_path / "out")]) == 0
    got = parts(tmp_path / "out")
    assert set(got) == {"labelled", "dev", "unlabelled", "test"}
    for name in ("labelled", "dev", "test"):
        assert {u.text for u in got[name]} == {"OH YES"}
        assert {u.meta["text_from"] for u in got[name]} == {"pseudo-label"}
    speakers = {name: {u.speaker for u in got[name]} for name in got}
    assert not speakers["dev"] & speakers["test"]
    assert not (speakers["dev"] | speakers["test"]) & (speakers["labelled"] | speakers["unlabelled"])
    assert {u.id for u in got["labelled"]} < {u.id for u in got["unlabelled"]}, "what is not sure is without text"
    assert all(u.text is None for u in got["unlabelled"])


def test_who_is_in_the_references_is_not_trained_on(manifest, transcripts, tmp_path, capsys) -> None:
    some = next(read_manifest(manifest))
    write_manifest(tmp_path / "refs.jsonl", [Utterance(some.id, some.audio_filepath, some.duration, text="as written")])
    other = Utterance("other", some.audio_filepath, some.duration, text="no", speaker="s1")
    write_manifest(tmp_path / "refs.jsonl", [*read_manifest(tmp_path / "refs.jsonl"), other])
    command = ["prepare", "pseudo-labels", str(manifest), "--transcripts", str(transcripts)]
    assert main([*command, "--references", str(tmp_path / "refs.jsonl"), "--out", str(tmp_path / "out")]) == 0
    got = parts(tmp_path / "out")
    assert [u.text for u in got["test"]] == ["AS WRITTEN", "NO"]
    assert {u.meta["text_from"] for u in got["test"]} == {"reference"}
    trained = got["labelled"] + got["unlabelled"] + got["dev"]
    assert some.id not in {u.id for u in trained} and "s1" not in {u.speaker for u in trained}
    assert "are not trained on" in capsys.readouterr().err


def test_segments_of_a_recording_stay_together_where_speakers_are_unknown() -> None:
    cut = [Utterance(f"{r}-{i}", f"/{r}.flac", 1.0, float(i)) for r in range(5) for i in range(4)]
    text_of = {u.id: "YES" for u in cut}
    corpus = split_pseudo_labelled(cut, text_of, text_of, 0.2, 0.2, seed=0)
    held = [{u.audio_filepath for u in part} for part in (corpus.test, corpus.dev, corpus.labelled)]
    assert [len(x) for x in held] == [1, 1, 3] and not held[0] & held[1] | held[0] & held[2] | held[1] & held[2]


def test_transcripts_of_other_audio_are_refused(manifest, tmp_path, capsys) -> None:
    line = {"id": "x", "duration": 1.0, "text": "a", "confidence": 1.0, "words": []}
    (tmp_path / "o.hyp.jsonl").write_text(json.dumps(line) + "\n")
    command = ["prepare", "pseudo-labels", str(manifest), "--transcripts", str(tmp_path / "o.hyp.jsonl")]
    assert main([*command, "--out", str(tmp_path / "out")]) != 0
    assert "Label the shards of that manifest" in capsys.readouterr().err


def test_one_speaker_cannot_be_held_out(tone_utterances) -> None:
    with pytest.raises(ValueError, match="too few to hold out test"):
        split_pseudo_labelled(
            [Utterance(u.id, u.audio_filepath, u.duration, speaker="a") for u in tone_utterances],
            {u.id: "YES" for u in tone_utterances},
            {u.id: "YES" for u in tone_utterances},
            dev_fraction=0.1,
            test_fraction=0.1,
            seed=0,
        )


def test_audio_that_the_teacher_did_not_understand_stays_in_training(capsys) -> None:
    cut = [Utterance(f"u{i}", f"/{i}.flac", 1.0) for i in range(200)]
    heard = {u.id: "YES" for u in cut[::3]}
    corpus = split_pseudo_labelled(cut, heard, heard, 0.1, 0.1, seed=0)
    assert len(corpus.test) == len(corpus.dev) == 7 and len(corpus.labelled) == 67 - 14
    assert {u.id for part in (corpus.test, corpus.dev, corpus.unlabelled) for u in part} == {u.id for u in cut}
    assert not capsys.readouterr().err


def test_utterances_without_a_transcript_of_who_is_held_out_are_counted(capsys) -> None:
    cut = [Utterance(f"{s}-{i}", f"/{s}-{i}.flac", 1.0, speaker=f"s{s}") for s in range(10) for i in range(4)]
    heard = {u.id: "YES" for u in cut if not u.id.endswith("3")}
    corpus = split_pseudo_labelled(cut, heard, {}, 0.2, 0.0, seed=0)
    assert (len(corpus.dev), len(corpus.unlabelled)) == (6, 32)
    assert (
        "2 utterances without a transcript of held-out speakers or recordings are in no part" in capsys.readouterr().err
    )
