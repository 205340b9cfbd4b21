"""The same labelling on a Ray cluster: the same bytes, also when all workers and then a whole node are lost."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import exactly_once
import pytest

pytest.importorskip("ray", reason="Ray is not installed: bash tools/setup.sh")
from ray.cluster_utils import Cluster

pytestmark = pytest.mark.slow

PATIENCE_S = 120


def wait_for(what, seconds=PATIENCE_S):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.05)


def actors():
    """Processes that are labelling for this cluster's nodes."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_text().startswith("ray::_Actor"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_lost_workers_and_a_lost_node_change_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_worker_niceness", "0")  # Ray's own 15 gets next to nothing of cores that others keep busy
    tars, teacher = exactly_once.make_input(tmp_path, shards=8, seconds_per_shard=60, hidden=192)
    local = exactly_once.start(tars, teacher, tmp_path / "local", workers=1)
    assert local.wait(PATIENCE_S) == 0
    wanted = exactly_once.digests(tmp_path / "local")

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    out = tmp_path / "ray"
    try:
        command = [sys.executable, "-m", "asr_kd.cli", "label", *map(str, tars), "--teacher", str(teacher)]
        command += ["--out", str(out), "--threads", "1", "--backend", "ray", "--ray-address", cluster.address]
        with subprocess.Popen([*command, "--workers", "2"], stderr=subprocess.PIPE, text=True) as job:
            wait_for(lambda: list(out.glob("*.parquet")))
            for actor in actors():  # not one: the one chosen might still be starting, with no shard to lose
                os.kill(actor, signal.SIGKILL)
            done = len(list(out.glob("*.parquet")))
            wait_for(lambda: len(list(out.glob("*.parquet"))) > done)
            assert job.poll() is None, "the job was over before a node could be lost"
            cluster.remove_node(nodes[1], allow_graceful=False)
            _, told = job.communicate(timeout=PATIENCE_S)
        assert job.returncode == 0, told
        assert "worker was lost" in told
    finally:
        cluster.shutdown()
    assert exactly_once.faults(out, wanted, tars) == []
