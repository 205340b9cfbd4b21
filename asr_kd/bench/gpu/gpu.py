"""Measures one GPU in one run: whether its results agree with a CPU, and how fast it labels and trains.

Without shards, audio is synthetic, with the lengths of speechocean762. `bash tools/gpu.sh` runs this on a machine
without registries; docs/gpu.md says how.

  asr-kd bench gpu exp/shards/unlabelled --out gpu.json
  asr-kd bench gpu --tiny --device cpu        tries the program itself, with small models and seconds of audio
"""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from asr_kd import __version__
from asr_kd.bench.gpu import labelling, training
from asr_kd.bench.gpu.agreement import agreement
from asr_kd.bench.gpu.machine import machine
from asr_kd.bench.gpu.ranks import ranks
from asr_kd.bench.gpu.sections import Report, Setup, run_section
from asr_kd.bench.runner import BenchOptions, cores, show_figures
from asr_kd.bench.synthetic import synthetic_shards
from asr_kd.core.commands import command
from asr_kd.core.errors import PartFailed
from asr_kd.core.files import write_json
from asr_kd.core.options import argument, option
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
    "ranks": ranks,
    "lattices": labelling.lattices,
    "lstm_kernels": labelling.lstm_kernels,
}
SYNTHETIC_MINUTES, SYNTHETIC_SHARD_SECONDS = 60.0, 120.0
TINY_MINUTES, TINY_SHARD_SECONDS = 1.0, 15.0


@dataclass(frozen=True, kw_only=True)
class BenchGpuRun(BenchOptions):
    """What `asr-kd bench gpu` is given."""

    shards: tuple[Path, ...] = argument("shards or folders of shards (default: synthetic audio)", ())
    device: str = option("cuda, cuda:1, ..., or cpu with --tiny", "cuda")
    teacher: Path | None = option("a trained senone model, for labelling through lattices", None, metavar="MODEL")
    graph: Path | None = option("with --teacher: its decoding graph", None, metavar="DIR")
    sections: tuple[str, ...] = option("sections to run (default: all)", (), choices=SECTIONS)
    minutes: float = option("start no section after so many minutes", 8.0)
    tiny: bool = option("small models and seconds of audio: tries the program itself", False)
    out: Path | None = option("output file: the figures as JSON", None, metavar="FILE")


@command(is_file=True, keeps_config=False)
def bench_gpu(config: BenchGpuRun) -> None:
    """Measure all sections; the last line of stdout is JSON. Exit code 1 where something is not as it must be."""
    started = time.monotonic()
    on = device(config.device)
    if on.type == "cpu" and not config.tiny:
        raise ValueError(f"--device {config.device}: the full run needs a GPU. --tiny runs on a CPU.")
    if (config.teacher is None) != (config.graph is None):
        raise ValueError("--teacher and --graph: give both, or neither")
    report = Report()
    with tempfile.TemporaryDirectory(prefix="asr-kd-gpu-") as name:
        folder = Path(name)
        minutes, seconds = (
            (TINY_MINUTES, TINY_SHARD_SECONDS)
            if config.tiny
            else (
                SYNTHETIC_MINUTES,
                SYNTHETIC_SHARD_SECONDS,
            )
        )
        paths = find_shards(*config.shards) if config.shards else synthetic_shards(folder / "audio", minutes, seconds)
        shards = [open_shard(path) for path in paths]
        if len(shards) < 2:
            raise ValueError(f"{config.shards[0]}: one shard; at least two are needed, training keeps one to test on")
        setup = Setup(
            on, folder, shards, config.tiny, cores(), config.teacher, config.graph, started + 60 * config.minutes
        )
        for section in config.sections or SECTIONS:
            torch.manual_seed(time.time_ns() % 2**32)  # fresh inputs for every check
            run_section(section, setup, report, SECTIONS[section])
    figures = report.figures | {
        "audio_hours": setup.audio_hours,
        "audio": "given" if config.shards else "synthetic",
        "tiny": config.tiny,
        "wrong": report.wrong,
        "seconds": round(time.monotonic() - started, 1),
        "library": f"asr_kd {__version__}",
    }
    if config.out is not None:
        write_json(config.out, figures)
    show(*report.lines)
    show_figures(_summary(figures), config)
    if report.wrong:
        raise PartFailed()


def _summary(figures: dict[str, Any]) -> dict[str, Any]:
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
