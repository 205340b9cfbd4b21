"""A stage's log holds what was said, without what a progress bar overwrote, and its exit code is the command's."""

import os
import select
import subprocess
import sys
from pathlib import Path

LIVE = Path(__file__).resolve().parents[2] / "tools/live.py"


def live(log: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(LIVE), str(log), *command], capture_output=True, text=True, timeout=60)


def test_output_is_shown_as_it_is_and_logged_as_it_ended(tmp_path: Path) -> None:
    shown = live(tmp_path / "log", "printf", "10%%\\r100%%\\ndone\\n")
    assert shown.stdout == "10%\n100%\ndone\n"  # text mode reads the carriage return as a line's end
    assert (tmp_path / "log").read_text().splitlines()[2:] == ["100%", "done"]


def test_stderr_is_logged_too_and_the_command_heads_the_log(tmp_path: Path) -> None:
    live(tmp_path / "log", "sh", "-c", "echo trouble >&2")
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines[1] == "$ sh -c 'echo trouble >&2'"
    assert lines[2:] == ["trouble"]


def test_the_exit_code_is_that_of_the_command(tmp_path: Path) -> None:
    assert live(tmp_path / "log", "sh", "-c", "exit 3").returncode == 3
    assert live(tmp_path / "log", "sh", "-c", "kill -9 $$").returncode == 137
    missing = live(tmp_path / "log", "no-such-program")
    assert missing.returncode == 127
    assert "no-such-program: No such file or directory" in missing.stderr


def test_the_command_ends_when_this_program_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, str(LIVE), str(tmp_path / "log"), "sh", "-c", "echo $$; read x < fifo"]
    os.mkfifo(tmp_path / "fifo")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as live_py:
        assert live_py.stdout is not None
        watched = os.pidfd_open(int(live_py.stdout.readline()))
        live_py.kill()
    assert select.select([watched], [], [], 30)[0]
    os.close(watched)
