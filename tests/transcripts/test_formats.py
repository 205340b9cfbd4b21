"""What is written is read back by the libraries of each format."""

import html
import io
import itertools
import json

import pytest
import srt
import webvtt
from hypothesis import given, settings
from hypothesis import strategies as st
from praatio import textgrid

from asr_kd.core.text_files import read_rows
from asr_kd.corpora.text import joined
from asr_kd.transcripts.formats import FORMATS, Recording, formatted
from asr_kd.transcripts.recognised import Transcript, Word, read_recognised
from asr_kd.transcripts.subtitles import MAX_CUE_S, MAX_LINE, plain_word

ODD = ["<i>", "&amp;", "-->", 'quote"d', "{\\an8}", "ÅNGSTRÖM", "再见", "::", "42", "WEBVTT", "a\nb", "x\x1b[31m", "O'"]
WORDS = st.one_of(st.sampled_from(ODD), st.text("ABCDEFGHIJ'-", min_size=1, max_size=60))


@st.composite
def recordings(draw, most=40):
    """Words in order of time, some without length, some long, with pauses."""
    place, utterances = 0.0, []
    for _ in range(draw(st.integers(0, 5))):
        words = []
        for _ in range(draw(st.integers(0, most))):
            place += draw(st.sampled_from([0.0, 0.0, 0.03, 0.4, 9.0]))
            end = place + draw(st.sampled_from([0.0, 0.01, 0.2, 1.5, 12.0]))
            words.append(Word(draw(WORDS), place, end, draw(st.floats(0, 1))))
            place = end
        utterances.append(Transcript(words, 0.5))
    return Recording("my talk", utterances, place + draw(st.sampled_from([0.0, 0.004, 3.0])))


def said(recording):
    return [w for u in recording.utterances for w in u.words]


def check_cues(cues, recording):
    """Cues of (start, end, text) have all words, readable."""
    assert [w for *_, text in cues for w in text.split()] == [
        plain_word(w.word).replace("-->", "→") for w in said(recording)
    ]
    for start, end, text in cues:
        assert 0 < end - start <= MAX_CUE_S + 1e-6
        lines = text.split("\n")
        assert len(lines) <= 2 and all(len(line) <= MAX_LINE or " " not in line for line in lines)
    for (start, end, _), (following, *_) in itertools.pairwise(cues):
        assert end <= following + 1e-6 or following <= start


@settings(max_examples=60, deadline=None)
@given(recordings())
def test_subtitles_have_every_word_in_cues_that_can_be_read(recording):
    read = list(srt.parse(formatted("srt", recording)))
    check_cues([(c.start.total_seconds(), c.end.total_seconds(), c.content) for c in read], recording)
    assert [c.index for c in read] == list(range(1, len(read) + 1))
    cues = webvtt.from_buffer(io.StringIO(formatted("vtt", recording)))
    texts = [(c.start_in_seconds, c.end_in_seconds, html.unescape(c.raw_text).replace("-->", "→")) for c in cues]
    assert [t for *_, t in texts] == [c.content for c in read]


@settings(max_examples=60, deadline=None)
@given(recordings())
def test_a_text_grid_covers_the_recording_without_gaps(tmp_path_factory, recording):
    path = tmp_path_factory.mktemp("grid") / "a.TextGrid"
    path.write_text(formatted("textgrid", recording), encoding="utf-8")
    grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=True)
    assert grid.tierNames == ("words", "utterances")
    for name, texts in (
        ("words", [plain_word(w.word) for w in said(recording)]),
        ("utterances", [" ".join(plain_word(w.word) for w in u.words) for u in recording.utterances if u.words]),
    ):
        entries = grid.getTier(name).entries
        assert [e.label for e in entries if e.label] == texts
        assert entries[0].start == 0 and entries[-1].end == grid.maxTimestamp >= round(recording.seconds, 3)
        assert all(a.end == b.start for a, b in itertools.pairwise(entries))
        assert all(e.start < e.end for e in entries)


@settings(max_examples=60, deadline=None)
@given(recordings())
def test_ctm_has_six_fields_a_word(recording):
    rows = [line.split(" ") for line in formatted("ctm", recording).splitlines()]
    for row, word in zip(rows, said(recording), strict=True):
        name, channel, start, length, spelt, confidence = row
        assert (name, channel, spelt) == ("my_talk", "1", plain_word(word.word))
        assert float(start) == pytest.approx(word.start_s, abs=0.001)
        assert float(length) == pytest.approx(word.end_s - word.start_s, abs=0.0011)
        assert float(confidence) == pytest.approx(word.confidence, abs=0.0001)


@settings(max_examples=60, deadline=None)
@given(recordings())
def test_json_gives_back_the_words_and_lines_are_those_of_other_commands(tmp_path_factory, recording):
    whole = json.loads(formatted("json", recording))
    words = [(w["word"], w["start"], w["end"]) for u in whole["utterances"] for w in u["words"]]
    assert words == [(w.word, round(w.start_s, 3), round(w.end_s, 3)) for w in said(recording)]
    assert whole["text"] == " ".join(w.word for w in said(recording))
    assert (whole["name"], whole["seconds"]) == ("my talk", round(recording.seconds, 3))
    path = tmp_path_factory.mktemp("lines") / "a.jsonl"
    path.write_text(formatted("jsonl", recording), encoding="utf-8")
    lines = list(read_recognised(read_rows(path), "")) if said(recording) else []
    assert [w.word for line in lines for w in line.words] == [w.word for w in said(recording)]


@given(recordings(most=5))
def test_text_has_a_line_for_each_utterance_with_words_and_cannot_steer_a_terminal(recording):
    text = formatted("text", recording)
    assert len(text.splitlines()) == sum(bool(u.words) for u in recording.utterances)
    assert "\x1b" not in text


@pytest.mark.parametrize("name", ["text", "jsonl", "srt", "vtt", "ctm"])
def test_lines_come_while_the_recording_goes_on(name):
    given_out = []

    def utterances():
        for n in range(5):
            given_out.append(n)
            yield Transcript([Word("YES", n + 0.1, n + 0.5, 0.9)], 0.9)

    pieces = FORMATS[name].pieces(Recording("live", utterances(), 0.0))
    found = ""
    while "YES" not in found:
        found += next(pieces)
    assert len(given_out) <= 2  # of subtitles, one is known to end when the next begins


def test_short_cues_are_shown_for_a_second_where_the_next_lets_them():
    utterances = [Transcript([Word("YES", at, at + 0.2, 1)], 1) for at in (1.0, 1.5, 9.0)]
    found = list(srt.parse(formatted("srt", Recording("a", utterances, 10))))
    assert [(c.start.total_seconds(), c.end.total_seconds()) for c in found] == [(1.0, 1.5), (1.5, 2.5), (9.0, 10.0)]


def test_characters_of_scripts_without_spaces_are_written_together():
    assert joined(["今", "天", "用", "IPHONE", "手", "机"]) == "今天用 IPHONE 手机"
    assert joined(["น้", "ำ", "ดี"]) == "น้ำดี" and joined(["TWO", "WORDS"]) == "TWO WORDS"
