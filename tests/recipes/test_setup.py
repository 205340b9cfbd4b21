"""Setting up is done once, says what is missing, and leaves a working environment alone."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def setup(root: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(root / "tools/setup.sh"), *options],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_an_environment_that_is_up_to_date_is_left_alone_without_a_word_or_a_network() -> None:
    if setup(ROOT, "--check").returncode != 0:
        pytest.skip(".venv is not of tools/setup.sh's making, or pyproject.toml changed since")
    before = (ROOT / ".venv/asr_kd-setup").stat().st_mtime_ns
    result = setup(ROOT, PIP_INDEX_URL="http://127.0.0.1:9/", PIP_CONFIG_FILE="/dev/null")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert (ROOT / ".venv/asr_kd-setup").stat().st_mtime_ns == before


def test_no_python_gives_one_message_that_says_what_to_install(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    assert setup(tmp_path, "--check").returncode == 1
    result = setup(tmp_path, ASR_KD_PYTHON="python-that-is-not-there")
    assert result.returncode == 2
    assert "python-that-is-not-there: no Python 3.11 was found" in result.stderr
    assert "ASR_KD_PYTHON=" in result.stderr
    assert not (tmp_path / ".venv").exists()
