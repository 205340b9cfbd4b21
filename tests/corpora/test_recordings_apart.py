"""Utterances of one recording, whose speaker nobody names, are not held out and trained on at once."""

import pytest

from asr_kd.corpora.folder import split
from asr_kd.corpora.manifest import Utterance


def cut(recordings: int, pieces: int, speaker: str | None = None) -> list[Utterance]:
    return [
        Utterance(f"r{r}-{i}", f"/r{r}.flac", 1.0, float(i), "YES", speaker)
        for r in range(recordings)
        for i in range(pieces)
    ]


def files(utterances: list[Utterance]) -> set[str]:
    return {u.audio_filepath for u in utterances}


def test_recordings_stay_whole() -> None:
    corpus = split([*cut(8, 5), Utterance("x", "/x.flac", 1.0, 0.0, "YES", "known")], 0.2, 0.2, seed=0)
    parts = [files(corpus.labelled), files(corpus.dev), files(corpus.test)]
    assert all(parts) and len(set.union(*parts)) == sum(map(len, parts)) == 9


def test_one_recording_is_cut_and_that_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    corpus = split(cut(1, 20), 0.2, 0.2, seed=0)
    assert [len(corpus.labelled), len(corpus.dev), len(corpus.test)] == [12, 4, 4]
    assert "text of 1 speakers (r0.flac) cannot fill 3 parts" in capsys.readouterr().err


def test_files_of_one_utterance_are_drawn_as_before_and_without_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    corpus = split(cut(20, 1), 0.1, 0.1, seed=3)
    assert [u.id for u in corpus.test + corpus.dev] == ["r4-0", "r9-0", "r0-0", "r2-0"]
    assert capsys.readouterr().err == ""
