"""Members of uncompressed tars: a tar's headers are walked once, then each member is read where it lies."""

import io
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from asr_kd.corpora.containers.kept import Kept

TARS_KEPT = 32
"""Tars whose members are known; a thousand members take about 0.3 MB."""
_REST_BYTES = 1 << 20


@dataclass
class TarIndex:
    """Where the members of a tar lie."""

    places: dict[str, tuple[int, int]] = field(default_factory=dict)
    """First byte and size of each file by its name."""
    unusable: dict[str, str] = field(default_factory=dict)
    """Why a member cannot be read, by its name."""
    damage: str | None = None
    """Why the tar was not walked to its end."""


_indexes: Kept[TarIndex] = Kept(TARS_KEPT)


def tar_members(path: Path) -> Iterator[tarfile.TarInfo]:
    """The members of a tar that are whole, in order. ValueError, after them, where it is damaged or cut off."""
    size = path.stat().st_size
    try:
        with tarfile.open(path, "r:") as archive:
            while (member := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # it keeps them all
                if member.isreg() and member.offset_data + member.size > size:
                    raise ValueError(f"{path}: cut off within {printable_name(member.name)}. Write or fetch it again.")
                yield member
            end = archive.offset
    except (tarfile.TarError, UnicodeError, OverflowError) as e:
        raise ValueError(f"{path}: not a readable, uncompressed tar ({e}). Write or fetch it again.") from None
    _check_end(path, end, size)


def _check_end(path: Path, end: int, size: int) -> None:
    """`tarfile` ends quietly where a header is cut off or damaged, and where another tar follows."""
    with open(path, "rb") as f:
        f.seek(end)
        block = f.read(tarfile.BLOCKSIZE)
        if len(block) < tarfile.BLOCKSIZE:
            raise ValueError(f"{path}: cut off, the end mark of a tar is missing. Write or fetch it again.")
        if any(block):
            raise ValueError(f"{path}: damaged at byte {end}, where a member's header should be. Fetch it again.")
        while rest := f.read(_REST_BYTES):
            if rest.count(0) != len(rest):
                raise ValueError(
                    f"{path}: something follows the end mark at byte {end}, another tar perhaps. Give each by itself."
                )


def tar_index(path: Path) -> TarIndex:
    """Where the members of a tar lie, kept for the next call. ValueError when it is no tar."""
    state = os.stat(path)
    return _indexes.get((path, state.st_size, state.st_mtime_ns), lambda: _walk(path))


def member_name(name: str) -> str:
    """A member's name as `pathlib` writes it: `./a//b` and `a/b` are one."""
    return str(PurePosixPath(name))


def printable_name(name: str) -> str:
    """A name whose bytes are not UTF-8 with those bytes as escapes, so that it can be written."""
    return name.encode("utf-8", errors="backslashreplace").decode()


def _walk(path: Path) -> TarIndex:
    index = TarIndex()
    try:
        for member in tar_members(path):
            name = member_name(member.name)
            if member.isdir():
                continue
            if name in index.places or name in index.unusable:
                index.places.pop(name, None)
                index.unusable[name] = "occurs twice; names are unique in a tar of audio"
            elif not member.isreg() or member.issparse():
                index.unusable[name] = "a link, or no plain file; only members that hold their own bytes are read"
            else:
                index.places[name] = (member.offset_data, member.size)
    except ValueError as e:
        if not index.places:
            raise
        index.damage = str(e)
    return index


class Section(io.RawIOBase):
    """Some bytes of a file as a file: nothing before or after them can be read."""

    def __init__(self, path: Path, start: int, size: int) -> None:
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115 - closed with this
        self._start, self._size, self._position = start, size, 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As of any file."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError("negative seek position")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """As of any file."""
        view = memoryview(buffer).cast("B")
        count = max(0, min(len(view), self._size - self._position))
        data = os.pread(self._file.fileno(), count, self._start + self._position)
        view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


def opened_section(path: Path, start: int, size: int) -> io.BufferedReader:
    """Bytes `start` to `start + size` of a file, for reading."""
    return io.BufferedReader(Section(path, start, size))


def opened_tar_member(path: Path, name: str) -> io.BufferedReader:
    """A member of a tar. ValueError when it is not there, or is no plain file."""
    index = tar_index(path)
    wanted = member_name(name)
    place = index.places.get(wanted)
    if place is None:
        reason = index.unusable.get(wanted) or "no such member"
        damage = f" ({index.damage})" if index.damage else ""
        raise ValueError(f"{path}::{name}: {reason}{damage}")
    return opened_section(path, *place)
