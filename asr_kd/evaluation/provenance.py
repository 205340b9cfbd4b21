"""Where a result came from: the commit, the versions of what computed it."""

import importlib.metadata
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path

from asr_kd import __version__


def commit() -> str | None:
    """Commit of the source tree, with `+changes` when files differ from it; None outside a git checkout."""
    here = Path(__file__).parent
    try:
        # only a checkout of this project counts, not a repository that a virtual environment happens to lie in
        subprocess.run(["git", "ls-files", "--error-unmatch", __file__], cwd=here, check=True, capture_output=True)
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty=+changes", "--abbrev=12", "--exclude=*"],
            cwd=here,
            check=True,
            capture_output=True,
            text=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def versions(packages: Sequence[str] = ("torch", "jiwer", "numpy", "kaldi-decoder", "kaldifst")) -> dict[str, str]:
    """Versions of Python, asr_kd and the packages that are installed."""
    found = {"python": platform.python_version(), "asr_kd": __version__}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
