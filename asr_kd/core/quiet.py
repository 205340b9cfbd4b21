"""Libraries in C that print on the process's stderr by themselves are silenced while they work."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

STDERR_FD = 2
_lock = threading.RLock()
_depth = 0
_kept = -1
"""The real stderr while it is silenced."""


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """What C code writes to the process's stderr is dropped; blocks of several threads may overlap.

    libmpg123 reports every damaged frame there, and kaldilm each section of an ARPA file; neither has a switch for it.
    `asr_kd.core.terminal.say` is heard meanwhile.
    """
    global _depth, _kept
    with _lock:
        _depth += 1
        if _depth == 1:
            _kept = os.dup(STDERR_FD)
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, STDERR_FD)
            os.close(nowhere)
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0:
                _restore()


@contextmanager
def audible_stderr() -> Iterator[None]:
    """Within other threads' `quiet_stderr`, the real stderr for as long as the block runs."""
    with _lock:
        if _kept < 0:
            yield
            return
        nowhere = os.dup(STDERR_FD)
        os.dup2(_kept, STDERR_FD)
        try:
            yield
        finally:
            os.dup2(nowhere, STDERR_FD)
            os.close(nowhere)


def _restore() -> None:
    global _kept
    os.dup2(_kept, STDERR_FD)
    os.close(_kept)
    _kept = -1


def _begin_child() -> None:
    """The threads that silenced stderr do not run in a forked process."""
    global _depth
    if _kept >= 0:
        _restore()
    _depth = 0
    _lock.release()


os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_begin_child)
