"""Sections of the GPU benchmark: each measures one thing, within a time budget, and a failure of one stops no other."""

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from asr_kd.core.runtime import synchronise
from asr_kd.core.terminal import say
from asr_kd.shards.reader import Shard
from asr_kd.teachers.inference import is_out_of_memory


@dataclass
class Setup:
    """What the sections share."""

    device: torch.device
    folder: Path
    """Scratch space that goes away."""
    shards: list[Shard]
    tiny: bool
    """Small models and little audio, to try the program itself."""
    cores: int
    teacher: Path | None = None
    """A trained model, for lattices."""
    graph: Path | None = None
    deadline: float = 0.0
    """`time.monotonic()` at which nothing new is begun."""

    @property
    def classes(self) -> int:
        """Output classes of models with random weights: the paper's 3,183, or few."""
        return 41 if self.tiny else 3183

    @property
    def precisions(self) -> tuple[str, ...]:
        """Precisions that are measured."""
        return ("float32",) if self.device.type == "cpu" else ("bf16", "float32")

    @property
    def audio_hours(self) -> float:
        """Hours of audio in the shards."""
        return sum(shard.seconds for shard in self.shards) / 3600


@dataclass
class Report:
    """Figures by section, and lines for people."""

    figures: dict[str, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """What is not as it must be."""

    def add(self, line: str) -> None:
        """A line of the table, shown at once on stderr."""
        self.lines.append(line)
        say(line)


def run_section(name: str, setup: Setup, report: Report, measure: Callable[[Setup, Report], Any]) -> None:
    """Measure, and keep the figures under `name`; a failure is noted as wrong, with one line."""
    if time.monotonic() > setup.deadline:
        report.figures[name] = {"skipped": "no time left"}
        report.add(f"{name}: skipped, no time left")
        return
    started = time.monotonic()
    try:
        report.figures[name] = measure(setup, report)
    except Exception as e:  # the next section may still tell something
        reason = "not enough GPU memory" if is_out_of_memory(e) else " ".join(f"{type(e).__name__}: {e}".split())[:300]
        report.figures[name] = {"failed": reason, "traceback": traceback.format_exc()[-2000:]}
        report.wrong.append(f"{name}: {reason}")
        report.add(f"{name}: FAILED, {reason}")
    report.figures.setdefault("section_seconds", {})[name] = round(time.monotonic() - started, 1)
    if setup.device.type == "cuda":
        torch.cuda.empty_cache()


def seconds_of(device: torch.device, work: Callable[[], Any], repeats: int = 3) -> float:
    """The median of `repeats` runs, after one that is not counted."""
    work()
    taken = []
    for _ in range(repeats):
        synchronise(device)
        started = time.perf_counter()
        work()
        synchronise(device)
        taken.append(time.perf_counter() - started)
    return sorted(taken)[len(taken) // 2]


def relative_error(found: Tensor, reference: Tensor) -> float:
    """||found - reference|| / ||reference|| in float64; NaN where anything is not finite."""
    found, reference = found.detach().double().cpu(), reference.detach().double().cpu()
    if not bool(found.isfinite().all()):
        return float("nan")
    return float((found - reference).norm() / reference.norm().clamp(min=1e-30))
