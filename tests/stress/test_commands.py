"""A tiny version of the stress programs: two commands started at once own one output, a killed one leaves nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

STRESS = Path(__file__).resolve().parent


@pytest.mark.parametrize("program, count", [("double_starts.py", "--starts"), ("kills.py", "--kills")])
def test_the_outputs_of_commands_are_those_of_one_undisturbed_run(program: str, count: str) -> None:
    command = [sys.executable, str(STRESS / program), count, "2", "--commands", "shard", "align", "train"]
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert ended.returncode == 0, ended.stderr
    summary = json.loads(ended.stdout)
    assert set(summary) == {"shard", "align", "train"}
    assert not any(entry["wrong"] for entry in summary.values())


def test_no_command_ends_badly_on_a_damaged_file() -> None:
    command = [sys.executable, str(STRESS / "fuzz_commands.py"), "--count", "64", "--seed", "7"]
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=600, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    summary = json.loads(ended.stdout)
    assert (summary["inputs"], summary["wrong"]) == (64, 0), ended.stderr
    outcomes = {outcome for counts in summary["outcomes"].values() for outcome in counts}
    assert {"same", "told", "refused"} <= outcomes and len(summary["outcomes"]) == 64
