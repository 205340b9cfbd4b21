"""Training on several ranks: the same bits where that is promised, going on on others, stopping, and refusals."""

import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rank_kills import arguments, difference, kill, make_corpus, one_run, start

import asr_kd

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("ranks"))


def finished(process):
    out, told = process.communicate(timeout=300)
    assert process.returncode == 0, told
    return out + told


def test_a_tree_gives_the_same_bits_whatever_ranks_go_on(corpus, tmp_path):
    finished(start(corpus, tmp_path / "whole", 1, "train.strategy.kind=tree"))
    assert one_run(corpus, tmp_path / "killed", "tree", (4, 2, 1), random.Random(0)) == []
    assert difference(tmp_path / "killed", tmp_path / "whole") is None


def test_a_signal_stops_all_ranks_at_one_step_and_residuals_go_on(corpus, tmp_path):
    out, options = tmp_path / "out", ("train.strategy={kind: threshold, threshold: 0.01}", "epochs=60")
    process = start(corpus, out, 2, *options)
    while process.poll() is None and not (out / "state.pt").exists():  # all ranks are at work
        time.sleep(0.05)
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
