"""Files that appear whole or not at all, their digests, and paths that stay inside their folder."""

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

from asr_kd.core.processes import Process, tag_has_ended
from asr_kd.core.terminal import is_memory_error, printable
from asr_kd.core.text_files import parse_json, read_text

ABANDONED_S = 3600.0
"""A temporary file of another machine that has not been written to for so long is nobody's."""
LONGEST_TEMPORARY_FOLDER = 75
"""Characters: names of sockets in it, which libraries make, may have 107."""
_DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_TEMPORARY = re.compile(r"\..+\.((?P<tag>[0-9a-f]{8}-\d{1,10}-\w+)|\d+)-[0-9a-f]{8}\.tmp", re.DOTALL)


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary name in the folder of `path`, renamed to `path` when the block ends well.

    The file is flushed to disk before the rename, so a reader never sees half of it, whenever the machine stops.
    When the block raises, the temporary file is removed, `path` is as it was, and an OSError names it. A temporary file
    of a killed process is removed by the next that writes into the folder.
    """
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned_once(final.parent.absolute())
    temporary = temporary_path(final)
    try:
        yield temporary
        with open(temporary, "rb") as f:
            os.fsync(f.fileno())
        os.replace(temporary, final)
        _fsync_folder(final.parent)
    except OSError as e:  # a full disk does not say which file it was
        full = e.filename is None and e.errno in _DISK_IS_FULL
        if not full and e.filename not in (str(temporary), temporary):
            raise
        raise OSError(e.errno, os.strerror(e.errno or 0), str(final)) from e
    finally:
        temporary.unlink(missing_ok=True)


def temporary_path(final: Path) -> Path:
    """A new name beside `final` that says which process it is of, for `remove_abandoned`."""
    return final.with_name(f".{final.name[:40]}.{Process.this().tag}-{secrets.token_hex(4)}.tmp")


def remove_abandoned(folder: Path) -> None:
    """Remove the temporary files (and folders) in `folder` whose processes have ended, as far as can be told."""
    for entry in os.scandir(folder):
        found = _TEMPORARY.fullmatch(entry.name)
        if found is None:
            continue
        ended = tag_has_ended(found["tag"]) if found["tag"] else None
        with suppress(OSError):  # another command does the same
            if ended or (ended is None and entry.stat().st_mtime < time.time() - ABANDONED_S):
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path)
                else:
                    os.unlink(entry.path)


@cache
def _remove_abandoned_once(folder: Path) -> None:
    remove_abandoned(folder)


@cache
def use_own_temporary_folder() -> None:
    """Let all that this process puts into the temporary folder lie in one of its own, which goes when it ends.

    Those of processes that were killed are removed.
    """
    shared = Path(tempfile.gettempdir())
    remove_abandoned(shared)
    own = temporary_path(shared / "asr_kd")
    if len(str(own)) > LONGEST_TEMPORARY_FOLDER:
        return
    own.mkdir(mode=0o700)
    tempfile.tempdir = str(own)
    # After multiprocessing has removed its own folder in there, which is done at -100; not when a fork ends.
    Finalize(None, shutil.rmtree, args=[own], kwargs={"ignore_errors": True}, exitpriority=-200)


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def refuse_to_replace(inputs: Iterable[Path], outputs: Iterable[Path]) -> None:
    """ValueError when an output, a file or folder that is written or removed, is among the inputs, or a link to one."""
    given = {path.resolve(): path for path in inputs}
    for output in outputs:
        found = given.get(output.resolve())
        if found is not None:
            same = "" if found.absolute() == output.absolute() else f" (as {output})"
            raise ValueError(
                f"{found}: belongs to the input, and the output would replace it{same}. Give another --out."
            )


def sha256_file(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes, 64 hex digits."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def fingerprint(obj: Any) -> str:
    """SHA-256 of the canonical JSON of `obj` (sorted keys, no spaces), 64 hex digits."""
    text = json.dumps(obj, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def read_json(path: str | os.PathLike[str]) -> Any:
    """Parse a JSON file. ValueError names the file when it is missing or not JSON."""
    return parse_json(read_text(Path(path)), path)


@contextmanager
def values_of(path: object, made_by: str) -> Iterator[None]:
    """ValueError that names `path` when its values, made by a command of ours, are not what the block reads there."""
    try:
        yield
    except (OSError, MemoryError):
        raise
    except Exception as e:  # whatever a wrong type or a missing key makes of the code that expects another
        own_words = isinstance(e, ValueError) and "format code" not in str(
            e
        )  # what a text formatted as a number raises
        if own_words or is_memory_error(e):
            raise
        reason = f"{type(e).__name__}: {printable(e)}"[:200]
        raise ValueError(f"{path}: damaged, or not as `{made_by}` wrote it ({reason}). Make it again.") from e


def write_json(path: str | os.PathLike[str], obj: Any) -> None:
    """Write `obj` as indented JSON, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(obj, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def append_json(path: str | os.PathLike[str], obj: Any) -> None:
    """Append `obj` to a file of JSON lines, flushed to disk. A last line that was cut off stays a line of its own."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+b") as f:
        size = f.seek(0, os.SEEK_END)
        is_cut_off = size > 0 and os.pread(f.fileno(), 1, size - 1) != b"\n"
        f.write(b"\n" * is_cut_off + json.dumps(obj).encode() + b"\n")
        f.flush()
        os.fsync(f.fileno())


def resolve_inside(root: str | os.PathLike[str], relative: str) -> Path:
    """`root/relative` with symbolic links resolved. ValueError when that lies outside `root`."""
    base = Path(root).resolve()
    full = (base / relative).resolve()
    if not full.is_relative_to(base):
        raise ValueError(f"{relative}: leads out of {root}. Only paths inside that folder are read.")
    return full
