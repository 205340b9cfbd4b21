"""Seconds of the bare forward pass of each model over the same audio, features in memory: the real-time factor, and
how many times as fast as the first each is. The first is the teacher where one is named.

Models run in turn, round after round; the ratios are medians over the rounds. The default, --batch 1 on one CPU
thread, is that of a recogniser; labelling uses larger batches. A MODEL may be a preset; its random weights are as fast
as trained ones.

  asr-kd bench model exp/student exp/student_int8 --teacher exp/teacher
  asr-kd bench model student-paper --teacher teacher-paper --seconds 20 --batch 16 --json
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from asr_kd import __version__
from asr_kd.bench import forward
from asr_kd.bench.runner import BenchOptions, check_counts, report
from asr_kd.bench.synthetic import PAPER_CLASSES, random_teacher, synthetic_shards
from asr_kd.core.commands import command
from asr_kd.core.options import DEVICE_HELP, argument, option
from asr_kd.core.runtime import device, device_name, resolve_precision
from asr_kd.core.terminal import say
from asr_kd.models.checkpoint import load_model, save_model
from asr_kd.models.config import PRESETS
from asr_kd.models.size import ModelSize, model_size
from asr_kd.shards.reader import Shard, find_shards, open_shard
from asr_kd.teachers.inference import Inference

MEGABYTE = 1e6


Batches = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Candidate:
    """A model that is measured."""

    name: str
    precision: str
    inference: Inference
    size: ModelSize
    batches: list[tuple[Tensor, Tensor]]


@dataclass(frozen=True, kw_only=True)
class BenchModelRun(BenchOptions):
    """What `asr-kd bench model` is given."""

    models: tuple[str, ...] = argument("a model's folder or .safetensors file, or a preset", metavar="MODEL")
    teacher: str | None = option(
        "reference model that the others are compared with (default: the first MODEL)", None, metavar="MODEL"
    )
    classes: int = option("number of senones of presets", PAPER_CLASSES, metavar="N")
    shards: tuple[Path, ...] = option("shards or folders of shards (default: synthetic audio)", (), metavar="SHARDS")
    seconds: float = option("seconds of audio: synthetic, or at most of the shards", 60.0)
    batch: int = option("utterances in a batch", 1, metavar="N")
    repeats: int = option("rounds in which all are measured", 5, metavar="N")
    threads: int = option("CPU threads per operation", 1, metavar="N")
    device: str = option(DEVICE_HELP, "cpu")
    precision: Literal["auto", "bf16", "float32", "int8"] = option(
        "of the forward pass; auto: bf16 where the device is fast in it, else float32; int8: for "
        "quantised models, the others run as with auto",
        "auto",
    )
    out: Path | None = option("output file: the JSON", None, metavar="FILE")
    json: bool = option("print only the line of JSON", False)


@command(is_file=True, keeps_config=False)
def bench_model(config: BenchModelRun) -> None:
    """Measure and report."""
    check_counts(config, ("batch", "repeats", "threads"), ("seconds",))
    report(config, measure, describe)


def measure(config: BenchModelRun, folder: Path) -> dict[str, Any]:
    """Everything that is reported. folder: an empty one for made-up audio and weights."""
    on = device(config.device)
    names = [*([] if config.teacher is None else [config.teacher]), *config.models]
    given = [_path(name, folder, config.classes) for name in names]
    shards = find_shards(*config.shards) if config.shards else synthetic_shards(folder / "audio", config.seconds / 60)
    opened = [open_shard(tar) for tar in shards]
    features: dict[Any, list[Tensor]] = {}
    contenders: list[Candidate] = []
    for name, path in zip(names, given, strict=True):
        model = load_model(path)
        has_codes = model.config.weight_dtype == "int8"
        precision = resolve_precision(on, "auto" if config.precision == "int8" and not has_codes else config.precision)
        inference = Inference(model, on, precision)
        frontend = inference.model.frontend
        if frontend not in features:
            features[frontend] = _features(opened, inference, config.seconds)
        batches = in_batches(features[frontend], config.batch, on)
        contenders.append(Candidate(name, precision, inference, model_size(path), batches))
    shift_s = contenders[0].inference.frontend.frame_shift_s
    seconds = sum(int(frames_B.sum()) for _, frames_B in contenders[0].batches) * shift_s
    seconds_of: Callable[[Candidate, Batches], float] = lambda c, batches: forward.forward_seconds(
        c.inference, batches, c.precision, config.threads
    )
    for contender in contenders:
        seconds_of(contender, contender.batches[:1])  # what is only done once is done now
    rounds: list[list[float]] = []
    for number in range(config.repeats):
        rounds.append([seconds_of(contender, contender.batches) for contender in contenders])
        say(f"round {number + 1} of {config.repeats}: {' '.join(f'{t / seconds:.5f}' for t in rounds[-1])} x real time")
    return {
        "models": [
            {"model": c.name, "precision": c.precision, **asdict(c.size), **speed}
            for c, speed in zip(contenders, summarise(rounds, seconds), strict=True)
        ],
        "batch": config.batch,
        "threads": config.threads,
        "device": on.type,
        "device_name": device_name(on),
        "audio": "given" if config.shards else "made up",
        "audio_seconds": seconds,
        "utterances": sum(len(frames_B) for _, frames_B in contenders[0].batches),
        "rounds": config.repeats,
        "measured_s": rounds,
        "library": f"asr_kd {__version__}",
    }


def in_batches(features: Sequence[Tensor], batch: int, on: torch.device) -> list[tuple[Tensor, Tensor]]:
    """Batches (B, T, F) of up to so many utterances, and their frames (B,). features: each (T, F), longest first."""
    groups = [features[i : i + batch] for i in range(0, len(features), batch)]
    return [
        (
            torch.nn.utils.rnn.pad_sequence(list(group), batch_first=True).to(on),
            torch.tensor([len(x) for x in group], device=on),
        )
        for group in groups
    ]


def summarise(rounds: Sequence[Sequence[float]], seconds: float) -> list[dict[str, Any]]:
    """Of each model its real-time factor, the median over the rounds, and how many times as fast as the first it is.

    rounds: seconds that each model took.  seconds: of audio.  Ratios are taken within each round: what slows the
    machine slows both sides of them.
    """
    found = []
    for taken in zip(*rounds, strict=True):
        ratios = [round_[0] / own for round_, own in zip(rounds, taken, strict=True)]
        found.append(
            {
                "real_time_factor": statistics.median(taken) / seconds,
                "times_as_fast": statistics.median(ratios),
                "times_as_fast_spread": [min(ratios), max(ratios)],
            }
        )
    return found


def describe(result: dict[str, Any]) -> list[str]:
    """The result for a reader."""
    lines = [
        f"{result['audio_seconds']:.1f} s of audio ({result['audio']}), {result['utterances']} utterances, "
        f"{result['batch']} at a time; {result['device_name']}, threads: {result['threads']}, "
        f"{result['rounds']} rounds",
        f"  {'model':32} {'params':>9} {'on disk':>10} {'precision':>9} {'RTF':>9}   times as fast as the first",
    ]
    for model in result["models"]:
        low, high = model["times_as_fast_spread"]
        lines.append(
            f"  {model['model'][-32:]:32} {model['parameters'] / 1e6:8.2f}M {model['bytes'] / MEGABYTE:7.2f} MB "
            f"{model['precision']:>9} {model['real_time_factor']:9.5f}   "
            f"{model['times_as_fast']:.2f}  ({low:.2f} to {high:.2f})"
        )
    return lines


def _path(name: str, folder: Path, classes: int) -> Path:
    """Where the model is; a preset gets random weights in `folder`."""
    if name not in PRESETS:
        if not Path(name).exists():
            raise ValueError(f"{name}: no model there and no preset ({', '.join(PRESETS)})")
        return Path(name)
    path = folder / "models" / name
    save_model(path, random_teacher(name, classes), {"weights": "random"})
    return path


def _features(shards: Sequence[Shard], model: Inference, seconds: float) -> list[Tensor]:
    """The front end's output (T, F) of the first utterances that last so many seconds together, longest first."""
    features: list[Tensor] = []
    held_s = 0.0
    for wave_N in forward.readable(shards, model):
        features.append(model.features([wave_N])[0][0])
        held_s += len(features[-1]) * model.frontend.frame_shift_s
        if held_s >= seconds:
            break
    if not features:
        raise ValueError(f"{shards[0].path}: holds no audio that can be read. Give other shards.")
    return sorted(features, key=len, reverse=True)
