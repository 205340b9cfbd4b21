"""Run a command, show its output as it comes and keep it in a log: python live.py LOG COMMAND ...

On a terminal the command gets a terminal too (a pseudo-terminal), so that progress bars move; the log keeps the last
state of each line. Exits with the command's exit code. The command is killed when this program is, or the process
$RECIPE_PID. Standard library only.
"""

import ctypes
import fcntl
import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Sequence
from pathlib import Path

PR_SET_PDEATHSIG = 1
CONTROL_SEQUENCE = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")


def run(log: Path, command: Sequence[str]) -> int:
    """Exit code of `command`; 127 when there is no such program."""
    on_terminal = sys.stdout.isatty()
    reading, writing = pty.openpty() if on_terminal else os.pipe()
    if on_terminal:
        size = fcntl.ioctl(sys.stdout, termios.TIOCGWINSZ, b"\0" * 8)
        fcntl.ioctl(writing, termios.TIOCSWINSZ, size)
    with open(log, "wb") as kept:
        kept.write(f"# {time.strftime('%Y-%m-%d %H:%M:%S')}\n$ {shlex.join(command)}\n".encode())
        kept.flush()
        try:
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=writing, stderr=writing, preexec_fn=_die_with(os.getpid())
            )
        except OSError as e:
            message = f"{command[0]}: {e.strerror}\n"
            kept.write(message.encode())
            sys.stderr.write(message)
            return 127
        os.close(writing)
        # Ctrl-C reaches the command by itself; it may have something to finish.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: child.terminate())
        _copy(reading, kept, _recipe(), child)
        code = child.wait()
    return code if code >= 0 else 128 - code


def _die_with(parent: int) -> Callable[[], None] | None:
    """For the child, before it becomes the command: let the kernel kill it when its parent ends (Linux only)."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)

    return ask


def _recipe() -> int | None:
    """A descriptor that can be read when the recipe has ended; None where that cannot be known."""
    try:
        return os.pidfd_open(int(os.environ["RECIPE_PID"]))
    except (KeyError, AttributeError):
        return None
    except ProcessLookupError:  # it has
        return os.open(os.devnull, os.O_RDONLY)


def _copy(reading: int, kept, recipe: int | None, child: subprocess.Popen) -> None:
    """From the descriptor to stdout as it is, to the log line by line without what was overwritten."""
    rest = b""
    while True:
        if recipe is not None and recipe in select.select([reading, recipe], [], [])[0]:
            child.kill()  # to be copied: what it said last
            recipe = None
        try:
            piece = os.read(reading, 65536)
        except OSError:  # a pseudo-terminal whose other end was closed
            piece = b""
        if not piece:
            break
        sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            kept.write(_final(line) + b"\n")
        kept.flush()
    if _final(rest):
        kept.write(_final(rest) + b"\n")


def _final(line: bytes) -> bytes:
    return CONTROL_SEQUENCE.sub(b"", line.rstrip(b"\r").rpartition(b"\r")[2]).rstrip()


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]), sys.argv[2:]))
