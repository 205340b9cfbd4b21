"""Tars in an object store: their index is read there, their audio from a copy, fetched whole and once, when needed.

A tar is fetched whole rather than row by row: a few requests instead of hundreds, and its digest can be checked. Copies
lie in CACHE/<digest>/<name of the tar>; the cache is $ASR_KD_CACHE, else ~/.cache/asr_kd.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from asr_kd.core.files import read_json
from asr_kd.core.storage import (
    MissingError,
    basename,
    dirname,
    download,
    join,
    read_bytes,
    version,
)
from asr_kd.core.text_files import parse_json
from asr_kd.shards.index import Index, build_index, index_name, index_path, parse_index, write_index


def cache_folder() -> Path:
    """Where copies of remote tars lie when nothing else is said."""
    return Path(os.environ.get("ASR_KD_CACHE") or Path.home() / ".cache" / "asr_kd")


def scratch_dir() -> Path:
    """For copies that are deleted after use, apart from those that others keep."""
    return cache_folder() / "streamed"


def copy_path(url: str, digest: str, cache: Path) -> Path:
    """The place of a tar's copy. By digest: a tar that was written anew is never taken for the old one."""
    return cache / digest / basename(url)


def remote_index(url: str, cache: Path) -> Index:
    """The index beside a remote tar. A tar without one is fetched into the cache and walked; its index stays there.

    ValueError when tar or index are damaged, FileNotFoundError when there is no tar either.
    """
    path = join(dirname(url), index_name(url))
    try:
        data = read_bytes(path)
    except MissingError:
        return _index_of_copy(url, cache)
    return parse_index(parse_json(data, path), path)


def fetch_copy(url: str, digest: str, cache: Path) -> Path:
    """The copy of a tar, fetched and checked unless it is there. However many processes ask, it is fetched once."""
    copy = copy_path(url, digest, cache)
    if not copy.is_file():
        with _alone(cache, digest):
            if not copy.is_file():
                for left in copy.parent.glob(".*.tmp"):  # of a process that was killed: nobody else is at work here
                    left.unlink()
                download(url, copy.parent, digest)
    return copy


def discard_copy(url: str, digest: str, cache: Path) -> None:
    """Delete the copy of a tar, if there is one."""
    copy = copy_path(url, digest, cache)
    with _alone(cache, digest):
        copy.unlink(missing_ok=True)
        if copy.parent.is_dir() and not any(copy.parent.iterdir()):
            copy.parent.rmdir()


def _index_of_copy(url: str, cache: Path) -> Index:
    """The index of a foreign tar, made of its copy; kept until the object in the store changes."""
    key = version(url)
    tar = copy_path(url, f"foreign-{key}", cache)
    with _alone(cache, key):
        if not index_path(tar).is_file():
            download(url, tar.parent)
            try:
                index = build_index(tar)
            except ValueError as e:
                tar.unlink()
                raise ValueError(str(e).replace(str(tar), url)) from None
            copy = copy_path(url, index.sha256, cache)
            copy.parent.mkdir(exist_ok=True)
            os.replace(tar, copy)
            write_index(tar, index)
        return parse_index(read_json(index_path(tar)), index_path(tar))


@contextmanager
def _alone(cache: Path, digest: str) -> Iterator[None]:
    """Only one thread or process on this machine is in here for a digest. 256 lock files serve all: they stay."""
    folder = cache / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / digest[:2], "ab") as f:
        fcntl.flock(f, fcntl.LOCK_EX)  # let go when the file is closed, whatever happens
        yield
