"""The stress runs of labelling on small counts: they run, and what they check holds."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

STRESS = Path(__file__).resolve().parent


def run(script: str, *options: str) -> dict:
    done = subprocess.run([sys.executable, STRESS / script, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads(done.stdout.splitlines()[-1])


def test_damaged_input_neither_crashes_the_job_nor_is_taken_for_sound() -> None:
    found = run("fuzz_label.py", "--count", "48", "--seed", "1")
    assert found["wrong"] == 0 and found["worker_crashes"] == 0 and found["sound_shards_labelled"]
    assert found["exit_code"] == 1 and sum(found["sidecar"].values()) == 12
    assert "harmless" not in found["tar with index"]


def test_memory_does_not_grow_with_shards() -> None:
    found = run("scale_label.py", "--few", "3", "--many", "30", "--start", "30")
    assert found["memory_ratio"] < 1.2 and found["start_shards"] == 30
