"""Training on several ranks: the same bits where that is promised, going on on others, stopping, and refusals."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from rank_kills import arguments, difference, kill, make_corpus, pid_of, saved_at, start, wait_for_state

import asr_kd
from asr_kd.core.runtime import has_bf16

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("ranks"))


def finished(process):
    out, told = process.communicate(timeout=300)
    assert process.returncode == 0, told
    return out + told


TREE = ("train.strategy.kind=tree", "train.checkpoint_every_minutes=0")


def free_port():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return str(free.getsockname()[1])


def told_until(process, wanted, times=1):
    """What a process tells, up to the line with what is wanted."""
    told = ""
    while told.count(wanted) < times and (line := process.stderr.readline()):
        told += line
    assert told.count(wanted) == times, told
    return told


def test_a_tree_ends_with_the_same_bits_on_fewer_ranks_of_which_one_was_killed_and_one_hung(corpus, tmp_path):
    """Killed on 4 ranks; on 2 torchrun starts again what was killed, and who hangs is named; ended on 1."""
    out, state = tmp_path / "out", tmp_path / "out/state.pt"
    process = start(corpus, out, 4, *TREE)
    wait_for_state(process, state)
    kill(process)
    before = saved_at(state)
    again = ("--max-restarts", "1", "--master-port", free_port())
    process = start(corpus, out, 2, *TREE, "train.rank_timeout_minutes=0.1", torchrun=again)
    wait_for_state(process, state, than=before)
    os.kill(pid_of(process, 0), signal.SIGKILL)
    assert "no answer from rank 0 (" in told_until(process, "going on at step", times=2)
    wait_for_state(process, state, than=saved_at(state))
    hanging = pid_of(process, 1)
    os.kill(hanging, signal.SIGSTOP)
    told = told_until(process, "no answer from rank 1 (")
    os.kill(hanging, signal.SIGKILL)
    process.communicate(timeout=120)
    assert process.returncode == 1
    assert re.search(r"rank 0: no answer from rank 1 \(.*rank 0: step \d+, \d+ s ago; rank 1: step \d+, ", told), told
    assert not [path for path in out.rglob("*") if "tmp" in path.name]
    finished(start(corpus, out, 1, *TREE))
    finished(start(corpus, tmp_path / "whole", 1, *TREE))
    assert difference(out, tmp_path / "whole") is None


REFUSED_THEN_GOING_ON = """
import os, sys
from pathlib import Path

copy, out, *words = sys.argv[1:]
changed, rank = Path(copy, "asr_kd/train/losses.py"), os.environ["RANK"]
if rank == "1":
    sys.path.insert(0, copy)
from asr_kd.cli import main

refused = [out + "-refused" if word == out else word for word in words]
assert main(refused) == 2
if rank == "1":
    changed.write_text(changed.read_text().removesuffix("# changed"))
assert main([*refused, f"--seed={rank}"]) == 2
assert not os.path.exists(out + "-refused/metrics.jsonl")
assert main(words) == 0
"""


def test_ranks_stop_at_one_step_and_go_on_but_not_with_other_code_or_options(corpus, tmp_path):
    out, options = tmp_path / "out", ("train.strategy={kind: threshold, threshold: 0.01}", "epochs=12")
    process = start(corpus, out, 2, *options)
    wait_for_state(process, out / "state.pt")  # all ranks are at work
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=120)
    assert "stopped at step" in told and (out / "state.pt").exists()
    assert {path.name[9:] for path in (out / "ranks").iterdir()} == {"-0000.pt", "-0001.pt"}

    copy = tmp_path / "copy/asr_kd"
    shutil.copytree(Path(asr_kd.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    with (copy / "train/losses.py").open("a") as f:
        f.write("# changed")
    (tmp_path / "ranks.py").write_text(REFUSED_THEN_GOING_ON)
    script = [str(tmp_path / "ranks.py"), str(copy.parent), str(out), *arguments(corpus, out)[2:], *options]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    ended = subprocess.run([*launcher, *script], capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    assert re.search(r"asr_kd/train/losses\.py: rank 0 has \w{12}…, rank 1 has \w{12}…\. Start all ranks", ended.stderr)
    same = "Start all ranks with the same code, data and options."
    assert f"train.seed: rank 0 has 0, rank 1 has 1. {same}" in ended.stderr
    assert ended.stderr.count("going on at step") == 1


@pytest.mark.skipif(not has_bf16(torch.device("cpu")), reason="this processor has no bfloat16 kernels")
def test_two_ranks_learn_in_bf16(corpus, tmp_path):
    conformer = "model={encoder: conformer, num_layers: 1, hidden_size: 16, bidirectional: true}"
    finished(start(corpus, tmp_path, 2, conformer, "train.precision=bf16", "train.optim.lr=0.01"))
    losses = [json.loads(line)["loss"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert losses[-1] < 0.5 * losses[0]
