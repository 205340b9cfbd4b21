"""In one run and on the same batches, hours of audio per second of

  bare    forward and backward pass on ready tensors, and the same with an update of the weights in each step;
  loop    the training loop of `asr-kd train`: loader workers, features, targets, update, running average, its records.

Each is measured on every number of ranks and with every strategy asked for, in processes of their own (several ranks by
torchrun), in turn, round after round; the ratios are medians over the rounds. The first steps, held-out tests and
checkpoints are not measured. A rank has a lane, so that more ranks are larger steps. Without shards, audio and
alignments are synthetic. What ranks send is counted: with random weights, that of `threshold` is a young model's.

  asr-kd bench train --ranks 1 2 --strategies allreduce bmuf --out bench.json
  asr-kd bench train exp/shards/labelled --alignments exp/align --preset student-small --json
"""

import re
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

from asr_kd import __version__
from asr_kd.bench.runner import BenchOptions, check_counts, cores, report, some_shards
from asr_kd.bench.synthetic import PAPER_CLASSES, made_up_inventory, synthetic_alignments, synthetic_shards
from asr_kd.bench.train_rank import RankResult, RankRun
from asr_kd.core.commands import command
from asr_kd.core.config import load_config, to_dict
from asr_kd.core.files import write_json
from asr_kd.core.options import argument, option
from asr_kd.core.progress import SECONDS_PER_HOUR
from asr_kd.core.runtime import device, device_name, training_precision
from asr_kd.core.terminal import say
from asr_kd.models.config import PRESETS
from asr_kd.train.config import TrainConfig
from asr_kd.train.strategies.config import StrategyConfig

WHAT = "asr-kd bench train"
"""In the JSON, for those who read it."""
STRATEGIES: tuple[str, ...] = get_args(get_type_hints(StrategyConfig)["kind"])


@dataclass(frozen=True, kw_only=True)
class BenchTrainRun(BenchOptions):
    """What `asr-kd bench train` is given."""

    shards: tuple[Path, ...] = argument("labelled shards or folders of shards (default: synthetic audio)", ())
    alignments: tuple[Path, ...] = option("with shards: their alignments (`asr-kd align`)", (), metavar="DIR")
    preset: str = option("preset of the model, with random weights", "student-paper")
    classes: int = option("without --alignments: number of senones", PAPER_CLASSES, metavar="N")
    minutes: float = option("minutes of audio of each rank: synthetic, or at most of the shards", 6.0)
    ranks: tuple[int, ...] = option("numbers of ranks on this machine", (1, 2), metavar="N")
    strategies: tuple[str, ...] = option(
        "of several ranks; one rank has nothing to send and takes the first", STRATEGIES, choices=STRATEGIES
    )
    repeats: int = option("rounds in which all are measured", 3, metavar="N")
    threads: int | None = option(
        "CPU threads per operation of each rank (default: the cores, shared among the ranks)", None, metavar="N"
    )
    train: TrainConfig = field(default_factory=TrainConfig)
    """As of `asr-kd train`; strategy.kind and lanes are those that are measured."""
    out: Path | None = option("output file: the JSON", None, metavar="FILE")
    json: bool = option("print only the line of JSON", False)

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise ValueError(f"--preset {self.preset}: known are {', '.join(PRESETS)}")
        if not self.ranks or min(self.ranks) < 1:
            raise ValueError(f"--ranks {' '.join(map(str, self.ranks))}: at least 1 is needed")
        if not self.strategies:
            raise ValueError("--strategies: name one or more")
        if bool(self.shards) != bool(self.alignments):
            raise ValueError("--alignments: given with shards, and only then")


@command(is_file=True, keeps_config=False)
def bench_train(config: BenchTrainRun) -> None:
    """Measure and report."""
    check_counts(config, ("repeats", "threads"), ("minutes",))
    report(config, measure, describe)


def measure(config: BenchTrainRun, folder: Path) -> dict[str, Any]:
    """Everything that is reported. folder: an empty one for audio, alignments and runs."""
    shards, alignments = _data(config, folder)
    kinds = [(n, kind) for n in sorted(set(config.ranks)) for kind in config.strategies[: None if n > 1 else 1]]
    rounds: dict[tuple[int, str], list[RankResult]] = {key: [] for key in kinds}
    for number in range(config.repeats):
        for ranks, kind in kinds:
            place = folder / f"{number}-{ranks}-{kind}"
            measured = _measure(config, place, shards[ranks], alignments, ranks, kind)
            rounds[ranks, kind].append(measured)
            ratio = measured.bare_step_s / measured.step_s
            say(f"round {number + 1} of {config.repeats}: {ranks} ranks, {kind}: loop / bare {ratio:.3f}")
    on = device(config.train.device)
    runs = [
        {"ranks": n, "strategy": kind, "lanes": n, "threads": _threads(config, n), **summarise(measured)}
        for (n, kind), measured in rounds.items()
    ]
    ratios = ("ratio", "ratio_spread", "ratio_with_update", "ratio_with_update_spread")
    return {
        "what": WHAT,
        **{key: runs[0][key] for key in (*ratios, "hours_per_second", "bare_hours_per_second", "parameters")},
        "real_time_factor": 1 / (runs[0]["hours_per_second"] * SECONDS_PER_HOUR),
        "model": config.preset,
        "device": on.type,
        "device_name": device_name(on),
        "precision": training_precision(on, config.train.precision),
        "cores": cores(),
        "frames_per_batch": config.train.max_frames_per_batch,
        "num_workers": config.train.num_workers,
        "audio": "given" if config.shards else "made up",
        "rounds": config.repeats,
        "runs": runs,
        "library": f"asr_kd {__version__}",
    }


def summarise(rounds: Sequence[RankResult]) -> dict[str, Any]:
    """Medians over the rounds. Ratios are taken within each round: what slows the machine slows both sides of them."""
    found: dict[str, Any] = {}
    for name, value in asdict(rounds[0]).items():
        values = [getattr(r, name) for r in rounds]
        if name == "parts_s":
            found[name] = {part: statistics.median(v[part] for v in values) for part in value}
        else:
            found[name] = None if value is None else statistics.median(values)
    for name, key in (("ratio", "bare_step_s"), ("ratio_with_update", "bare_step_with_update_s")):
        ratios = [getattr(r, key) / r.step_s for r in rounds]
        found |= {name: statistics.median(ratios), f"{name}_spread": [min(ratios), max(ratios)]}
    return found | {
        "hours_per_second": statistics.median(r.audio_hours_per_step / r.step_s for r in rounds),
        "bare_hours_per_second": statistics.median(r.audio_hours_per_step / r.bare_step_s for r in rounds),
        "measured": [asdict(r) for r in rounds],
    }


def describe(result: dict[str, Any]) -> list[str]:
    """The result for a reader."""
    lines = [
        f"{result['model']} ({result['parameters'] / 1e6:.1f}M) on {result['device_name']}, {result['precision']}, "
        f"{result['frames_per_batch']} frames a batch, audio {result['audio']}, {result['rounds']} rounds",
        "  ranks strategy       bare h/s   loop h/s  loop / bare             / bare with update       "
        "step s  update s    sent/step",
    ]
    for run in result["runs"]:
        (low, high), (low_u, high_u) = run["ratio_spread"], run["ratio_with_update_spread"]
        lines.append(
            f"  {run['ranks']:5} {run['strategy']:10} {run['bare_hours_per_second']:12.5f} "
            f"{run['hours_per_second']:10.5f}  {run['ratio']:.3f} ({low:.3f} to {high:.3f})  "
            f"{run['ratio_with_update']:.3f} ({low_u:.3f} to {high_u:.3f})  "
            f"{run['step_s']:9.3f} {run['update_s']:9.3f} {run['bytes_per_step'] / 1e6:9.3f} MB"
        )
    parts = ", ".join(f"{name} {seconds:.4f}" for name, seconds in result["runs"][0]["parts_s"].items())
    return [*lines, f"  seconds of a step of the first line: {parts}"]


def _data(config: BenchTrainRun, folder: Path) -> tuple[dict[int, list[Path]], tuple[Path, ...]]:
    """Shards by the number of ranks that they are for, and their alignments."""
    counts = set(config.ranks)
    if config.shards:
        return {n: some_shards(config.shards, config.minutes * n, at_least=n) for n in counts}, config.alignments
    # A shard for each rank; their lengths differ by an utterance at most.
    shards = synthetic_shards(folder, config.minutes * max(counts), shard_seconds=config.minutes * 60)
    made_up = synthetic_alignments(shards, made_up_inventory(config.classes), folder / "alignments")
    return {n: shards[:n] for n in counts}, (made_up,)


def _threads(config: BenchTrainRun, ranks: int) -> int:
    return config.threads or max(1, cores() // ranks)


def _measure(
    config: BenchTrainRun, folder: Path, shards: list[Path], alignments: tuple[Path, ...], ranks: int, kind: str
) -> RankResult:
    """A round of so many ranks with that strategy, in processes of their own."""
    strategy = replace(config.train.strategy, kind=kind)  # type: ignore[arg-type]
    run = RankRun(
        shards=tuple(shards),
        alignments=alignments,
        out=folder / "result.json",
        threads=_threads(config, ranks),
        model=PRESETS[config.preset],
        train=replace(config.train, lanes=ranks, strategy=strategy),
    )
    write_json(folder / "run.json", to_dict(run))
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks), "-m"] if ranks > 1 else []
    words = [sys.executable, "-m", *launcher, "asr_kd.bench.train_rank", str(folder / "run.json")]
    ended = subprocess.run(words, capture_output=True, text=True)
    if ended.returncode:
        ours = re.search("^bench train: (.*)", ended.stderr, re.MULTILINE)
        reason = ours[1] if ours else ended.stderr.strip()[-500:]
        raise ValueError(f"{ranks} ranks, {kind}: {reason}")
    return load_config(RankResult, run.out)
