"""Shards for reading: any row, in any order, without unpacking the tar; on this machine or in an object store."""

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, overload

import numpy as np

from asr_kd.core.files import sha256_file
from asr_kd.core.storage import PathOrUrl, basename, dirname, list_files, parse_path_or_url
from asr_kd.corpora.audio import decode_audio
from asr_kd.shards.index import Entry, index_of
from asr_kd.shards.remote import cache_folder, discard_copy, fetch_copy, remote_index

__all__ = ["Entry", "Shard", "ShardKey", "find_shards", "open_shard", "shard_order"]


class ShardKey(Protocol):
    """What tells a shard from others, without its utterances: an open shard, or one that a catalogue lists."""

    @property
    def path(self) -> PathOrUrl:
        """The tar."""

    @property
    def digest(self) -> str:
        """SHA-256 of the tar."""


@dataclass(frozen=True)
class Shard:
    """One tar of utterances. Cheap to pickle: it holds no open file."""

    path: PathOrUrl
    """The tar: a local path or a URL."""
    digest: str
    """SHA-256 of the tar."""
    seconds: float
    """Audio in all rows."""
    entries: list[Entry]
    cache: Path | None = None
    """The folder that a remote tar is fetched to when its audio is first asked for; None for a local tar."""
    set_aside: tuple[dict[str, str], ...] = ()
    """{"id", "error"} of what could not become a row when the tar was written or first read."""
    bytes: int = 0
    """Size of the tar."""

    def audio(self, row: int) -> np.ndarray:
        """The samples of a row: (N,) float32 in [-1, 1), 16 kHz mono. ValueError names tar and utterance.

        OSError when the tar cannot be read or fetched at all.
        """
        entry = self.entries[row]
        name = f"{self.path}: {entry.id}"
        with open(self.file(), "rb") as f:
            f.seek(entry.audio_offset)
            data = f.read(entry.audio_size)
        try:
            if entry.audio_crc32 not in (None, zlib.crc32(data)):
                raise ValueError("its bytes are not those that its index was made of")
            return decode_audio(data, name, entry.seconds)
        except ValueError as e:
            reason = str(e).removeprefix(f"{name}: ")
            raise ValueError(f"{name}: damaged audio ({reason}). Write or fetch the tar again.") from None

    def file(self) -> Path:
        """The tar on this machine; a remote one is fetched first unless it is there, and its digest checked."""
        if isinstance(self.path, Path):
            return self.path
        return fetch_copy(self.path, self.digest, self.cache or cache_folder())

    def check(self) -> None:
        """ValueError when the tar's bytes are not those that its index was made of."""
        if sha256_file(self.file()) != self.digest:
            raise ValueError(
                f"{self.path}: its bytes are not those its index was made for. Write or fetch the tar again."
            )

    def discard(self) -> None:
        """Delete the fetched copy of a remote tar. Local shards are never touched."""
        if isinstance(self.path, str):
            discard_copy(self.path, self.digest, self.cache or cache_folder())


def open_shard(path: str | Path, cache: Path | None = None) -> Shard:
    """A shard by its tar. Reads the index beside it; a foreign WebDataset tar without one is walked and given one.

    Of a remote tar no audio is fetched here, unless it has no index. cache: where it is fetched to when its audio is
    asked for (default: $ASR_KD_CACHE, else ~/.cache/asr_kd).
    ValueError when tar or index is missing, cut off, damaged, or they do not belong together.
    """
    where = parse_path_or_url(path)
    if isinstance(where, Path):
        index = index_of(where)
        cache = None
    else:
        cache = cache or cache_folder()
        try:
            index = remote_index(where, cache)
        except FileNotFoundError:
            raise ValueError(f"{where}: no such shard. `asr-kd shard` writes shards.") from None
    return Shard(where, index.sha256, index.seconds, index.entries, cache, tuple(index.set_aside), index.bytes)


@overload
def find_shards(*paths: Path) -> list[Path]: ...
@overload
def find_shards(*paths: str | Path) -> list[PathOrUrl]: ...
def find_shards(*paths: str | Path) -> list[PathOrUrl] | list[Path]:
    """The tars among `paths` and directly inside the folders among them, sorted, each once.

    Remote: a URL that ends in `.tar` is a tar, any other a folder, whose tars are listed.
    ValueError when a path is missing or a folder holds no tar: parts of a corpus are never mixed by looking deeper.
    """
    found: set[PathOrUrl] = set()
    for path in map(parse_path_or_url, paths):
        if isinstance(path, str):
            found.update([path] if path.endswith(".tar") else _remote_tars(path))
        elif path.is_dir():
            tars = sorted(path.glob("*.tar"))
            if not tars:
                inside = sorted({tar.parent.name for tar in path.glob("*/*.tar")})
                hint = f"Give one of its folders: {', '.join(inside)}." if inside else "`asr-kd shard` writes some."
                raise ValueError(f"{path}: holds no shards (*.tar). {hint}")
            found.update(tars)
        elif path.is_file() and path.suffix == ".tar":
            found.add(path)
        else:
            wrong = "not a shard (.tar) or a folder of shards" if path.exists() else "no such shard or folder"
            raise ValueError(f"{path}: {wrong}. `asr-kd shard` writes shards.")
    if not found:
        raise ValueError("no shards given. Give a folder of shards or tars.")
    return sorted(found, key=shard_order)


def _remote_tars(folder: str) -> list[PathOrUrl]:
    tars = list_files(folder, ".tar")
    if not tars:
        hint = " A folder of shards over https must be listed as HTML." if folder.startswith("http") else ""
        raise ValueError(f"{folder}: holds no shards (*.tar), or there is no such folder.{hint}")
    return tars


def shard_order(tar: PathOrUrl) -> str:
    """What shards are sorted by: paths part by part, remote tars after those of the same folder."""
    return "\0".join(tar.parts if isinstance(tar, Path) else (str(dirname(tar)), basename(tar)))
