"""How long training takes by ranks, strategy and bandwidth: the simulator's inputs, and the table of its results."""

import math
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from asr_kd.bench.plan_inputs import SECONDS_PER_DAY, UTILISATION, Input, describe_inputs, given_or, span
from asr_kd.bench.published import PUBLISHED_TRAINING
from asr_kd.bench.training_simulator import (
    Link,
    MeasuredStep,
    bound,
    exchange,
    simulate,
)
from asr_kd.bench.training_step import LATENCY_US, TrainPlan, given, measured_step, step_by_hand
from asr_kd.core.progress import SECONDS_PER_HOUR
from asr_kd.train.config import TrainConfig
from asr_kd.train.strategies.registry import STRATEGIES

PAYLOAD = 1448 / 1538
"""Of what an Ethernet link carries: TCP's payload in a full frame, with preamble and gap."""
MAX_RANKS = 4096


def plan_training(
    config: TrainPlan, hours: float, rate: float | None, bench: Path | None, utilisation: float
) -> dict[str, Any]:
    """All numbers of the plan. ValueError names an option that cannot be, or a file that is not a benchmark's."""
    _check(config, hours, rate, bench, utilisation)
    if rate is not None:
        step, inputs = step_by_hand(config, rate)
    else:
        assert bench is not None
        step, inputs = measured_step(config, bench)
    checkpoint_s = config.checkpoint_seconds or 0.0
    save_every_s = TrainConfig.checkpoint_every_minutes * 60
    at_work = utilisation * save_every_s / (save_every_s + checkpoint_s)
    inputs += [
        Input("utilisation", utilisation, "", given_or(utilisation, UTILISATION, "restarts and held-out tests")),
        Input("checkpoint_seconds", checkpoint_s, f"s every {save_every_s:g} s", given(config.checkpoint_seconds)),
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


def _possible(step: MeasuredStep, ranks: Iterable[int]) -> tuple[str, ...]:
    """Strategies whose bytes are known, and that run on such ranks."""
    possible = {
        "tree": all(count & (count - 1) == 0 for count in ranks),
        "threshold": step.sent_share is not None,
        "powersgd": step.powersgd_bytes is not None,
    }
    return tuple(name for name in STRATEGIES if possible.get(name, True))


def _check(config: TrainPlan, hours: float, rate: float | None, bench: Path | None, utilisation: float) -> None:
    """ValueError names an option that cannot be."""
    if (rate is None) == (bench is None):
        raise ValueError("--rate and --bench: give one of them")
    for name in ("batch_seconds", "spread", "weights"):
        if bench is not None and getattr(config, name) is not None:
            raise ValueError(f"--{name.replace('_', '-')}: for --rate only; --bench has measured it")
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
