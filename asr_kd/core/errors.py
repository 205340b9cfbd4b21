"""Errors of the system (disk, mount, memory, descriptors), told apart from faults of the data.

A fault of the data costs one utterance, which is skipped with its reason. After an error of the system the same command
may go well later: callers let it pass, so that the run stops and nothing good is skipped for ever.
"""

import errno
from collections.abc import Iterator
from pathlib import Path

from asr_kd.core.retries import MissingError, StorageError


class PartFailed(RuntimeError):
    """A command did the rest of its work: exit code 1. What failed has been said."""


_DATA = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL, None}
"""What an OSError says when a name in the data is wrong; any other is the machine's or the store's fault. Without a
number are the errors of Python's and Arrow's readers, which speak of the content."""


def is_system_error(error: BaseException) -> bool:
    """Whether the machine failed and not the data: no memory, no descriptors, a disk that is full or fails, no
    permission, a store that does not answer, or a file that is missing because its mount is away."""
    return any(_is_system_error(e) for e in _causes(error))


def _is_system_error(error: BaseException) -> bool:
    if isinstance(error, MemoryError):
        return True
    if not isinstance(error, OSError):
        return False
    if isinstance(error, StorageError):
        return not isinstance(error, MissingError)
    if error.errno == errno.ENOENT:
        return error.filename is not None and _mount_is_away(Path(str(error.filename)))
    return error.errno not in _DATA


def _mount_is_away(path: Path) -> bool:
    """Whether the nearest folder above a missing file that is there is empty, as a mount point without its mount is."""
    try:
        folder = next(folder for folder in path.absolute().parents if folder.exists())
        return folder.is_dir() and not any(folder.iterdir())
    except OSError:
        return True


def _causes(error: BaseException) -> Iterator[BaseException]:
    e: BaseException | None = error
    while e is not None:
        yield e
        e = e.__cause__
