"""Manifests of pseudo-labels: a teacher's transcripts of unlabelled speech with their confidences.

One file a shard, `OUT/<tar stem>.hyp.jsonl`, one line an utterance in the shard's order. Each is a manifest line: `id`,
`audio_filepath` (the member of the tar, as in tarred NeMo manifests), `duration`, `text`, `speaker` where known, and

  confidence  of the utterance, in [0, 1]: graph/confidence.py says what it and the next three are, for transcripts of a
              search; teachers/whisper.py for Whisper's, which have none of the next four
  agreement   with the teacher alone, without lexicon and language model, in [0, 1]
  entropy     of the teacher's posteriors, nats per frame
  phones      said, silence left out; of a model of tokens, tokens
  frames      of the teacher
  words       [word, start_s, end_s, confidence] of each word
  shard       digest of the tar

An utterance that was set aside has `reason` instead of text and all that follows from it.  Numbers are rounded, so that
the same posteriors give the same bytes.  `asr-kd graph` learns from the text, `asr-kd score --hyp` reads a file,
`asr-kd align --transcripts` aligns to it.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asr_kd.core.storage import PathOrUrl, exists, join, list_files, parse_path_or_url, read_bytes, stem, write_bytes
from asr_kd.core.text_files import read_rows
from asr_kd.shards.reader import Entry, Shard

ENDING = ".hyp.jsonl"
OPTIONAL_SCORES = ("agreement", "entropy", "phones", "frames")
"""Fields of a line with text that only some teachers know."""
PROBABILITY_FIELDS = ("confidence", "agreement")
"""Numbers that lie in [0, 1]."""
MAX_SCORE = 1e9
"""No number of a line is larger."""
DIGITS = 4
"""Decimals of confidences and the like."""
TIME_DIGITS = 3
"""Decimals of seconds."""


def transcripts_path(folder: PathOrUrl, shard: Shard) -> PathOrUrl:
    """`folder/<tar stem>.hyp.jsonl`."""
    return join(folder, stem(shard.path) + ENDING)


@dataclass(frozen=True)
class Word:
    """One word of a transcript."""

    word: str
    start_s: float
    end_s: float
    confidence: float
    """In [0, 1]."""


@dataclass(frozen=True)
class Transcript:
    """What a teacher takes an utterance to say."""

    words: list[Word]
    confidence: float
    """In [0, 1]."""
    numbers: dict[str, float | int] = field(default_factory=dict)
    """Some of NUMBERS: what else the teacher knows."""

    @property
    def text(self) -> str:
        """The words."""
        return " ".join(w.word for w in self.words)


def transcript_line(entry: Entry, shard: str, found: Transcript | str) -> dict[str, Any]:
    """The line of an utterance.  shard: digest of its tar.  found: text is the reason why it was set aside."""
    line: dict[str, Any] = {
        "id": entry.id,
        "audio_filepath": f"{entry.id}.flac",
        "duration": round(entry.seconds, TIME_DIGITS),
    }
    if isinstance(found, str):
        line["reason"] = found
    else:
        line |= {"text": found.text, "confidence": rounded(found.confidence)}
        line |= {name: rounded(found.numbers[name]) for name in OPTIONAL_SCORES if name in found.numbers}
        line["words"] = [
            [w.word, round(w.start_s, TIME_DIGITS), round(w.end_s, TIME_DIGITS), rounded(w.confidence)]
            for w in found.words
        ]
    if entry.speaker is not None:
        line["speaker"] = entry.speaker
    return line | {"shard": shard}


def write_transcripts(folder: PathOrUrl, shard: Shard, found: Sequence[Transcript | str]) -> PathOrUrl:
    """Write a shard's transcripts, whole or not at all: one of each row, as `transcript_line` takes it."""
    path = transcripts_path(folder, shard)
    lines = [transcript_line(e, shard.digest, f) for e, f in zip(shard.entries, found, strict=True)]
    write_bytes(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode())
    return path


def find_transcripts(*places: PathOrUrl) -> list[PathOrUrl]:
    """The files among `places` and the `*.hyp.jsonl` directly inside the folders among them, sorted, each once.

    ValueError when one is missing or a folder holds none.
    """
    found: set[PathOrUrl] = set()
    for place in map(parse_path_or_url, places):
        inside = list_files(place, ENDING)
        if inside:
            found.update(inside)
        elif isinstance(place, Path) and place.is_dir():
            raise ValueError(
                f"{place}: holds no transcripts (*{ENDING}). `asr-kd label` writes some, with --write-transcripts or a "
                "teacher whisper:..."
            )
        elif exists(place):
            found.add(place)
        else:
            raise ValueError(f"{place}: no such file or folder. `asr-kd label --write-transcripts` writes transcripts.")
    return sorted(found, key=str)


def read_transcripts(*places: PathOrUrl) -> Iterator[dict[str, Any]]:
    """The lines of files, or of all files in folders, in order; those that were set aside have no `text`.

    ValueError names file, line and what is wrong: no JSON, a field missing or of the wrong kind, an id twice.
    """
    lines_of_ids: dict[str, str] = {}
    for path in find_transcripts(*places):
        for place, line in read_rows(read_bytes(path), path):
            _check_line(place, line)
            if line["id"] in lines_of_ids:
                first = lines_of_ids[line["id"]]
                raise ValueError(f"{place}: {line['id']} is also at {first}. Give each shard's file once.")
            lines_of_ids[line["id"]] = place
            yield line


def _check_line(place: str, line: dict[str, Any]) -> None:
    if not isinstance(line.get("id"), str) or not line["id"]:
        raise ValueError(
            f"{place}: id is {line.get('id')!r}; text is needed. Give files of `asr-kd label --write-transcripts`."
        )
    _check(place, line, "duration", line.get("duration"))
    if isinstance(line.get("reason"), str):
        return
    if not isinstance(line.get("text"), str):
        raise ValueError(
            f"{place}: neither text nor a reason for having none. Give files of `asr-kd label --write-transcripts`."
        )
    _check(place, line, "confidence", line.get("confidence"))
    for name in OPTIONAL_SCORES:
        if name in line:
            _check(place, line, name, line[name])
    words = line.get("words")
    if not isinstance(words, list) or not all(isinstance(w, list) and len(w) == 4 for w in words):
        raise ValueError(f"{place}: words is not a list of [word, start, end, confidence]")
    for word, *numbers in words:
        for value in numbers:
            _check(place, line, f"a number of word {word}", value)


def _check(place: str, line: dict[str, Any], name: str, value: Any) -> None:
    """ValueError when `value` is no number from 0 to what it can be at most."""
    most = 1.0 if name in PROBABILITY_FIELDS else MAX_SCORE
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:  # NaN is not either
        raise ValueError(
            f"{place}: {line['id']}: {name} is {repr(value)[:40]}; a number from 0 to {most:g} is needed. "
            "Give files of `asr-kd label --write-transcripts`."
        )


def rounded(value: float) -> float | int:
    """As lines and sidecars hold it, so that the same answer gives the same bytes."""
    return value if isinstance(value, int) else round(float(value), DIGITS)
