"""What all commands of `asr-kd bench` do around measuring: check counts, give a folder, report."""

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from asr_kd.core.commands import command_line
from asr_kd.core.files import append_json, write_json
from asr_kd.core.options import option
from asr_kd.core.runtime import device_name
from asr_kd.core.terminal import show
from asr_kd.evaluation.provenance import commit
from asr_kd.shards.reader import find_shards, open_shard


@dataclass(frozen=True, kw_only=True)
class BenchOptions:
    """Of every command of `asr-kd bench`."""

    append: Path | None = option(
        "append the figures to this file of JSON lines, with date, commit, command and machine", None, metavar="FILE"
    )


def check_counts(config: Any, whole: Sequence[str], above_0: Sequence[str]) -> None:
    """ValueError names an option that is given and below 1, or not above 0."""
    for name in whole:
        if getattr(config, name) is not None and getattr(config, name) < 1:
            raise ValueError(f"--{name} {getattr(config, name)}: at least 1 is needed")
    for name in above_0:
        if not getattr(config, name) > 0:
            raise ValueError(f"--{name} {getattr(config, name):g}: it must be above 0")


def report(
    config: Any,  # BenchOptions with `out` and `json`
    measure: Callable[[Any, Path], dict[str, Any]],
    describe: Callable[[dict[str, Any]], list[str]],
) -> None:
    """Measure in a folder that goes away; print lines for people (not with --json) and one of JSON; write --out."""
    with tempfile.TemporaryDirectory(prefix="asr-kd-bench-") as folder:
        result = measure(config, Path(folder))
    if not config.json:
        show(*describe(result))
    if config.out is not None:
        write_json(config.out, result)
    show_figures(result, config)


def show_figures(figures: dict[str, Any], options: BenchOptions) -> None:
    """Print the line of JSON, and append it to the file of --append."""
    show(json.dumps(figures))
    if options.append is not None:
        where = {"date": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", "commit": commit(), "command": command_line()}
        append_json(options.append, where | {"machine": machine(), "torch": torch.__version__, "figures": figures})


def machine() -> dict[str, Any]:
    """What the figures depend on: the processor's name, the cores that this process may use, and the GPU's name."""
    return {
        "cpu": device_name(torch.device("cpu")),
        "cores": cores(),
        "gpu": device_name(torch.device("cuda")) if torch.cuda.is_available() else None,
    }


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def some_shards(paths: Sequence[Path], minutes: float, at_least: int = 1) -> list[Path]:
    """The first shards that hold so many minutes together, and at least so many shards where there are."""
    tars: list[Path] = []
    held_s = 0.0
    for tar in find_shards(*paths):
        if held_s >= minutes * 60 and len(tars) >= at_least:
            break
        tars.append(tar)
        held_s += open_shard(tar).seconds
    return tars
