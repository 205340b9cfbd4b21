"""The commands of a recipe, so that tests can run them in one process."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run_recipe(
    name: str, *options: str | Path, cwd: Path | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    """`bash recipes/NAME/run.sh OPTIONS` in this Python's environment, with `variables` set."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", str(ROOT / f"recipes/{name}/run.sh"), *map(str, options)],
        cwd=cwd,
        env={**os.environ, "ASR_KD_NO_SETUP": "1", "PATH": path, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=180,
    )


def recipe_commands(name: str, *options: str | Path, **variables: str) -> list[list[str]]:
    """Words of each command of the recipe's stages, without `asr-kd`."""
    shown = run_recipe(name, *options, "--dry-run", **variables)
    assert shown.returncode == 0, shown.stderr
    return [shlex.split(line) for line in re.findall(r"^ +asr-kd (.*)$", shown.stdout, flags=re.M)]
