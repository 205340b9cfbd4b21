"""One command at a time writes into an output: the lock that each takes, and the file that says who has it."""

import fcntl
import json
import os
import shlex
import signal
import stat
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from asr_kd.core.files import remove_abandoned
from asr_kd.core.processes import Process
from asr_kd.core.terminal import say
from asr_kd.core.text_files import parse_json

LOCK_FILE = ".owner.json"
LEASE_S = 120.0
"""A lock of another machine whose file has not been touched for so long is nobody's."""
_LONGEST_RECORD = 1 << 16
_NAMED_WITHIN_S = 1.0
"""How long one that takes a lock may need to write down who it is."""


class OutputLock:
    """Ownership of a folder, or of a file, while the block runs; ValueError names both sides when another has it.

    On one machine the kernel's lock (flock) on the file decides, which a process loses however it ends. File systems
    need not share it between machines: there the owner touches the file from time to time, and one that has not done so
    for LEASE_S, by the clock of the file system, is taken over. Temporary files that killed commands left are removed.
    """

    def __init__(self, out: Path, command: Sequence[str], is_file: bool = False, lease_s: float = LEASE_S) -> None:
        """command: words of the command line, for whom it is refused.  is_file: `out` is a file, not a folder."""
        self.out, self.lease_s = out, lease_s
        self._folder = out.parent if is_file else out
        self._path = self._folder / (f".{out.name}{LOCK_FILE}" if is_file else LOCK_FILE)
        self._me = Process.this().record() | {"command": shlex.join(command), "at": time.time()}
        self._descriptor = -1
        self._made = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep_fresh, daemon=True)

    def __enter__(self) -> "OutputLock":
        self._made = not self._folder.exists()
        self._folder.mkdir(parents=True, exist_ok=True)
        while not self._take():
            pass
        os.register_at_fork(after_in_child=self._forget)  # a worker that outlives its parent must not hold its lock
        self._thread.start()
        remove_abandoned(self._folder)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        with suppress(OSError):
            if self._is_mine():
                self._path.unlink()
        os.close(self._descriptor)
        self._descriptor = -1
        if self._made:
            with suppress(OSError):  # what the command wrote
                self._folder.rmdir()

    def _take(self) -> bool:
        """False: the file went away meanwhile, to be tried again."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ValueError(f"{self._path}: is no file, so nobody can tell who owns {self.out}. Remove it.")
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise self._refusal(self._owner_once_named(descriptor)) from None
            except OSError:
                pass  # a file system without locks: the name in the file alone decides
            if not self._is_at_path(descriptor):
                return False
            owner = _read(descriptor)
            if self._is_alive(owner, descriptor):
                raise self._refusal(owner)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(self._me).encode(), 0)
            self._descriptor, descriptor = descriptor, -1
            return True
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def _is_at_path(self, descriptor: int) -> bool:
        """The descriptor's file is still the one of that name: its owner removes it at the end."""
        try:
            there, ours = os.lstat(self._path), os.fstat(descriptor)
        except FileNotFoundError:
            return False
        return (there.st_ino, there.st_dev) == (ours.st_ino, ours.st_dev)

    def _is_mine(self) -> bool:
        return self._is_at_path(self._descriptor) and _read(self._descriptor) == self._me

    def _is_alive(self, owner: dict[str, Any], descriptor: int) -> bool:
        """Whether the owner of a file that the kernel gave to us may be at work all the same."""
        process = Process.parse(owner)
        if process is None:
            return False
        if process.is_here:
            return not process.has_ended
        touched = os.fstat(descriptor).st_mtime
        probe = self._path.with_name(f"{self._path.name}.{Process.this().tag}-00000000.tmp")
        try:
            probe.touch()
            return probe.stat().st_mtime - touched < self.lease_s  # both by the clock of the file system
        finally:
            probe.unlink(missing_ok=True)

    def _owner_once_named(self, descriptor: int) -> dict[str, Any]:
        until = time.monotonic() + _NAMED_WITHIN_S
        while not (owner := _read(descriptor)) and time.monotonic() < until:
            time.sleep(0.01)
        return owner

    def _refusal(self, owner: dict[str, Any]) -> ValueError:
        process = Process.parse(owner)
        where = ""
        if process is not None and not process.is_here:
            where = f"; if it is dead, it is taken over {self.lease_s:.0f} s after its last sign of life"
        return ValueError(
            f"{self.out}: {_side(owner)} is writing there, so this one ({_side(self._me)}) does not start. "
            f"Wait until it has ended{where}, or give another --out."
        )

    def _keep_fresh(self) -> None:
        while not self._stop.wait(self.lease_s / 4):
            try:
                mine = self._is_mine()
                if mine:
                    os.utime(self._descriptor)
            except OSError:  # the file system is away for a moment
                continue
            if not mine:
                say(f"{self.out}: another command has taken it over. This one stops.")
                main = threading.main_thread().ident
                assert main is not None
                # It ends what that thread waits for. What a script starts in its background ignores SIGINT.
                ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN
                signal.pthread_kill(main, signal.SIGTERM if ignored else signal.SIGINT)
                return

    def _forget(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _read(descriptor: int) -> dict[str, Any]:
    """What an owner wrote of itself; nothing when that is not there yet, or odd."""
    try:
        owner = parse_json(os.pread(descriptor, _LONGEST_RECORD, 0), "owner")
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}


def _side(owner: dict[str, Any]) -> str:
    """Process, host, start and command of one side, for a message."""
    process, command, at = Process.parse(owner), owner.get("command"), owner.get("at")
    if process is None:
        return "another command"
    began = ""
    if isinstance(at, float):
        with suppress(ValueError, OverflowError, OSError):  # somebody else wrote it
            began = f" since {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(at))}"
    return f"process {process.pid} on {process.host}{began} (`{command!s:.300}`)"
