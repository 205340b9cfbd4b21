"""Progress says what it counts, on a terminal and elsewhere."""

import fcntl
import io
import os
import pty
import struct
import subprocess
import sys
import termios
import threading

import pytest

from asr_kd.core.progress import Progress


class Heard(io.StringIO):
    """A stderr that is no terminal and tells when two lines have come."""

    def __init__(self) -> None:
        super().__init__()
        self.twice = threading.Event()

    def write(self, text: str) -> int:
        written = super().write(text)
        if self.getvalue().count("\n") >= 2:
            self.twice.set()
        return written


def test_lines_go_on_where_stderr_is_no_terminal_also_while_nothing_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = Heard()
    monkeypatch.setattr(sys, "stderr", heard)
    with Progress("label", 7200, interval_s=0.01) as progress:
        progress.update(1800, loss=0.5)
        assert heard.twice.wait(60)
    after = heard.getvalue()
    assert after.splitlines()[-1].startswith("label: 0.50 of 2.00 h of audio (25%), ")
    assert after.splitlines()[-1].endswith(", loss 0.5") and " x real time, " in after and " left" in after


def test_a_short_command_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("shards\x1b[2J", 10) as progress:
        progress.update(10)
        assert progress.line().startswith("shards\\u001b[2J: 0.00 of 0.00 h of audio (100%)")
    assert capsys.readouterr() == ("", "")


def test_without_a_total_the_unit_is_said_too() -> None:
    with Progress("voices") as progress:
        assert progress.line() == "voices: 0.00 h of audio"


def test_a_terminal_has_a_bar_with_the_unit() -> None:
    program = (
        "from asr_kd.core.progress import Progress\nwith Progress('label', 7200) as p: p.update(3600); p._bar.refresh()"
    )
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 120, 0, 0))
    with subprocess.Popen([sys.executable, "-c", program], stderr=theirs):
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(ours, 4096):
                shown += piece
        except OSError:  # the other side has closed
            pass
    os.close(ours)
    assert "label: 1.00 of 2.00 h of audio (50%)" in shown.decode()
