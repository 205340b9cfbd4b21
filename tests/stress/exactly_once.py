#!/usr/bin/env python3
"""Kills `asr-kd label` at random moments and starts it again: are the sidecars those of a run that nobody disturbed?

    .venv/bin/python tests/stress/exactly_once.py [--runs 100] [--workers 1 3] [--seed 0]

Every run labels the same shards into a new folder. At a moment drawn evenly from the time that a whole run takes, the
job (or one of its worker processes, or one of two jobs that share the folder) gets SIGKILL; a job that was killed is
started again until it ends by itself. Then each sidecar must have the bytes of the undisturbed one, each utterance must
be there once, and nothing else may lie about. Prints one line of JSON; exit code 1 when anything differed.
"""

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import soundfile
import torch

from asr_kd.corpora.manifest import Utterance
from asr_kd.frontend.fbank import FrontEndConfig
from asr_kd.inventory.senones import Senones
from asr_kd.models.acoustic import build_model
from asr_kd.models.checkpoint import save_model
from asr_kd.models.config import ModelConfig
from asr_kd.shards.reader import open_shard
from asr_kd.shards.writer import write_shards

SAMPLE_RATE = 16000
INVENTORY = Senones.monophone(["SIL", *"ABCDEFGHIJ"])
VICTIMS = ("job", "worker", "one of two jobs")


def make_input(
    folder: Path, shards: int, seconds_per_shard: float, hidden: int, seed: int = 0
) -> tuple[list[Path], Path]:
    """Shards of noise and a teacher of random weights that gives an opinion on each frame."""
    rng = np.random.default_rng(seed)
    utterances = []
    while sum(u.duration for u in utterances) < shards * seconds_per_shard:
        seconds, n = float(rng.uniform(0.5, 4)), len(utterances)
        soundfile.write(folder / f"{n}.wav", rng.normal(0, 0.1, int(SAMPLE_RATE * seconds)), SAMPLE_RATE)
        utterances.append(Utterance(id=f"u{n}", audio_filepath=str(folder / f"{n}.wav"), duration=seconds))
    tars = write_shards(utterances, folder / "shards", shard_seconds=seconds_per_shard)
    torch.manual_seed(seed)
    model = build_model(ModelConfig(num_layers=2, hidden_size=hidden, bidirectional=True), INVENTORY, FrontEndConfig())
    model.output.weight.data.mul_(20)
    save_model(folder / "teacher", model)
    return tars, folder / "teacher"


def digests(folder: Path) -> dict[str, str]:
    """Name and SHA-256 of each sidecar."""
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.glob("*.parquet"))}


def start(tars: Sequence[Path], teacher: Path, out: Path, workers: int, more: Sequence[str] = ()) -> subprocess.Popen:
    """A labelling job in a session of its own."""
    command = [sys.executable, "-m", "asr_kd.cli", "label", *map(str, tars), "--teacher", str(teacher)]
    command += ["--out", str(out), "--workers", str(workers), "--threads", "1", *more]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)


def children(pid: int) -> list[int]:
    """Processes below `pid`, the nearest first."""
    below = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            below.append(int(path.parent.name))
    return below + [grandchild for child in below for grandchild in children(child)]


def kill(job: subprocess.Popen, victim: str, rng: random.Random) -> None:
    """SIGKILL for the job itself, or for a worker (the last processes that it started)."""
    workers = children(job.pid)[1:]
    with suppress(ProcessLookupError):  # it was quicker
        os.kill(rng.choice(workers) if victim == "worker" and workers else job.pid, signal.SIGKILL)


def disturbed(
    tars: Sequence[Path], teacher: Path, out: Path, workers: int, victim: str, whole_s: float, rng: random.Random
) -> int:
    """Label into `out` with one SIGKILL (or one for each start that is still early enough); returns the kills."""
    kills = 0
    jobs = [start(tars, teacher, out, workers) for _ in range(2 if victim == "one of two jobs" else 1)]
    while jobs:
        if kills < 2:
            time.sleep(rng.uniform(0, whole_s))
            if jobs[0].poll() is None:
                kill(jobs[0], victim, rng)
                kills += 1
        unfinished = []
        for job in jobs:
            _, told = job.communicate(timeout=600)
            if job.returncode == -signal.SIGKILL:
                unfinished.append(job)
            elif job.returncode != 0:
                raise SystemExit(f"exit code {job.returncode}: {told.decode()}")
        jobs = [start(tars, teacher, out, workers) for _ in unfinished]
    return kills


def faults(out: Path, wanted: dict[str, str], tars: Sequence[Path]) -> list[str]:
    """What is wrong with a finished folder."""
    found = []
    if digests(out) != wanted:
        found.append("sidecars differ")
    ids = Counter(i for path in out.glob("*.parquet") for i in pq.read_table(path).column("id").to_pylist())
    given = [entry.id for tar in tars for entry in open_shard(tar).entries]
    if ids != Counter(given):
        found.append("utterances lost or doubled")
    if list((out / ".work/leases").glob("*")) and not any((out / ".work/leases").glob("*.tmp")):
        found.append("leases left")
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100, help="for each number of workers (default 100)")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shards", type=int, default=12)
    parser.add_argument("--seconds-per-shard", type=float, default=60)
    parser.add_argument("--hidden", type=int, default=160, help="cells of the teacher: how long a shard takes")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    summary: dict = {"shards": args.shards}
    with tempfile.TemporaryDirectory() as folder:
        tars, teacher = make_input(Path(folder), args.shards, args.seconds_per_shard, args.hidden)
        started = time.monotonic()
        first = start(tars, teacher, Path(folder, "whole"), 1)
        _, told = first.communicate()
        if first.returncode:
            raise SystemExit(told.decode())
        whole_s, wanted = time.monotonic() - started, digests(Path(folder, "whole"))
        for workers in args.workers:
            kills: Counter[str] = Counter()
            wrong: list[str] = []
            for run in range(args.runs):
                out, victim = Path(folder, f"{workers}-{run}"), VICTIMS[run % len(VICTIMS)]
                kills[victim] += disturbed(tars, teacher, out, workers, victim, whole_s, rng)
                found = faults(out, wanted, tars)
                wrong += [f"run {run} ({victim}): {fault}" for fault in found]
                print(f"{workers} workers, run {run}: {found or 'the same bytes'}", file=sys.stderr)
            summary[f"workers={workers}"] = {"runs": args.runs, "kills": dict(kills), "wrong": wrong}
    print(json.dumps(summary))
    raise SystemExit(any(entry["wrong"] for key, entry in summary.items() if key.startswith("workers")))


if __name__ == "__main__":
    main()
