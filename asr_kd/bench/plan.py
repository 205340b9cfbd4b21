"""Computes what labelling takes: time, machines, bytes and cost, with the source of every number.

The rate is one that `asr-kd bench label --out bench.json` measured, or one that you give: hours of audio per second of
one device, which is a GPU where machines have some (--gpus-per-machine), else the whole machine.

With --train, what training a student takes instead: time by ranks, strategy and bandwidth, simulated step by step from
what `asr-kd bench train --out bench.json` measured, or from the --rate at which one rank learns (docs/scaling.md).

  asr-kd plan --hours 1000000 --bench bench.json --machines 8 --gpus-per-machine 8 --price-per-hour 20
  asr-kd plan --hours 1000000 --rate 0.8 --gpus-per-machine 8 --deadline 7
  asr-kd plan --train --hours 1000000 --bench bench.json --ranks 1 16 64 --bandwidth 1 10
"""

import dataclasses
import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from asr_kd.bench.peak import flops_per_frame
from asr_kd.bench.plan_inputs import SECONDS_PER_DAY, UTILISATION, Input, describe_inputs, given_or, span
from asr_kd.bench.plan_train import describe_training, plan_training
from asr_kd.bench.published import PUBLISHED
from asr_kd.bench.synthetic import PAPER_CLASSES, random_teacher
from asr_kd.bench.training_step import TrainPlan
from asr_kd.core.commands import command
from asr_kd.core.files import read_json
from asr_kd.core.options import option
from asr_kd.core.progress import SECONDS_PER_HOUR
from asr_kd.core.terminal import show
from asr_kd.frontend.fbank import FrontEnd
from asr_kd.models.acoustic import AcousticModel
from asr_kd.models.checkpoint import load_model
from asr_kd.models.config import PRESETS

KBIT_PER_HOUR_IN_MB = 1000 * SECONDS_PER_HOUR / 8 / 1e6
"""1 kbit/s for an hour, in MB."""
PCM_KBPS = 16 * 16
FLAC_KBPS = 140.0
"""Of speechocean762's shards here: 16 kHz, 16 bit, tar and JSON members included."""
OPUS_KBPS = 24.0
BAR_MB_PER_HOUR = 0.75
LABELLING_ONLY = (
    "teacher",
    "machines",
    "deadline",
    "gpus_per_machine",
    "price_per_hour",
    "sidecar_mb_per_hour",
    "audio_kbps",
)


@dataclass(frozen=True, kw_only=True)
class PlanRun:
    """What `asr-kd plan` is given."""

    hours: float = option("hours of audio to label, or to train on")
    teacher: str | None = option(
        "teacher whose arithmetic is counted; must be the one that --bench measured", None, metavar="PRESET|MODEL"
    )
    machines: int | None = option("machines that work at the same time (default: 1)", None)
    deadline: float | None = option(
        "instead of --machines: compute how many finish within so many days", None, metavar="DAYS"
    )
    gpus_per_machine: int = option("GPUs in each machine; 0: --rate is that of the whole machine", 0, metavar="N")
    rate: float | None = option("hours of audio per second of one device or rank", None, metavar="H_PER_SECOND")
    bench: Path | None = option(
        "rate and sidecar size from this output of `asr-kd bench label`; with --train, of `asr-kd bench train`",
        None,
        metavar="FILE",
    )
    utilisation: float = option("share of the time that machines are at work, in (0, 1]", UTILISATION)
    price_per_hour: float | None = option("price of one machine-hour, in any currency", None, metavar="PRICE")
    sidecar_mb_per_hour: float | None = option(
        "sidecar megabytes per hour of audio (default: that of --bench, else the project's limit)", None, metavar="MB"
    )
    audio_kbps: float | None = option("also compute the storage at this audio bit rate, beside FLAC and Opus", None)
    json: bool = option("print one line of JSON instead of the text", False)
    train: bool = option("plan training instead of labelling", False)
    training: TrainPlan = field(default_factory=TrainPlan)


@command()
def plan(config: PlanRun) -> None:
    """Print the plan."""
    if config.train:
        _check_defaults(config, LABELLING_ONLY, "is for labelling, not for --train")
        found = plan_training(config.training, config.hours, config.rate, config.bench, config.utilisation)
        text = describe_training
    else:
        _check_defaults(config.training, [f.name for f in dataclasses.fields(TrainPlan)], "needs --train")
        found, text = make_plan(config), describe
    show(*([json.dumps(found)] if config.json else text(found)))


def _check_defaults(config: PlanRun | TrainPlan, names: Iterable[str], why: str) -> None:
    """ValueError names the first option that is not as by default."""
    defaults = {field.name: field.default for field in dataclasses.fields(config)}
    for name in names:
        if getattr(config, name) != defaults[name]:
            raise ValueError(f"--{name.replace('_', '-')} {why}")


def make_plan(config: PlanRun) -> dict[str, Any]:
    """All numbers of the plan. ValueError names an option that cannot be."""
    for name in ("hours", "rate", "deadline", "price_per_hour", "sidecar_mb_per_hour", "audio_kbps"):
        value = getattr(config, name)
        if value is not None and not 0 < value < math.inf:
            raise ValueError(f"--{name.replace('_', '-')} {value:g}: it must be above 0")
    if (config.rate is None) == (config.bench is None):
        raise ValueError("--rate and --bench: give one of them")
    if not 0 < config.utilisation <= 1:
        raise ValueError(f"--utilisation {config.utilisation:g}: it must lie in (0, 1]")
    if config.gpus_per_machine < 0:
        raise ValueError(f"--gpus-per-machine {config.gpus_per_machine}: 0 or more is needed")
    if config.machines is not None and config.deadline is not None:
        raise ValueError("--machines and --deadline: give one, the plan says the other")
    if config.machines is not None and config.machines < 1:
        raise ValueError(f"--machines {config.machines}: at least one machine is needed")
    bench = None if config.bench is None else _read_bench(config.bench, config.teacher)
    if bench is not None and bench["device"] == "cuda" and not config.gpus_per_machine:
        raise ValueError(f"{config.bench}: measured on a GPU. Say how many a machine has: --gpus-per-machine.")
    inputs = _inputs(config, bench)
    value = {i.name: i.value for i in inputs}

    devices_per_machine = max(1, config.gpus_per_machine)
    machine_rate = value["rate"] * devices_per_machine * value["utilisation"]
    machine_seconds = config.hours / machine_rate
    if config.deadline is None:
        machines = config.machines or 1
    else:
        machines = math.ceil(round(machine_seconds / (config.deadline * SECONDS_PER_DAY), 9))
    days = machine_seconds / machines / SECONDS_PER_DAY
    machine_hours = machine_seconds / SECONDS_PER_HOUR
    audio = {name: value[f"{name}_kbps"] for name in ("flac", "opus", "audio") if f"{name}_kbps" in value}
    devices = machines * devices_per_machine
    return {
        "hours": config.hours,
        "machines": machines,
        "devices": devices,
        "days": days,
        "machine_hours": machine_hours,
        "hours_per_second": machine_rate * machines,
        "cost": None if config.price_per_hour is None else machine_hours * config.price_per_hour,
        "audio_tb": {name: config.hours * kbps * KBIT_PER_HOUR_IN_MB / 1e6 for name, kbps in audio.items()},
        "sidecar_tb": config.hours * value["sidecar_mb_per_hour"] / 1e6,
        "arithmetic": _arithmetic(config),
        "inputs": [asdict(i) for i in inputs],
        "published": [
            asdict(p)
            | {"days": None if p.hours_per_second is None else _days(config.hours, p.hours_per_second * devices)}
            for p in PUBLISHED
        ],
    }


def describe(plan: dict[str, Any]) -> list[str]:
    """The plan for a reader."""
    lines = [
        f"{plan['hours']:,.0f} hours of audio on {plan['machines']:,} machines, {plan['devices']:,} devices in all:",
        f"  time      {span(plan['days'])} at {plan['hours_per_second']:,.4g} h/s; "
        f"{plan['machine_hours']:,.1f} machine hours",
        "  cost      " + ("--price-per-hour says it" if plan["cost"] is None else f"{plan['cost']:,.2f}"),
        "  audio     " + ", ".join(f"{_bytes(tb)} {_NAMES[name]}" for name, tb in plan["audio_tb"].items()),
        f"  sidecars  {_bytes(plan['sidecar_tb'])}",
    ]
    if plan["arithmetic"] is not None:
        a = plan["arithmetic"]
        lines.append(
            f"  arithmetic {a['flops'] / 1e18:,.4g} EFLOP: {a['teacher']}, {a['parameters'] / 1e6:.1f}M values, "
            f"{a['classes']} classes, padding not counted"
        )
    lines += describe_inputs(plan["inputs"])
    lines.append(f"Published by others, for as many hours on {plan['devices']:,} of their devices (never idle)")
    for p in plan["published"]:
        time = "not published" if p["days"] is None else span(p["days"])
        lines.append(f"  {p['name']:36} {time:>14}   {p['device']}")
        lines.append(f"    {p['said']} ({p['source']})")
    return lines


_NAMES = {"flac": "as FLAC", "opus": "as Opus", "audio": "at the bit rate given"}


def _read_bench(path: Path, teacher: str | None) -> dict[str, Any]:
    bench = read_json(path)
    needed = {"hours_per_second": float, "mb_per_hour": float, "device": str, "device_name": str, "teacher": str}
    if not isinstance(bench, dict) or not all(isinstance(bench.get(key), kind) for key, kind in needed.items()):
        raise ValueError(f"{path}: not what `asr-kd bench label --out` writes. Measure again.")
    if not (0 < bench["hours_per_second"] < math.inf and 0 < bench["mb_per_hour"] < math.inf):
        raise ValueError(f"{path}: its rate or its bytes are not above 0. Measure again.")
    if teacher is not None and teacher != bench["teacher"]:
        raise ValueError(
            f"{path}: measured with teacher {bench['teacher']}, the plan is for {teacher}. "
            "Measure that one, or leave --teacher out."
        )
    return bench


def _inputs(config: PlanRun, bench: dict[str, Any] | None) -> list[Input]:
    if bench is None:
        assert config.rate is not None
        rate = Input("rate", config.rate, "h/s per device", "given: --rate")
    else:
        rate = Input(
            "rate",
            bench["hours_per_second"],
            "h/s per device",
            f"measured: {config.bench}, {bench['teacher']} on {bench['device_name']}, {bench.get('precision')}",
        )
    if config.sidecar_mb_per_hour is not None:
        sidecar = (config.sidecar_mb_per_hour, "given: --sidecar-mb-per-hour")
    elif bench is not None and bench.get("weights") == "given":
        sidecar = (bench["mb_per_hour"], f"measured: {config.bench}")
    else:
        why = "" if bench is None else "; that of random weights says nothing"
        sidecar = (BAR_MB_PER_HOUR, f"default: the bar that asr_kd sets itself, not measured{why}")
    inputs = [
        rate,
        Input(
            "utilisation", config.utilisation, "", given_or(config.utilisation, UTILISATION, "stragglers and restarts")
        ),
        Input("sidecar_mb_per_hour", sidecar[0], "MB/h", sidecar[1]),
        Input("flac_kbps", FLAC_KBPS, "kbit/s", f"default: speechocean762's shards (16 kHz, PCM is {PCM_KBPS})"),
        Input("opus_kbps", OPUS_KBPS, "kbit/s", "default: assumed, usual for wideband mono speech"),
    ]
    if config.audio_kbps is not None:
        inputs.append(Input("audio_kbps", config.audio_kbps, "kbit/s", "given: --audio-kbps"))
    if config.price_per_hour is not None:
        inputs.append(Input("price_per_hour", config.price_per_hour, "per machine hour", "given: --price-per-hour"))
    return inputs


def _arithmetic(config: PlanRun) -> dict[str, Any] | None:
    """Of the teacher's forward pass over all hours; None when no teacher is named."""
    if config.teacher is None:
        return None
    model = _teacher(config.teacher)
    frames = config.hours * SECONDS_PER_HOUR / FrontEnd(model.frontend).frame_shift_s
    return {
        "teacher": config.teacher,
        "parameters": model.parameter_count,
        "classes": model.inventory.num_classes,
        "flops_per_frame": flops_per_frame(model),
        "flops": frames * flops_per_frame(model),
    }


def _teacher(name: str) -> AcousticModel:
    if name in PRESETS:
        return random_teacher(name, PAPER_CLASSES)
    if not Path(name).exists():
        raise ValueError(f"--teacher {name}: no model there and no preset ({', '.join(PRESETS)})")
    return load_model(name)


def _days(hours: float, rate: float) -> float:
    return hours / rate / SECONDS_PER_DAY


def _bytes(tb: float) -> str:
    return f"{tb:,.2f} TB" if tb >= 1 else f"{tb * 1000:,.2f} GB"
