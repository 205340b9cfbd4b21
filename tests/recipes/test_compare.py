"""The grid of recipes/compare.yaml: for each corpus all its commands are ones that the verbs take."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from asr_kd.cli import COMMANDS, build_parser
from asr_kd.cli.options import read_options

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(ROOT.glob("recipes/*/compare.sh"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.parent.name)
def test_every_command_of_the_grid_is_understood(path):
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "ASR_KD_NO_SETUP": "1"}
    shown = subprocess.run(
        ["bash", str(path), "--dry-run", "--seeds", "2"], capture_output=True, text=True, timeout=120, env=environment
    )
    assert shown.returncode == 0, shown.stderr
    commands = [shlex.split(line)[1:] for line in shown.stdout.splitlines()]
    assert {"distill", "train", "label", "align", "tokens", "graph", "quantise", "tune", "decode"} == {
        words[0] for words in commands
    }
    outs = [(words[0], words[words.index("--out") + 1]) for words in commands]
    shared = [out for out in outs if "/shared/" in out[1]]
    assert len(set(outs)) == len(outs) - len(shared) // 2, "only what the seeds share is written twice"
    for words in commands:
        read_options(COMMANDS[words[0]].load()[0], build_parser(words).parse_args(words))
