"""Who a process is, written down so that another can tell later whether it still runs."""

import ctypes
import hashlib
import os
import signal
import socket
import sys
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

DIES_WITH = "ASR_KD_DIES_WITH"
"""Environment variable: the process that starts a command writes its number here when the command is to end with it."""
_PR_SET_PDEATHSIG = 1
_LARGEST_PID = 2**31 - 1


def rank_and_world() -> tuple[int, int]:
    """Of the ranks that torchrun started, which one this process is, and how many there are; (0, 1) without it."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return 0, 1
    return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


@dataclass(frozen=True)
class Process:
    """A process of some machine. Numbers of processes are given anew; together with their start they are not."""

    machine: str
    """Tells machines apart, and containers with process numbers of their own."""
    host: str
    pid: int
    started: str | None
    """In the kernel's ticks; None where the kernel does not tell."""

    @classmethod
    def this(cls) -> "Process":
        """The running one."""
        return cls(_machine(), socket.gethostname(), os.getpid(), _started(os.getpid()))

    @classmethod
    def parse(cls, record: Any) -> "Process | None":
        """What `asdict` wrote; None when it is something else."""
        if not isinstance(record, dict):
            return None
        machine, host, pid, started = (record.get(key) for key in ("machine", "host", "pid", "started"))
        if not (isinstance(machine, str) and isinstance(host, str) and isinstance(started, str | None)):
            return None
        if type(pid) is not int or not 0 < pid <= _LARGEST_PID:
            return None
        return cls(machine, host, pid, started)

    @property
    def is_here(self) -> bool:
        """Whether it is a process of this machine: only then can be told whether it has ended."""
        return self.machine == _machine()

    @property
    def has_ended(self) -> bool:
        """Whether it is a process of this machine that has ended; False where that cannot be told."""
        return self.is_here and _started(self.pid) != self.started

    @property
    def tag(self) -> str:
        """Short and fit for file names; `tag_has_ended` reads it."""
        return f"{_short(self.machine)}-{self.pid}-{self.started or 'unknown'}"

    def record(self) -> dict[str, Any]:
        """For JSON; `parse` reads it."""
        return asdict(self)


def tag_has_ended(tag: str) -> bool | None:
    """Whether the process of a `Process.tag` has ended; None where that cannot be told: one of another machine."""
    machine, pid, started = tag.split("-")
    if machine != _short(_machine()):
        return None
    return (_started(int(pid)) or "unknown") != started


def die_with_parent() -> None:
    """End when the process does that asked for it in $ASR_KD_DIES_WITH, whichever way it ends."""
    parent = os.environ.pop(DIES_WITH, None)
    if parent is not None:
        end_with(int(parent))


def end_with(parent: int) -> None:
    """Let the kernel end this process with its parent, of this number (Linux). Elsewhere nothing happens.

    It ends as well with the parent's thread that started it: start such processes from threads that wait for them.
    """
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended already
        os.kill(os.getpid(), signal.SIGKILL)


def _short(machine: str) -> str:
    return hashlib.sha256(machine.encode()).hexdigest()[:8]


@cache
def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return socket.gethostname()


def _started(pid: int) -> str | None:
    """When a process of this machine started; None when it does not run."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None if Path("/proc/self/stat").exists() or not _answers(pid) else "running"
    return None if state in "ZX" else fields[18]  # field 22 of the line


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
