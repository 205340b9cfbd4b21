"""The words of a recording in the formats of other programs.

Each format is a function of a `Recording` that gives the text piece by piece, so that what is spoken now can be printed
while the rest is still to come.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from asr_kd.corpora.text import joined
from asr_kd.transcripts.recognised import TIME_DIGITS, RecognisedUtterance, Transcript, Word, rounded
from asr_kd.transcripts.subtitles import plain_word, srt, vtt

FormatName = Literal["text", "json", "jsonl", "srt", "vtt", "ctm", "textgrid"]
CTM_CHANNEL = 1


@dataclass
class Recording:
    """What was recognised in one recording."""

    name: str
    utterances: Iterable[Transcript]
    """In order, with times from the start of the recording; those without words are left out of every format."""
    seconds: float
    """Of audio; where `utterances` are still being recognised, right once the last of them was given."""

    def spoken(self) -> Iterator[Transcript]:
        """The utterances that have words, rounded."""
        for utterance in self.utterances:
            if utterance.words:
                yield _rounded(utterance)


@dataclass(frozen=True)
class Format:
    """One format of files."""

    suffix: str
    pieces: Callable[[Recording], Iterator[str]]


def formatted(name: FormatName, recording: Recording) -> str:
    """The whole text of a file."""
    return "".join(FORMATS[name].pieces(recording))


def utterance_object(utterance: Transcript) -> dict[str, Any]:
    """An utterance that has words, for JSON: its words with their times in seconds and their confidences."""
    utterance = _rounded(utterance)
    return {
        "start": utterance.words[0].start_s,
        "end": utterance.words[-1].end_s,
        "text": utterance.text,
        "confidence": utterance.confidence,
        "words": [_word(w) for w in utterance.words],
    }


def _rounded(utterance: Transcript) -> Transcript:
    return Transcript([w.rounded() for w in utterance.words], rounded(utterance.confidence))


def _text(recording: Recording) -> Iterator[str]:
    for utterance in recording.spoken():
        yield joined(plain_word(w.word) for w in utterance.words) + "\n"


def _json(recording: Recording) -> Iterator[str]:
    utterances = [utterance_object(u) for u in recording.spoken()]
    whole = {
        "name": recording.name,
        "seconds": round(recording.seconds, TIME_DIGITS),
        "text": " ".join(str(u["text"]) for u in utterances),
        "utterances": utterances,
    }
    yield json.dumps(whole, ensure_ascii=False, indent=1) + "\n"


def _word(word: Word) -> dict[str, Any]:
    return {"word": word.word, "start": word.start_s, "end": word.end_s, "confidence": word.confidence}


def _json_lines(recording: Recording) -> Iterator[str]:
    """Lines of transcripts/recognised.py, with the times of the utterance."""
    for number, utterance in enumerate(recording.spoken(), start=1):
        start_s, end_s = utterance.words[0].start_s, utterance.words[-1].end_s
        line = RecognisedUtterance(
            id=f"{recording.name}-{number:04d}",
            text=utterance.text,
            seconds=round(max(end_s - start_s, 0.0), TIME_DIGITS),
            confidence=utterance.confidence,
            words=utterance.words,
            other={"start": start_s, "end": end_s},
        )
        yield json.dumps(line.to_line(), ensure_ascii=False) + "\n"


def _ctm(recording: Recording) -> Iterator[str]:
    """NIST's fields: recording, channel, start and length in seconds, word, confidence."""
    name = plain_word(recording.name)
    for utterance in recording.spoken():
        yield "".join(
            f"{name} {CTM_CHANNEL} {w.start_s:.3f} {max(w.end_s - w.start_s, 0):.3f} {plain_word(w.word)} "
            f"{w.confidence:.4f}\n"
            for w in utterance.words
        )


def _textgrid(recording: Recording) -> Iterator[str]:
    """Praat's long text form: tiers `words` and `utterances`, each of intervals that cover the whole recording."""
    spoken = list(recording.spoken())
    words = _Tier("words", [(w.start_s, w.end_s, plain_word(w.word)) for u in spoken for w in u.words])
    texts = [(u.words[0].start_s, u.words[-1].end_s, " ".join(plain_word(w.word) for w in u.words)) for u in spoken]
    utterances = _Tier("utterances", texts)
    end_ms = max(round(recording.seconds * 1000), words.end_ms, utterances.end_ms, 1)
    yield f'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\nxmax = {end_ms / 1000}\n'
    yield "tiers? <exists>\nsize = 2\nitem []:\n" + words.text(1, end_ms) + utterances.text(2, end_ms)


class _Tier:
    """Intervals that follow each other without overlap, none empty, in milliseconds."""

    def __init__(self, name: str, spans: list[tuple[float, float, str]]) -> None:
        self.name, self.end_ms = name, 0
        self.intervals: list[tuple[int, int, str]] = []
        for start_s, end_s, text in spans:
            start_ms = max(round(start_s * 1000), self.end_ms)
            if start_ms > self.end_ms:
                self.intervals.append((self.end_ms, start_ms, ""))
            self.end_ms = max(round(end_s * 1000), start_ms + 1)
            self.intervals.append((start_ms, self.end_ms, text))

    def text(self, number: int, end_ms: int) -> str:
        """As Praat writes it, up to `end_ms`."""
        rest = [(self.end_ms, end_ms, "")] if self.end_ms < end_ms else []
        intervals = self.intervals + rest
        lines = [f"    item [{number}]:", '        class = "IntervalTier"', f'        name = "{self.name}"']
        lines += ["        xmin = 0", f"        xmax = {end_ms / 1000}", f"        intervals: size = {len(intervals)}"]
        for place, (start_ms, stop_ms, text) in enumerate(intervals, start=1):
            quoted = text.replace('"', '""')
            lines += [f"        intervals [{place}]:", f"            xmin = {start_ms / 1000}"]
            lines += [f"            xmax = {stop_ms / 1000}", f'            text = "{quoted}"']
        return "\n".join(lines) + "\n"


FORMATS: dict[FormatName, Format] = {
    "text": Format(".txt", _text),
    "json": Format(".json", _json),
    "jsonl": Format(".jsonl", _json_lines),
    "srt": Format(".srt", lambda recording: srt(recording.spoken())),
    "vtt": Format(".vtt", lambda recording: vtt(recording.spoken())),
    "ctm": Format(".ctm", _ctm),
    "textgrid": Format(".TextGrid", _textgrid),
}
"""By the names of --format."""
