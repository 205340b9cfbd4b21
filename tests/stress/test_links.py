"""The stress run over limited links: it trains over one, and leaves no network behind."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def test_two_ranks_train_over_a_limited_link() -> None:
    script = Path(__file__).resolve().parent / "links.py"
    options = ["--ranks", "2", "--mbit", "1000", "--strategies", "allreduce", "--repeats", "1", "--within", "1000"]
    done = subprocess.run([sys.executable, script, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    if "skipped" in found:
        pytest.skip(found["skipped"])
    assert [(row["ranks"], row["strategy"], row["mbit"]) for row in found["rows"]] == [(2, "allreduce", 1000)]
    left = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True)
    assert not [line for line in left.stdout.splitlines() if line.startswith(f"{found['prefix']}x")]
