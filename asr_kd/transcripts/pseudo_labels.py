"""Pseudo-labels in files: a teacher's transcripts of unlabelled speech, `OUT/<tar stem>.hyp.jsonl` of each shard.

One line an utterance in the shard's order, as `recognised` describes; each is also a line of a manifest. `asr-kd graph`
learns from the text, `asr-kd score --hyp` reads a file, `asr-kd align --transcripts` aligns to it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from asr_kd.core.storage import PathOrUrl, exists, join, list_files, parse_path_or_url, read_bytes, stem
from asr_kd.core.text_files import read_rows
from asr_kd.shards.reader import Entry, Shard
from asr_kd.transcripts.recognised import (
    OPTIONAL_SCORES,
    TIME_DIGITS,
    RecognisedUtterance,
    Transcript,
    read_recognised,
    rounded,
    write_recognised,
)

ENDING = ".hyp.jsonl"


def transcripts_path(folder: PathOrUrl, shard: Shard) -> PathOrUrl:
    """`folder/<tar stem>.hyp.jsonl`."""
    return join(folder, stem(shard.path) + ENDING)


def pseudo_label(entry: Entry, shard: str, found: Transcript | str) -> RecognisedUtterance:
    """An utterance of a shard.  shard: digest of its tar.  found: text is the reason why it was skipped."""
    line = RecognisedUtterance(
        id=entry.id,
        audio_filepath=f"{entry.id}.flac",
        seconds=round(entry.seconds, TIME_DIGITS),
        speaker=entry.speaker,
        shard=shard,
    )
    if isinstance(found, str):
        return replace(line, reason=found)
    return replace(
        line,
        text=found.text,
        confidence=rounded(found.confidence),
        scores={name: rounded(found.numbers[name]) for name in OPTIONAL_SCORES if name in found.numbers},
        words=[word.rounded() for word in found.words],
    )


def write_transcripts(folder: PathOrUrl, shard: Shard, found: Sequence[Transcript | str]) -> PathOrUrl:
    """Write a shard's transcripts, whole or not at all: one of each row, as `pseudo_label` takes it."""
    path = transcripts_path(folder, shard)
    write_recognised(path, [pseudo_label(e, shard.digest, f) for e, f in zip(shard.entries, found, strict=True)])
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


def read_transcripts(*places: PathOrUrl) -> Iterator[RecognisedUtterance]:
    """The utterances of files, or of all files in folders, in order. ValueError as for `read_recognised`."""
    rows = (row for path in find_transcripts(*places) for row in read_rows(read_bytes(path), path))
    return read_recognised(rows, "Give files of `asr-kd label --write-transcripts`.")
