"""How long training takes by ranks, strategy and bandwidth: the simulator's inputs, and the table of its results."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from asr_kd.bench.plan_inputs import SECONDS_PER_DAY, UTILISATION, Input, describe_inputs, given_or, span
from asr_kd.bench.published import PUBLISHED_TRAINING
from asr_kd.bench.synthetic import PAPER_CLASSES, random_teacher
from asr_kd.bench.training_simulator import (
    Link,
    MeasuredStep,
    batches_by_hand,
    bound,
    exchange,
    simulate,
)
from asr_kd.core.options import option
from asr_kd.core.progress import SECONDS_PER_HOUR
from asr_kd.train.config import TrainConfig
from asr_kd.train.strategies.config import StrategyConfig
from asr_kd.train.strategies.registry import STRATEGIES

PAYLOAD = 1448 / 1538
"""Of what an Ethernet link carries: TCP's payload in a full frame, with preamble and gap."""
BATCH_SECONDS = 30.0
"""`max_frames_per_batch` of 30 ms by default."""
LATENCY_US = 50.0
MAX_RANKS = 4096
STUDENT = "student-paper"


@dataclass(frozen=True, kw_only=True)
class TrainPlan:
    """What `asr-kd plan --train` is given besides."""

    ranks: tuple[int, ...] = option("with --train: numbers of ranks", (1, 4, 16, 64), metavar="N")
    strategies: tuple[str, ...] = option(
        "with --train: how ranks make an update (default: all that are possible and whose bytes are known)",
        (),
        choices=STRATEGIES,
    )
    bandwidth: tuple[float, ...] = option(
        "with --train: of the link of each rank, in Gbit/s", (1.0, 10.0, 100.0), metavar="GBIT"
    )
    latency: float = option("with --train: of a message one way, in microseconds", LATENCY_US, metavar="US")
    lanes: int | None = option("with --train: lanes of the run (default: as many as ranks)", None, metavar="N")
    epochs: float = option("with --train: passes over the hours", 1.0)
    weights: int | None = option(
        "with --train: trained weights of the model (default: those of the paper's student)", None
    )
    batch_seconds: float | None = option("with --train: audio in a lane's batch", None, metavar="SECONDS")
    spread: float | None = option(
        "with --train: standard deviation of the time of a lane's batch, as a share of its mean", None
    )
    block_steps: int = option("with --train: steps of a block of bmuf", StrategyConfig.block_steps, metavar="N")
    sent_share: float | None = option("with --train: share of the entries that threshold sends", None, metavar="SHARE")
    loader_rate: float | None = option(
        "with --train: hours of audio per second that the loaders of one rank make (default: no limit)",
        None,
        metavar="H_PER_SECOND",
    )
    checkpoint_seconds: float | None = option(
        "with --train: time of saving a state, for which all ranks wait", None, metavar="SECONDS"
    )


def plan_training(config: TrainPlan, hours: float, rate: float, utilisation: float) -> dict[str, Any]:
    """All numbers of the plan. ValueError names an option that cannot be, or a file that is not a benchmark's."""
    _check(config, hours, rate, utilisation)
    step, inputs = _by_hand(config, rate)
    checkpoint_s = config.checkpoint_seconds or 0.0
    save_every_s = TrainConfig.checkpoint_every_minutes * 60
    at_work = utilisation * save_every_s / (save_every_s + checkpoint_s)
    inputs += [
        Input("utilisation", utilisation, "", given_or(utilisation, UTILISATION, "restarts and held-out tests")),
        Input("checkpoint_seconds", checkpoint_s, f"s every {save_every_s:g} s", _given(config.checkpoint_seconds)),
        Input("latency", config.latency, "us one way", given_or(config.latency, LATENCY_US, "a data centre")),
        Input("payload", PAYLOAD, "of the bandwidth", "computed: TCP in full Ethernet frames"),
    ]
    loader_rate = math.inf if config.loader_rate is None else config.loader_rate * SECONDS_PER_HOUR
    if config.loader_rate is not None:
        inputs.append(Input("loader_rate", config.loader_rate, "h/s per rank", "given: --loader-rate"))
    alone = simulate(step, "allreduce", 1, config.lanes or 1, Link(math.inf, 0.0), loader_rate=loader_rate)
    rows = []
    for strategy in config.strategies or _possible(step, config.ranks):
        for gbit in config.bandwidth:
            for ranks in config.ranks:
                row = _row(step, strategy, ranks, config, gbit, loader_rate)
                efficiency = row["hours_per_second"] / ranks / alone.hours_per_second
                rate_h = row["hours_per_second"] * at_work
                days = hours * config.epochs / rate_h / SECONDS_PER_DAY
                rows.append(row | {"hours_per_second": rate_h, "days": days, "efficiency": efficiency})
    published = PUBLISHED_TRAINING
    needed = published.hours * config.epochs / published.days / SECONDS_PER_DAY / published.ranks
    return {
        "hours": hours,
        "epochs": config.epochs,
        "rows": rows,
        "inputs": [asdict(i) for i in inputs],
        "published": asdict(published) | {"hours_per_second_and_rank": needed},
    }


def describe_training(plan: dict[str, Any]) -> list[str]:
    """The plan for a reader."""
    passes = "" if plan["epochs"] == 1 else f", {plan['epochs']:g} passes"
    lines = [
        f"{plan['hours']:,.0f} hours of audio{passes}:",
        f"  {'strategy':10} {'Gbit/s':>7} {'ranks':>6} {'MB/step':>9} {'h/s':>9} {'time':>14} {'efficiency':>10}"
        "  bound by",
    ]
    alone = [r | {"strategy": "any", "bandwidth_gbit": "any"} for r in plan["rows"] if r["ranks"] == 1]
    for r in alone[:1] + [r for r in plan["rows"] if r["ranks"] > 1]:
        lines.append(
            f"  {r['strategy']:10} {r['bandwidth_gbit']:>7} {r['ranks']:>6} {r['mb_per_step']:>9,.3f} "
            f"{r['hours_per_second']:>9,.4g} {span(r['days']):>14} {r['efficiency']:>10.2f}  {r['bound']}"
        )
    published = plan["published"]
    return [
        *lines,
        *describe_inputs(plan["inputs"]),
        f"Published: {published['name']}, {published['days']} days ({published['source']})",
        f"  {published['said']}.",
        f"  For {published['hours']:,.0f} h in as many days, each of {published['ranks']} ranks must learn from "
        f"{published['hours_per_second_and_rank']:.4f} h/s.",
    ]


def _row(
    step: MeasuredStep, strategy: str, ranks: int, config: TrainPlan, gbit: float, loader_rate: float
) -> dict[str, Any]:
    link = Link(gbit * 1e9 / 8 * PAYLOAD, config.latency * 1e-6)
    lanes = config.lanes or ranks
    found = simulate(step, strategy, ranks, lanes, link, config.block_steps, loader_rate)
    each = exchange(strategy, ranks, step).bytes / (config.block_steps if strategy == "bmuf" else 1)
    return {
        "strategy": strategy,
        "bandwidth_gbit": gbit,
        "ranks": ranks,
        "mb_per_step": each / 1e6,
        "seconds_per_step": found.seconds,
        "hours_per_second": found.hours_per_second,
        "bound": bound(step, strategy, ranks, lanes, link, config.block_steps, loader_rate),
    }


def _by_hand(config: TrainPlan, rate: float) -> tuple[MeasuredStep, list[Input]]:
    """One rank's step from its rate."""
    audio_s = BATCH_SECONDS if config.batch_seconds is None else config.batch_seconds
    spread = config.spread or 0.0
    lane_s, lane_audio_s = batches_by_hand(audio_s / SECONDS_PER_HOUR / rate, audio_s, spread)
    if config.weights is None:
        weights = random_teacher(STUDENT).parameter_count
        said = f"computed: {STUDENT} with {PAPER_CLASSES} classes"
    else:
        weights, said = config.weights, "given: --weights"
    step = MeasuredStep(lane_s, lane_audio_s, 0.0, weights, sent_share=config.sent_share)
    inputs = [
        Input("rate", rate, "h/s per rank", "given: --rate; forward and backward pass and update"),
        Input(
            "batch_seconds",
            audio_s,
            "s",
            _given(config.batch_seconds, "default: --set train.max_frames_per_batch=1000"),
        ),
        Input(
            "spread", spread, "of the mean", _given(config.spread, "default: all batches take as long as one another")
        ),
        Input("weights", weights, "", said),
    ]
    if config.sent_share is not None:
        inputs.append(Input("sent_share", config.sent_share, "of the weights", "given: --sent-share"))
    return step, inputs


def _possible(step: MeasuredStep, ranks: Iterable[int]) -> tuple[str, ...]:
    """Strategies whose bytes are known, and that run on such ranks."""
    possible = {
        "tree": all(count & (count - 1) == 0 for count in ranks),
        "threshold": step.sent_share is not None,
        "powersgd": step.powersgd_bytes is not None,
    }
    return tuple(name for name in STRATEGIES if possible.get(name, True))


def _given(value: float | None, otherwise: str = "default: not counted") -> str:
    return otherwise if value is None else "given"


def _check(config: TrainPlan, hours: float, rate: float, utilisation: float) -> None:
    """ValueError names an option that cannot be."""
    above_0: dict[str, float | None] = {
        "hours": hours,
        "rate": rate,
        "epochs": config.epochs,
        "weights": config.weights,
    }
    above_0 |= {"batch_seconds": config.batch_seconds, "loader_rate": config.loader_rate}
    above_0 |= {"block_steps": config.block_steps, "lanes": config.lanes}
    values: list[tuple[str, float]] = [(name, value) for name, value in above_0.items() if value is not None]
    values += [("bandwidth", value) for value in config.bandwidth] + [("ranks", value) for value in config.ranks]
    for name, number in values:
        if not 0 < number < math.inf:
            raise ValueError(f"--{name.replace('_', '-')} {number:g}: it must be above 0")
    for name in ("latency", "spread", "checkpoint_seconds"):
        if not 0 <= (getattr(config, name) or 0) < math.inf:
            raise ValueError(f"--{name.replace('_', '-')} {getattr(config, name):g}: it must not be negative")
    for name, value in (("utilisation", utilisation), ("sent_share", config.sent_share)):
        if value is not None and not 0 < value <= 1:
            raise ValueError(f"--{name.replace('_', '-')} {value:g}: it must lie in (0, 1]")
    for name in ("ranks", "bandwidth"):
        if not getattr(config, name):
            raise ValueError(f"--{name}: at least one is needed")
    for ranks in config.ranks:
        if ranks > MAX_RANKS:
            raise ValueError(f"--ranks {ranks}: at most {MAX_RANKS} are simulated")
        if config.lanes is not None and config.lanes % ranks:
            raise ValueError(f"--lanes {config.lanes}: {ranks} ranks cannot share them evenly")
