"""One schema for what was recognised: hypotheses of `asr-kd decode`, transcripts of `asr-kd label`, and their readers.

A file has one JSON object a line, one line an utterance. `id` comes first, then `text`, or `reason` where the utterance
was skipped. All else is known to some recognisers only:

  seconds     of audio; `duration` in a line with a confidence, which is also a manifest's line
  nbest       [{text, cost}] hypotheses by rising cost in nats
  confidence  of the utterance, in [0, 1]: graph/confidence.py says what it and the next three are, for transcripts of a
              search; teachers/whisper.py for Whisper's
  agreement   with the teacher alone, without lexicon and language model, in [0, 1]
  entropy     of the teacher's posteriors, nats per frame
  phones      said, silence left out; of a model of tokens, tokens
  frames      of the teacher
  words       [word, start_s, end_s, confidence] of each word
  audio_filepath, speaker, shard   member of the tar, as in tarred NeMo manifests; its speaker; digest of the tar
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from asr_kd.core.storage import PathOrUrl, write_bytes

OPTIONAL_SCORES = ("agreement", "entropy", "phones", "frames")
"""Fields of a line with a confidence that only some teachers know."""
PROBABILITY_FIELDS = ("confidence", "agreement")
"""Numbers that lie in [0, 1]."""
MAX_SCORE = 1e9
"""No number of a line is larger."""
DIGITS = 4
"""Decimals of confidences and the like."""
TIME_DIGITS = 3
"""Decimals of seconds."""
_READ = {"id", "text", "reason", "duration", "confidence", "words", *OPTIONAL_SCORES}
_LABELS = ("audio_filepath", "speaker", "shard")


@dataclass(frozen=True)
class Word:
    """One word of a transcript."""

    word: str
    start_s: float
    end_s: float
    confidence: float
    """In [0, 1]."""

    def rounded(self) -> "Word":
        """As files hold it: the same posteriors give the same bytes."""
        start_s, end_s = (round(t, TIME_DIGITS) for t in (self.start_s, self.end_s))
        return Word(self.word, start_s, end_s, rounded(self.confidence))


@dataclass(frozen=True)
class Transcript:
    """What a recogniser takes an utterance to say."""

    words: list[Word]
    confidence: float
    """In [0, 1]."""
    numbers: dict[str, float | int] = field(default_factory=dict)
    """Some of OPTIONAL_SCORES: what else the recogniser knows."""

    @property
    def text(self) -> str:
        """The words."""
        return " ".join(w.word for w in self.words)


@dataclass(frozen=True)
class Alternative:
    """One of the best hypotheses of an utterance."""

    text: str
    cost: float
    """Nats, the lower the better."""


@dataclass(frozen=True, kw_only=True)
class RecognisedUtterance:
    """A line. None: the recogniser does not know it."""

    id: str
    text: str | None = None
    """None: the utterance was skipped for its `reason`."""
    reason: str | None = None
    seconds: float | None = None
    alternatives: list[Alternative] | None = None
    """Best first."""
    confidence: float | None = None
    """In [0, 1]."""
    scores: Mapping[str, float | int] = field(default_factory=dict)
    """Some of OPTIONAL_SCORES."""
    words: list[Word] | None = None
    audio_filepath: str | None = None
    speaker: str | None = None
    shard: str | None = None
    """Digest of the tar."""
    other: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the line that this schema does not have."""

    @classmethod
    def skipped(cls, id: str, reason: str) -> "RecognisedUtterance":
        """An utterance without text."""
        return cls(id=id, reason=reason)

    def to_line(self) -> dict[str, Any]:
        """What a file holds."""
        is_manifest_line = self.confidence is not None or self.text is None
        line: dict[str, Any] = {
            "id": self.id,
            "audio_filepath": self.audio_filepath,
            "duration": self.seconds if is_manifest_line else None,
            "reason": self.reason,
            "text": self.text,
            "seconds": None if is_manifest_line else self.seconds,
            "nbest": self.alternatives and [vars(a) for a in self.alternatives],
            "confidence": self.confidence,
            **self.scores,
            "words": self.words and [[w.word, w.start_s, w.end_s, w.confidence] for w in self.words],
            "speaker": self.speaker,
            "shard": self.shard,
        }
        return {name: value for name, value in line.items() if value is not None} | dict(self.other)


def write_recognised(path: PathOrUrl, utterances: Iterable[RecognisedUtterance]) -> None:
    """Write a file of lines, whole or not at all."""
    write_bytes(path, "".join(json.dumps(u.to_line(), ensure_ascii=False) + "\n" for u in utterances).encode())


def read_recognised(
    rows: Iterable[tuple[str, dict[str, Any]]], advice: str, text_only: bool = False
) -> Iterator[RecognisedUtterance]:
    """The utterances of `read_rows` of one file or several.

    text_only: only id, text and reason are needed and looked at, so that lines of other programs will do. Otherwise
    each line has `duration`, and with text `confidence` and `words`.
    ValueError names file, line and what is wrong: a field missing or of the wrong kind, an id twice.
    """
    places: dict[str, str] = {}
    for place, line in rows:
        try:
            utterance = _parse(line) if text_only else _parse_whole(line)
        except ValueError as e:
            raise ValueError(f"{place}: {e}. {advice}") from None
        if utterance.id in places:
            raise ValueError(f"{place}: {utterance.id} is also at {places[utterance.id]}. Give each utterance once.")
        places[utterance.id] = place
        yield utterance


def _parse(line: dict[str, Any]) -> RecognisedUtterance:
    name, text, reason = line.get("id"), line.get("text"), line.get("reason")
    if not isinstance(name, str) or not name:
        raise ValueError(f"id is {name!r:.40}; text is needed")
    if text is None and isinstance(reason, str):
        return RecognisedUtterance.skipped(name, reason)
    if not isinstance(text, str):
        raise ValueError(f"{name}: neither text nor a reason for having none")
    return RecognisedUtterance(id=name, text=text)


def _parse_whole(line: dict[str, Any]) -> RecognisedUtterance:
    plain = _parse(line)
    labels = {name: line[name] for name in _LABELS if isinstance(line.get(name), str)}
    known = _READ | labels.keys()
    about: dict[str, Any] = labels | {"other": {k: v for k, v in line.items() if k not in known}}
    seconds = _number(line, "duration", line.get("duration"))
    if plain.text is None:
        return RecognisedUtterance(id=plain.id, reason=plain.reason, seconds=seconds, **about)
    return RecognisedUtterance(
        id=plain.id,
        text=plain.text,
        seconds=seconds,
        confidence=_number(line, "confidence", line.get("confidence")),
        scores={name: _number(line, name, line[name]) for name in OPTIONAL_SCORES if name in line},
        words=_words(line),
        **about,
    )


def _words(line: dict[str, Any]) -> list[Word]:
    found = line.get("words")
    if not isinstance(found, list) or not all(isinstance(w, list) and len(w) == 4 for w in found):
        raise ValueError(f"{line['id']}: words is not a list of [word, start, end, confidence]")
    return [Word(str(word), *(_number(line, f"a number of word {word!s:.40}", x) for x in xs)) for word, *xs in found]


def _number(line: dict[str, Any], name: str, value: Any) -> float | int:
    """`value`. ValueError when it is no number from 0 to what it can be at most."""
    most = 1.0 if name in PROBABILITY_FIELDS else MAX_SCORE
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:  # NaN is not either
        raise ValueError(f"{line['id']}: {name} is {value!r:.40}; a number from 0 to {most:g} is needed")
    return value


def rounded(value: float) -> float | int:
    """As files hold it, so that the same answer gives the same bytes."""
    return value if isinstance(value, int) else round(float(value), DIGITS)
