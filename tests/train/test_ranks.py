"""Training on several ranks: the same bits where that is promised, going on on others, stopping, and refusals."""

import os
import random
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from rank_kills import arguments, difference, kill, make_corpus, one_run, pid_of, start, wait_for_state

import asr_kd

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("ranks"))


def finished(process):
    out, told = process.communicate(timeout=300)
    assert process.returncode == 0, told
    return out + told


TREE = ("train.strategy.kind=tree", "train.checkpoint_every_minutes=0")


@pytest.fixture(scope="module")
def whole(corpus, tmp_path_factory):
    """What the tree gives on one rank that nobody disturbs."""
    out = tmp_path_factory.mktemp("ranks") / "whole"
    finished(start(corpus, out, 1, *TREE))
    return out


def test_a_tree_gives_the_same_bits_whatever_ranks_go_on(corpus, whole, tmp_path):
    _, wrong = one_run(corpus, tmp_path / "killed", (4, 2, 1), random.Random(0), *TREE)
    assert wrong == []
    assert difference(tmp_path / "killed", whole) is None


def test_a_killed_rank_is_started_again_by_torchrun_and_the_run_ends_with_the_same_bits(corpus, whole, tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    out = tmp_path / "out"
    process = start(corpus, out, 2, *TREE, torchrun=("--max-restarts", "2", "--master-port", port))
    wait_for_state(process, out / "state.pt")
    os.kill(pid_of(process, 0), signal.SIGKILL)
    told = finished(process)
    assert "no answer from rank 0 (" in told and told.count("going on at step") == 1
    assert difference(out, whole) is None


def test_a_rank_that_hangs_is_named_and_the_run_goes_on_with_the_same_bits(corpus, whole, tmp_path):
    out = tmp_path / "out"
    process = start(corpus, out, 2, *TREE, "train.rank_timeout_minutes=0.1")
    wait_for_state(process, out / "state.pt")
    hanging = pid_of(process, 1)
    os.kill(hanging, signal.SIGSTOP)
    told = next((line for line in process.stderr if "no answer" in line), "")
    os.kill(hanging, signal.SIGKILL)
    process.communicate(timeout=120)
    assert process.returncode == 1
    assert re.search(r"rank 0: no answer from rank 1 \(.*rank 0: step \d+, \d+ s ago; rank 1: step \d+, ", told), told
    assert not [path for path in out.rglob("*") if "tmp" in path.name]
    finished(start(corpus, out, 2, *TREE))
    assert difference(out, whole) is None


def test_a_signal_stops_all_ranks_at_one_step_and_residuals_go_on(corpus, tmp_path):
    out, options = tmp_path / "out", ("train.strategy={kind: threshold, threshold: 0.01}", "epochs=60")
    process = start(corpus, out, 2, *options)
    wait_for_state(process, out / "state.pt")  # all ranks are at work
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=120)
    assert "stopped at step" in told and (out / "state.pt").exists()
    assert {path.name[9:] for path in (out / "ranks").iterdir()} == {"-0000.pt", "-0001.pt"}
    process = start(corpus, out, 2, *options)
    told = iter(process.stderr.readline, "")
    assert any("going on at step" in line for line in told) and any("hours" in line or " dev " in line for line in told)
    kill(process)


def refused(corpus, out, before, *settings):
    """What two ranks say that a shell starts after `before`."""
    command = f"{before}; exec {shlex.join([sys.executable, *arguments(corpus, out)])} {' '.join(settings)}"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]
    ended = subprocess.run([*launcher, "sh", "-c", command], capture_output=True, text=True, timeout=300)
    assert ended.returncode == 1 and not list(out.glob("*"))
    return ended.stderr


def test_ranks_that_were_started_with_other_options_are_refused_with_both_named(corpus, tmp_path):
    told = refused(corpus, tmp_path / "out", "true", "train.seed=$RANK")
    assert "train.seed: rank 0 has 0, rank 1 has 1. Start all ranks with the same code, data and options." in told


def test_ranks_with_other_source_code_are_refused_with_the_file_named(corpus, tmp_path):
    copy = tmp_path / "copy/asr_kd"
    shutil.copytree(Path(asr_kd.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    with (copy / "train/losses.py").open("a") as f:
        f.write("# changed\n")
    told = refused(corpus, tmp_path / "out", f"test $RANK = 0 || cd {copy.parent}")
    assert re.search(r"asr_kd/train/losses\.py: rank 0 has \w{12}…, rank 1 has \w{12}…\. Start all ranks", told), told
