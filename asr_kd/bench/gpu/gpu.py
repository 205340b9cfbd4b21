"""Everything that one GPU shows, in one run: whether it computes what a CPU does, how fast it labels and trains.

Without shards, audio is synthetic, with the lengths of speechocean762. `bash tools/gpu.sh` runs this on a machine
without registries; docs/gpu.md says how.

  asr-kd bench gpu exp/shards/unlabelled --out gpu.json
  asr-kd bench gpu --tiny --device cpu        tries the program itself, with small models and seconds of audio
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import torch

from asr_kd import __version__
from asr_kd.bench.gpu import labelling, training
from asr_kd.bench.gpu.agreement import agreement
from asr_kd.bench.gpu.machine import machine
from asr_kd.bench.gpu.sections import Report, Setup, run_section
from asr_kd.bench.synthetic import synthetic_shards
from asr_kd.core.files import write_json
from asr_kd.core.runtime import device
from asr_kd.core.terminal import show
from asr_kd.shards.reader import find_shards, open_shard

SECTIONS = {
    "machine": machine,
    "agreement": agreement,
    "same_bytes": labelling.same_bytes,
    "resume": training.resume,
    "stages": labelling.stages,
    "labelling": labelling.labelling,
    "training": training.training,
    "lattices": labelling.lattices,
    "lstm_kernels": labelling.lstm_kernels,
}
SYNTHETIC_MINUTES, SYNTHETIC_SHARD_SECONDS = 60.0, 120.0
TINY_MINUTES, TINY_SHARD_SECONDS = 1.0, 15.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `asr-kd bench gpu`."""
    add = parser.add_argument
    add("shards", nargs="*", type=Path, help="shards or folders of shards (default: synthetic audio)")
    add("--device", default="cuda", help="cuda, cuda:1, ..., or cpu with --tiny (default: %(default)s)")
    add("--teacher", type=Path, metavar="MODEL", help="a trained senone model, for labelling through lattices")
    add("--graph", type=Path, metavar="DIR", help="the decoding graph of that model")
    add("--sections", nargs="+", choices=tuple(SECTIONS), help="measure these alone (default: all)")
    add("--minutes", type=float, default=8.0, help="begin no section after so many (default: %(default)g)")
    add("--tiny", action="store_true", help="small models and seconds of audio: tries the program itself")
    add("--out", type=Path, metavar="FILE", help="write the figures there as JSON")


def run(args: argparse.Namespace) -> int:
    """Measure all sections; the last line of stdout is JSON. Exit code 1 where something is not as it must be."""
    started = time.monotonic()
    on = device(args.device)
    if on.type == "cpu" and not args.tiny:
        raise ValueError(f"--device {args.device}: the full run needs a GPU. --tiny runs on a CPU.")
    if (args.teacher is None) != (args.graph is None):
        raise ValueError("--teacher and --graph: give both, or neither")
    report = Report()
    with tempfile.TemporaryDirectory(prefix="asr-kd-gpu-") as name:
        folder = Path(name)
        minutes, seconds = (
            (TINY_MINUTES, TINY_SHARD_SECONDS)
            if args.tiny
            else (
                SYNTHETIC_MINUTES,
                SYNTHETIC_SHARD_SECONDS,
            )
        )
        paths = find_shards(*args.shards) if args.shards else synthetic_shards(folder / "audio", minutes, seconds)
        shards = [open_shard(path) for path in paths]
        if len(shards) < 2:
            raise ValueError(f"{args.shards[0]}: one shard; at least two are needed, training keeps one to test on")
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        setup = Setup(on, folder, shards, args.tiny, cores, args.teacher, args.graph, started + 60 * args.minutes)
        for section in args.sections or SECTIONS:
            torch.manual_seed(time.time_ns() % 2**32)  # fresh inputs for every check
            run_section(section, setup, report, SECTIONS[section])
    figures = report.figures | {
        "audio_hours": setup.audio_hours,
        "audio": "given" if args.shards else "synthetic",
        "tiny": args.tiny,
        "wrong": report.wrong,
        "seconds": round(time.monotonic() - started, 1),
        "library": f"asr_kd {__version__}",
    }
    if args.out is not None:
        write_json(args.out, figures)
    show(*report.lines)
    show(json.dumps(_summary(figures)))
    return 1 if report.wrong else 0


def _summary(figures: dict) -> dict:
    """The figures that are compared with bars, for one line."""
    label, train = figures.get("labelling", {}), figures.get("training", {})
    loops = [max(f["ratio_by_workers"].values()) for f in train.values() if isinstance(f, dict)]
    ratios = [f["ratio"] for f in label.values() if isinstance(f, dict)]
    return {
        "device": figures.get("machine", {}).get("name"),
        "label_ratio": max(ratios, default=None),
        "train_ratio": min(loops, default=None),
        "wrong": figures["wrong"],
        "seconds": figures["seconds"],
    }
