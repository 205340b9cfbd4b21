"""In one run and on the same audio, hours of audio per second of

  ceiling  the teacher's bare forward pass: features in memory, the best batch size and precision of those tried;
  job      `asr-kd label` as users run it: tar, FLAC, features, forward pass, selection, encoding, sidecars;
  plain    one utterance after the other in float32: decode, features, forward pass, top k.

They run in turn, round after round; the ratios are medians over the rounds. The start-up time of the job is measured on
one utterance per worker and subtracted, since real jobs run for hours; for the same reason, shards that the workers
cannot share evenly are cut anew. Without shards the audio is synthetic, without --teacher the weights are random:
enough for speed, but bytes per hour and kept probability mass need a trained teacher and real speech.

  asr-kd bench label --preset teacher-paper --minutes 10 --repeats 5
  asr-kd bench label exp/shards/unlabelled --teacher exp/teacher --out bench.json
"""

import contextlib
import io
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from asr_kd import __version__
from asr_kd.bench import forward
from asr_kd.bench.even_shards import even_shards
from asr_kd.bench.peak import flops_per_frame, peak_flops
from asr_kd.bench.runner import BenchOptions, check_counts, report, some_shards
from asr_kd.bench.synthetic import PAPER_CLASSES, one_utterance_each, random_teacher, synthetic_shards
from asr_kd.core.commands import command
from asr_kd.core.errors import PartFailed
from asr_kd.core.options import DEVICE_HELP, argument, option
from asr_kd.core.progress import SECONDS_PER_HOUR
from asr_kd.core.runtime import device, device_name, resolve_precision, set_threads
from asr_kd.core.terminal import say
from asr_kd.jobs.process_pool import workers_here
from asr_kd.label.label import LabelRun, label_shards
from asr_kd.label.posteriors import LabelConfig
from asr_kd.models.checkpoint import load_model, save_model
from asr_kd.shards.reader import Shard, open_shard
from asr_kd.targets.sidecar import sidecar_path
from asr_kd.targets.soft_targets import SoftTargets
from asr_kd.teachers.inference import Inference

MOST_START_UP = 0.5
"""Where start-up is a larger share of the job than this, too little audio was given to take it off."""
IMPORTS = "import asr_kd.label.label"


@dataclass(frozen=True)
class Round:
    """Hours of audio per second of each, measured one after the other."""

    ceiling: float
    job: float
    plain: float
    start_up_s: float


@dataclass(frozen=True, kw_only=True)
class BenchLabelRun(BenchOptions):
    """What `asr-kd bench label` is given."""

    shards: tuple[Path, ...] = argument("shards or folders of shards (default: synthetic audio)", ())
    teacher: Path | None = option(
        "a model's folder or .safetensors file (default: random weights of --preset)", None, metavar="MODEL"
    )
    preset: str = option("without --teacher: preset of the model", "teacher-paper")
    classes: int = option("with --preset: number of senones", PAPER_CLASSES, metavar="N")
    minutes: float = option("minutes of audio: synthetic, or at most of the shards", 10.0)
    repeats: int = option("rounds in which all three are measured", 3, metavar="N")
    workers: int | None = option(
        "worker processes of the labelling job (default: that of `asr-kd label`)", None, metavar="N"
    )
    threads: int | None = option(
        "CPU threads per operation in each worker (default: the cores, shared among the workers)", None, metavar="N"
    )
    device: str = option(DEVICE_HELP, "auto")
    precision: Literal["auto", "bf16", "float32"] = option(
        "of the forward pass in job and ceiling; auto measures both", "auto"
    )
    max_frames_per_batch: int | None = option(
        "frames in a batch of the job, padding included, at most (default: that of `asr-kd label`)", None, metavar="N"
    )
    batch_frames: tuple[int, ...] = option("batch sizes to try for the ceiling", (), metavar="FRAMES")
    out: Path | None = option("output file: the JSON, which `asr-kd plan --bench FILE` reads", None, metavar="FILE")
    json: bool = option("print only the line of JSON", False)


@command(is_file=True, keeps_config=False)
def bench_label(config: BenchLabelRun) -> None:
    """Measure and report."""
    check_counts(config, ("repeats", "workers", "threads"), ("minutes",))
    report(config, measure, describe)


def measure(config: BenchLabelRun, folder: Path) -> dict[str, Any]:
    """Everything that is reported. folder: an empty one for teacher, audio and sidecars."""
    on = device(config.device)
    workers = config.workers or workers_here(config.device, config.threads)
    threads = config.threads or max(1, set_threads(None) // workers)
    path, teacher_name = _teacher(config, folder)
    teacher = Inference(load_model(path), on, "float32")
    shards = some_shards(config.shards, config.minutes) if config.shards else synthetic_shards(folder, config.minutes)
    opened = even_shards([open_shard(tar) for tar in shards], workers, folder / "even")
    seconds = sum(shard.seconds for shard in opened)
    job = _Job(config, path, opened, folder, workers, threads)
    features = forward.read_features(opened, teacher)
    if not features:
        raise ValueError(f"{shards[0]}: holds no audio that can be read. Give other shards.")

    sizes = config.batch_frames or (forward.TRIED_FRAMES_GPU if on.type == "cuda" else forward.TRIED_FRAMES)
    precisions = forward.tried_precisions(config.precision, on)
    layouts = sorted({(workers, threads), (1, threads * workers)})
    best, tried = forward.find_best(teacher, features, sizes, precisions, layouts)
    batches = forward.padded(features, best.frames_per_batch, on)
    frames = sum(len(x_TF) for x_TF in features)
    process_start_s = _seconds_of([sys.executable, "-c", IMPORTS])
    job.warm_up()
    rounds = []
    for number in range(config.repeats):
        ceiling_s = forward.forward_seconds(teacher, batches, best.precision, best.threads, best.workers)
        start_up_s, whole_s, spared_s = job.run(number)
        plain_s = forward.plain_seconds(opened, teacher, job.k, threads * workers)
        hours = seconds / SECONDS_PER_HOUR
        job_hours = (seconds - spared_s) / SECONDS_PER_HOUR
        rounds.append(Round(hours / ceiling_s, job_hours / whole_s, hours / plain_s, start_up_s))
        say(f"round {number + 1} of {config.repeats}: job / ceiling {rounds[-1].job / rounds[-1].ceiling:.3f}")
    return {
        **summarise(rounds),
        **_sidecars(job.out, opened, teacher),
        "audio_hours": seconds / SECONDS_PER_HOUR,
        "utterances": sum(len(shard.entries) for shard in opened),
        "shards": len(opened),
        "audio": "given" if config.shards else "made up",
        "teacher": teacher_name,
        "weights": "given" if config.teacher else "random",
        "parameters": teacher.model.parameter_count,
        "classes": teacher.model.inventory.num_classes,
        "threads": threads,
        "workers": workers,
        "device": on.type,
        "device_name": device_name(on),
        "precision": job.precision,
        "frames_per_batch": job.frames_per_batch,
        "ceiling_frames_per_batch": best.frames_per_batch,
        "ceiling_precision": best.precision,
        "ceiling_workers": best.workers,
        "ceiling_threads": best.threads,
        "tried": tried,
        "process_start_s": process_start_s,
        "start_up_taken_off": job.start_up_taken_off,
        **_arithmetic(teacher, on, best, frames / seconds, rounds),
        "library": f"asr_kd {__version__}",
    }


def _teacher(config: BenchLabelRun, folder: Path) -> tuple[Path, str]:
    """The model that is given, or one of the preset with random weights, and its name in the report."""
    if config.teacher is not None:
        return config.teacher, str(config.teacher)
    save_model(folder / "teacher", random_teacher(config.preset, config.classes), {"weights": "random"})
    return folder / "teacher", config.preset


class _Job:
    """`asr-kd label` on all shards, and on one utterance a worker."""

    def __init__(
        self,
        config: BenchLabelRun,
        teacher: Path,
        shards: list[Shard],
        folder: Path,
        workers: int,
        threads: int,
    ) -> None:
        self.folder, self.out = folder, folder / "targets-0"
        self._shards = [Path(shard.path) for shard in shards]
        probe = one_utterance_each(shards, folder / "probe", workers)
        self._probe = probe
        self._probe_s = sum(open_shard(tar).seconds for tar in probe)
        self._config = LabelRun(
            shards=(),
            teacher=(str(teacher),),
            out=self.out,
            device=config.device,
            precision=config.precision,
            threads=threads,
            workers=workers,
            max_frames_per_batch=config.max_frames_per_batch or LabelConfig.max_frames_per_batch,
        )
        self.k, self.frames_per_batch = self._config.top_k, self._config.max_frames_per_batch
        self.precision = resolve_precision(device(config.device), config.precision)
        self.start_up_taken_off = True

    def warm_up(self) -> None:
        """Do what a machine does once, such as compiling the sidecars' coder, before anything is measured."""
        self._seconds(self._probe, self.folder / "warm-up")

    def run(self, number: int) -> tuple[float, float, float]:
        """Seconds of start-up, seconds of the job without it, and the seconds of audio that are not counted.

        The sidecars of round 0 stay in `out`.
        """
        start_up_s = self._seconds(self._probe, self.folder / f"probe-{number}")
        whole_s = self._seconds(self._shards, self.folder / f"targets-{number}")
        if start_up_s > MOST_START_UP * whole_s:
            if self.start_up_taken_off:
                say("start-up is most of the job and is not taken off: give more --minutes to measure the rate")
            self.start_up_taken_off = False
            return start_up_s, whole_s, 0.0
        return start_up_s, whole_s - start_up_s, self._probe_s

    def _seconds(self, shards: list[Path], out: Path) -> float:
        said = io.StringIO()
        start = time.perf_counter()
        try:
            with contextlib.redirect_stderr(said):
                label_shards(replace(self._config, shards=tuple(shards), out=out))
        except PartFailed as e:
            raise ValueError(f"asr-kd label: {e} {said.getvalue().strip()[-500:]}") from None
        return time.perf_counter() - start


def summarise(rounds: list[Round]) -> dict[str, Any]:
    """Medians over the rounds. Ratios are taken within each round: what slows the machine slows both sides of them."""
    ratio = [r.job / r.ceiling for r in rounds]
    ratio_plain = [r.job / r.plain for r in rounds]
    rate = statistics.median(r.job for r in rounds)
    return {
        "ratio": statistics.median(ratio),
        "ratio_spread": [min(ratio), max(ratio)],
        "ratio_plain": statistics.median(ratio_plain),
        "ratio_plain_spread": [min(ratio_plain), max(ratio_plain)],
        "hours_per_second": rate,
        "real_time_factor": 1 / (rate * SECONDS_PER_HOUR),
        "ceiling_hours_per_second": statistics.median(r.ceiling for r in rounds),
        "plain_hours_per_second": statistics.median(r.plain for r in rounds),
        "start_up_s": statistics.median(r.start_up_s for r in rounds),
        "rounds": len(rounds),
        "measured": [asdict(r) for r in rounds],
    }


def describe(result: dict[str, Any]) -> list[str]:
    """The result for a reader."""
    lines = [
        f"{result['teacher']} ({result['weights']} weights, {result['parameters'] / 1e6:.1f}M, {result['classes']} "
        f"classes) on {result['device_name']}, {result['workers']} x {result['threads']} threads",
        f"{result['audio_hours']:.3f} h of audio ({result['audio']}), "
        f"{result['utterances']} utterances, {result['rounds']} rounds",
    ]
    for name, key, how in (
        (
            "ceiling",
            "ceiling_",
            f"{result['ceiling_frames_per_batch']} frames, {result['ceiling_precision']}, "
            f"{result['ceiling_workers']} x {result['ceiling_threads']} threads",
        ),
        ("job", "", f"{result['frames_per_batch']} frames, {result['precision']}"),
        ("plain", "plain_", "1 utterance, float32"),
    ):
        rate = result[f"{key}hours_per_second"]
        lines.append(f"  {name:8} {rate:10.5f} h/s {rate * SECONDS_PER_HOUR:10.1f} x real time   {how}")
    for name, key in (("job / ceiling", "ratio"), ("job / plain", "ratio_plain")):
        low, high = result[f"{key}_spread"]
        lines.append(f"  {name:14} {result[key]:.3f}  ({low:.3f} to {high:.3f})")
    lines.append(f"  sidecars       {result['mb_per_hour']:.3f} MB per hour, {result['mass']:.4f} of the mass kept")
    lines.append(
        f"  start-up       {result['start_up_s']:.2f} s, after {result['process_start_s']:.2f} s of imports"
        + (" (both apart)" if result["start_up_taken_off"] else " (the first is in the job's rate: too little audio)")
    )
    if result["peak_share"] is not None:
        lines.append(
            f"  ceiling at {result['peak_share']:.1%} of the GPU's peak, job at {result['job_peak_share']:.1%}"
        )
    return lines


def _sidecars(out: Path, shards: list[Shard], teacher: Inference) -> dict[str, Any]:
    """Megabytes per hour of audio, and the mean probability of what is kept of a frame."""
    targets = SoftTargets(out, teacher.model.inventory)
    kept = [1 - np.exp(row.log_tail_T) for shard in shards for row in targets.load(shard) if row is not None]
    size = sum(sidecar_path(out, shard).stat().st_size for shard in shards)
    hours = sum(shard.seconds for shard in shards) / SECONDS_PER_HOUR
    return {"mb_per_hour": size / 1e6 / hours, "mass": float(np.concatenate(kept).mean())}


def _arithmetic(
    teacher: Inference, on: torch.device, best: forward.Setting, frames_per_second: float, rounds: list[Round]
) -> dict[str, Any]:
    """Shares of the GPU's peak; None for processors and for GPUs whose peak is not known."""
    flops = flops_per_frame(teacher.model)
    peak = peak_flops(device_name(on), best.precision) if on.type == "cuda" else None
    shares = [
        None if peak is None else rate * SECONDS_PER_HOUR * frames_per_second * flops / peak
        for rate in (statistics.median(r.ceiling for r in rounds), statistics.median(r.job for r in rounds))
    ]
    return {"flops_per_frame": flops, "peak_flops": peak, "peak_share": shares[0], "job_peak_share": shares[1]}


def _seconds_of(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start
