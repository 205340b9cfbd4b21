"""Names of audio inside another file: `CONTAINER::MEMBER`, in `audio_filepath` and wherever audio is named.

    clips.tar::a/1.flac                       member of an uncompressed tar
    train-00000-of-00004.parquet::17          row, counted from 0, of the audio column
    data-00000-of-00001.arrow::speech/17      row of the column `speech`
    wav.ark::1234                             byte at which a WAV or FLAC begins (Kaldi)

A file that has such a name wins.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SEPARATOR = "::"
TABLES = (".parquet", ".arrow")
CONTAINERS = (".tar", *TABLES, ".ark")
"""What files that hold audio end in."""
MAX_ROW_DIGITS = 13


@dataclass(frozen=True)
class MemberName:
    """A name of audio inside a file."""

    container: Path
    member: str

    def __str__(self) -> str:
        return f"{self.container}{SEPARATOR}{self.member}"


def split_name(path: str | Path) -> MemberName | None:
    """Container and member that `path` names; None where it names a file.

    Where `::` occurs several times, the container is the shortest beginning that is a file.
    """
    name = str(path)
    if SEPARATOR not in name or os.path.lexists(name):
        return None
    places = [i for i in range(len(name)) if name.startswith(SEPARATOR, i)]
    found = [MemberName(Path(name[:i]), name[i + len(SEPARATOR) :]) for i in places if _is_container(name[:i])]
    return next((inside for inside in found if os.path.isfile(inside.container)), found[0] if found else None)


def source_file(path: str | Path) -> str:
    """The file that holds the audio at `path`: the container, or `path` itself."""
    inside = split_name(path)
    return str(path) if inside is None else str(inside.container)


def in_reading_order(names: Sequence[str]) -> list[int]:
    """The order, as indexes, in which audio is read fastest: that of `names`, but rows of a table after each other.

    A group of rows is read from disk as a whole, and this reads it once.
    """
    first: dict[str, int] = {}
    keys = []
    for i, name in enumerate(names):
        inside = split_name(name)
        if inside is None or inside.container.suffix.lower() not in TABLES:
            keys.append((i, 0))
            continue
        row = inside.member.rpartition("/")[2]
        is_row = row.isascii() and row.isdigit() and len(row) < MAX_ROW_DIGITS
        keys.append((first.setdefault(str(inside.container), i), int(row) if is_row else 0))
    return sorted(range(len(names)), key=keys.__getitem__)


def _is_container(name: str) -> bool:
    return name.lower().endswith((*CONTAINERS, ".tar.gz", ".tgz"))
