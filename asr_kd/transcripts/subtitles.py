"""Subtitles: words of a recording as cues that a viewer can read, in SubRip (SRT) and WebVTT."""

import html
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from asr_kd.core.terminal import printable
from asr_kd.transcripts.recognised import Transcript

MAX_LINE = 42
"""Characters, as broadcasters have it (Netflix Timed Text Style Guide); a longer word has a line of its own."""
MAX_LINES = 2
MAX_CUE_S, MIN_CUE_S = 7.0, 1.0
"""A cue is shown so long at most, and at least where the next one lets it."""
MIN_SHOWN_S = 0.001
"""No cue ends when it begins: players refuse it."""


@dataclass(frozen=True)
class Cue:
    """What is shown at once."""

    start_s: float
    end_s: float
    lines: list[str]


def cues(utterances: Iterable[Transcript]) -> Iterator[Cue]:
    """Cues in order, none longer than MAX_LINES and MAX_CUE_S; each is given once the next is known.

    A cue has words of one utterance only.
    """
    waiting: Cue | None = None
    for utterance in utterances:
        for cue in _cues_of(utterance):
            if waiting is not None:
                yield _shown_until(waiting, cue.start_s)
            waiting = cue
    if waiting is not None:
        yield _shown_until(waiting, float("inf"))


def srt(utterances: Iterable[Transcript]) -> Iterator[str]:
    """SubRip, a cue a piece. What would be read as its arrow is written as one character."""
    for number, cue in enumerate(cues(utterances), start=1):
        lines = "\n".join(cue.lines).replace("-->", "→")
        yield f"{number}\n{_clock(cue.start_s, ',')} --> {_clock(cue.end_s, ',')}\n{lines}\n\n"


def vtt(utterances: Iterable[Transcript]) -> Iterator[str]:
    """WebVTT, a cue a piece; `&`, `<` and `>` are escaped."""
    yield "WEBVTT\n\n"
    for cue in cues(utterances):
        lines = html.escape("\n".join(cue.lines), quote=False)
        yield f"{_clock(cue.start_s, '.')} --> {_clock(cue.end_s, '.')}\n{lines}\n\n"


def plain_word(word: str) -> str:
    """A word for formats of lines: no white space, and no control characters."""
    return printable("_".join(word.split()))


def _cues_of(utterance: Transcript) -> Iterator[Cue]:
    cue: Cue | None = None
    for word in utterance.words:
        text = plain_word(word.word)
        if cue is not None:
            lines = _wrapped([*cue.lines, text])
            if len(lines) <= MAX_LINES and word.end_s - cue.start_s <= MAX_CUE_S:
                cue = Cue(cue.start_s, word.end_s, lines)
                continue
            yield cue
        cue = Cue(word.start_s, word.end_s, _wrapped([text]))
    if cue is not None:
        yield cue


def _wrapped(parts: list[str]) -> list[str]:
    return textwrap.wrap(" ".join(parts), MAX_LINE, break_long_words=False, break_on_hyphens=False)


def _shown_until(cue: Cue, next_start_s: float) -> Cue:
    end_s = min(max(cue.end_s, cue.start_s + MIN_CUE_S), next_start_s, cue.start_s + MAX_CUE_S)
    return Cue(cue.start_s, max(end_s, cue.start_s + MIN_SHOWN_S), cue.lines)


def _clock(seconds: float, point: str) -> str:
    minutes, ms = divmod(round(seconds * 1000), 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{ms // 1000:02d}{point}{ms % 1000:03d}"
