"""The grid of recipes/compare.yaml: for each corpus all its commands are ones that the verbs take."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from asr_kd.cli import build_parser
from asr_kd.core.config import load_config
from asr_kd.distill.distill import DistillConfig
from asr_kd.train.train import TrainRun

ROOT = Path(__file__).resolve().parent.parent
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
        args = build_parser(words[0]).parse_args(words)
        if words[0] in ("distill", "train"):
            load_config(DistillConfig if words[0] == "distill" else TrainRun, ROOT / args.config, args.set)
