"""Stop training on one rank by SIGTERM at random steps, go on each time, and compare with a run that nobody stopped:

    python tests/stress/cuts.py --cuts 20 [--seed 0] [--only NAME ...]

Covers `train` with cross-entropy (also with two loader workers) and with CTC, and `distill` with stored targets of
senones and of tokens, with a teacher that is run beside, and in the modes mutual, mean_teacher and snapshot, where all
kinds of losses are summed. Each goes through the function of the command, in this process; the generators of random
numbers are disturbed before it goes on. State, metrics without times and kept models must have the same bits. Prints
one line of JSON; exit code 1 when anything differed.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rank_kills import make_corpus
from run_records import first_difference, record
from torch.optim.optimizer import register_optimizer_step_post_hook

from asr_kd.core.config import load_config
from asr_kd.distill.distill import DistillRun, distill_student
from asr_kd.frontend.fbank import FrontEndConfig
from asr_kd.inventory.inventory import Inventory
from asr_kd.inventory.registry import load_inventory
from asr_kd.inventory.tokens import Tokens
from asr_kd.jobs.job import Worker
from asr_kd.label.label_job import LabelJob
from asr_kd.models.acoustic import build_model
from asr_kd.models.checkpoint import save_model
from asr_kd.models.config import ModelConfig
from asr_kd.shards.reader import find_shards
from asr_kd.train.train import TrainRun, train_model

Run = Callable[[Path], None]
"""Trains into a folder, to the end of the schedule, or goes on there."""

SETTINGS = (
    "model={num_layers: 1, hidden_size: 16, dropout: 0.1}",
    "frontend={mel_bins: 20}",
    "train={max_frames_per_batch: 100, num_workers: 0, precision: float32, device: cpu, ema_decay: 0.9}",
)
SCHEDULE = "schedule={unlabelled_sub_epochs: 2, labelled_every: 1, labelled_fraction: 0.5}"
SUM = (
    "model.num_layers=2",
    "losses=[{kind: kd, weight: 0.5, source: online}, {kind: hidden_states, weight: 0.2, layers: {layer0: layer0}}, "
    "{kind: spkd, weight: 0.2}, {kind: rkd, weight: 0.2}, {kind: fsp, weight: 0.2}, "
    "{kind: self_distillation, weight: 0.2}]",
)


def label(folder: Path, name: str, shards: Path, inventory: Inventory) -> dict[str, Any]:
    """A teacher with random weights and its soft targets, as options of `distill`."""
    torch.manual_seed(1)
    teacher = build_model(ModelConfig(num_layers=2, hidden_size=8), inventory, FrontEndConfig(mel_bins=20))
    save_model(folder / f"{name}-teacher", teacher)
    targets = folder / f"{name}-targets"
    job = LabelJob((str(folder / f"{name}-teacher"),), str(targets), device="cpu", threads=1)
    waiting = map(str, find_shards(shards))
    Worker(job.processor(), lambda event: None).run(lambda: next(waiting, None))
    return {"targets": targets, "teacher": [folder / f"{name}-teacher"]}


def make_cases(folder: Path, epochs: int = 2) -> dict[str, Run]:
    """Corpora and teachers, and by name what is trained on them.

    epochs: passes over the data; of `train`, twice as many.
    """
    labelled = make_corpus(folder / "labelled", utterances=22)
    unlabelled = make_corpus(folder / "unlabelled", utterances=16, seed=1) / "shards"
    shards = {"threads": 1, "dev": [labelled / "shards/shard-000000.tar"]}
    frames = {"alignments": [labelled / "align"]}
    letters = Tokens.characters(["AH", "EE", "OH"])
    letters.save(folder / "tokens/inventory.json")
    tokens = {"tokens": folder / "tokens"}
    of_frames = label(folder, "frames", unlabelled, load_inventory(labelled / "align"))
    of_tokens = label(folder, "tokens", unlabelled, letters)
    beside = {"teacher": of_frames["teacher"]}

    def run(command: Callable[[Any], None], kind: type, fields: dict[str, Any], *settings: str) -> Run:
        return lambda out: command(load_config(kind, shards | fields | {"out": out}, [*SETTINGS, *settings]))

    train = partial(run, train_model, TrainRun)
    student = partial(run, distill_student, DistillRun)
    train_epochs, schedule = f"epochs={2 * epochs}", (SCHEDULE, f"schedule.epochs={epochs}")
    shards_of = {"shards": [labelled / "shards"]}
    both = {"unlabelled": [unlabelled], "labelled": [labelled / "shards"]}
    return {
        "train": train(shards_of | frames, train_epochs),
        "train, workers": train(shards_of | frames, train_epochs, "train.num_workers=2"),
        "train, ctc": train(shards_of | tokens, train_epochs),
        "distill": student(both | frames | of_frames, *schedule),
        "distill, ctc": student(both | tokens | of_tokens, *schedule),
        "online": student(both | frames | beside, *schedule, *SUM),
        "mutual": student(both | frames | {"mode": "mutual"}, *schedule, *SUM),
        "mean_teacher": student(both | frames | {"mode": "mean_teacher"}, *schedule, *SUM),
        "snapshot": student(both | frames | {"mode": "snapshot"}, *schedule, *SUM),
    }


@contextmanager
def counted_steps(signalled: int | None = None):
    """The list of the steps in the block, each appended as it ends; in that one this process gets SIGTERM."""
    steps: list[int] = []

    def count(*_: Any) -> None:
        steps.append(len(steps) + 1)
        if len(steps) == signalled:
            os.kill(os.getpid(), signal.SIGTERM)

    handle = register_optimizer_step_post_hook(count)
    try:
        yield steps
    finally:
        handle.remove()


def disturb(seed: int) -> None:
    """Leave the generators of random numbers as no run would."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def cut_run(run: Run, out: Path, steps: list[int]) -> str | None:
    """A run that is stopped at these steps; what went wrong."""
    done = 0
    for step in steps:
        disturb(step)
        try:
            with counted_steps(signalled=step - done):
                run(out)
            return f"not stopped at step {step}"
        except KeyboardInterrupt:
            done = step
    disturb(0)
    run(out)
    return None


def compare(run: Run, folder: Path, cuts: int, rng: random.Random) -> dict[str, Any]:
    """The steps of a run, those that it was stopped at the second time, and what went wrong or differed."""
    with counted_steps() as steps:
        run(folder / "whole")
    stops = sorted(rng.sample(steps[:-1], cuts))
    wrong = cut_run(run, folder / "cut", stops)
    wrong = wrong or first_difference(*(record(folder / kind) for kind in ("whole", "cut")))
    return {"steps": len(steps), "cuts": stops, "wrong": wrong}


def stress(folder: Path, cuts: int, seed: int, only: list[str] | None) -> dict[str, dict]:
    """By the name of a case, what `compare` gives."""
    cases = make_cases(folder)
    summary: dict[str, dict] = {}
    for name in only or cases:
        started = time.monotonic()
        summary[name] = compare(cases[name], folder / name, cuts, random.Random(f"{seed} {name}"))
        print(f"{name}: {summary[name]}, {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return summary


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cuts", type=int, default=20, help="of each run (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the steps (default: %(default)s)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="of these cases (default: all)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        summary = stress(Path(folder), args.cuts, args.seed, args.only)
    print(json.dumps(summary))
    return int(any(entry["wrong"] for entry in summary.values()))


if __name__ == "__main__":
    sys.exit(main())
