"""Audio inside another file, opened like a file."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from asr_kd.core.errors import is_system_error
from asr_kd.corpora.containers.ark import opened_ark_entry
from asr_kd.corpora.containers.names import TABLES, MemberName
from asr_kd.corpora.containers.tables import opened_row
from asr_kd.corpora.containers.tar import opened_tar_member


@contextmanager
def opened_member(name: MemberName) -> Iterator[BinaryIO]:
    """The audio for reading. ValueError when the container or the member is not there or damaged; OSError when the
    system fails."""
    try:
        file = _open(name)
    except OSError as e:
        if is_system_error(e):
            raise
        raise ValueError(f"{name}: {_why_not(name, e)}") from None
    with file:
        yield file


def _open(name: MemberName) -> BinaryIO:
    kind = name.container.suffix.lower()
    if not os.path.isfile(name.container):
        os.stat(name.container)  # raises where it does not exist
        raise IsADirectoryError
    if kind == ".tar":
        return opened_tar_member(name.container, name.member)
    if kind in TABLES:
        return opened_row(name.container, name.member)
    if kind == ".ark":
        return opened_ark_entry(name.container, name.member)
    raise ValueError(f"{name}: a compressed tar has no random access. Unpack it: gunzip {name.container.name}")


def _why_not(name: MemberName, error: OSError) -> str:
    if isinstance(error, IsADirectoryError):
        return f"{name.container.name} is no file"
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return f"{name.container.name} does not exist"
    return f"{name.container.name} cannot be read ({error.strerror or error})"
