"""What reaches a terminal: one function prints to stderr, one to stdout, and what data says cannot steer either.

Ids, texts and file names come from others. Printed raw, an escape sequence in one recolours or rewrites the screen, a
newline forges a message of ours, and a bidirectional control reverses what is read.
"""

import json
import re
import shutil
import sys
import unicodedata
from typing import Any

from asr_kd.core.processes import rank_and_world
from asr_kd.core.quiet import audible_stderr

_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode's categories of control and format characters, lone surrogates, line and paragraph separators."""
_JOINERS = "\u200c\u200d"
"""Format characters that Persian, Hindi and other text is spelt with; they reorder nothing."""


class OutputClosed(Exception):
    """Who read stdout has read enough, as `head` does: the command ends without a word."""


def printable(text: object) -> str:
    """`text` on one line: control, bidirectional and line-separator characters as JSON's escapes (\\u202e)."""
    shown = str(text)
    return shown if shown.isprintable() else "".join(c if _shown(c) else _escaped(c) for c in shown)


def say(*lines: object) -> None:
    """Print to stderr; each argument is one line, whatever it holds. Of several ranks, the first speaks for all."""
    if not rank_and_world()[0]:
        with audible_stderr():
            print(*map(printable, lines), sep="\n", file=sys.stderr, flush=True)


def complain(name: str, reason: object) -> None:
    """Print to stderr why a command ends, also from a rank that is not the first."""
    rank, world = rank_and_world()
    with audible_stderr():
        print(printable(f"{name}: {f'rank {rank}: ' if world > 1 else ''}{reason}"), file=sys.stderr, flush=True)


def show(*lines: object) -> None:
    """Print a result to stdout; each argument is one line, whatever it holds. Of several ranks, the first does.

    OutputClosed when nobody reads it any more.
    """
    if not rank_and_world()[0]:
        try:
            print(*map(printable, lines), sep="\n", flush=True)
        except BrokenPipeError:
            raise OutputClosed from None


class LiveLine:
    """One line on stderr that is written over again and again; nothing where stderr is no terminal."""

    def __init__(self) -> None:
        self._is_shown = False

    def show(self, text: object) -> None:
        """The end of `text`, as much as fits."""
        if not sys.stderr.isatty():
            return
        room = shutil.get_terminal_size().columns - 1
        line = printable(text)
        self._write("\r\x1b[K" + line[-(room if line.isascii() else room // 2) :])  # other letters may be two wide
        self._is_shown = bool(line)

    def clear(self) -> None:
        """Remove the line, so that others can be printed."""
        if self._is_shown:
            self._write("\r\x1b[K")
            self._is_shown = False

    def _write(self, text: str) -> None:
        with audible_stderr():
            sys.stderr.write(text)
            sys.stderr.flush()


def markdown_text(text: object) -> str:
    """Text that Markdown shows as it is: no table cell ends in it, no tag and no emphasis starts in it."""
    escaped = printable(" ".join(str(text).split())).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"[\\|*_`]", r"\\\g<0>", escaped)


def shorten(value: Any) -> str:
    """A value for a message: digests by their first 12 digits."""
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    is_digest = len(text) == 64 and all(c in "0123456789abcdef" for c in text)
    return f"{text[:12]}…" if is_digest else text[:200]


def explain(error: BaseException) -> str:
    """An error as one line that names its file and, where memory ran out, what to do."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{_name(error.filename)}: {error.strerror}"
    if is_memory_error(error):
        return "out of memory. Use smaller batches or fewer workers, or a machine with more."
    return str(error) or type(error).__name__


def is_memory_error(error: BaseException) -> bool:
    """Whether memory ran out: Python's error, or PyTorch's, which on CPUs is a plain RuntimeError."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and ("can't allocate memory" in str(error) or "out of memory" in str(error))
    )


def _name(filename: object) -> str:
    return filename.decode(errors="surrogateescape") if isinstance(filename, bytes) else str(filename)


def _escaped(c: str) -> str:
    return "\\u007f" if c == "\x7f" else json.dumps(c)[1:-1]


def _shown(c: str) -> bool:
    return " " <= c <= "~" or c in _JOINERS or unicodedata.category(c) not in _HIDDEN
