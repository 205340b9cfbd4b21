"""Learning curves out of the `metrics.jsonl` that training writes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from asr_kd.core.text_files import parse_json

MOST_POINTS = 150
"""Points drawn of a curve; longer ones are averaged over equal stretches."""


@dataclass
class Run:
    """The metrics of one training run."""

    name: str
    path: Path
    found: bool
    """Whether the file is there; a run without metrics is named on the page, not dropped in silence."""
    loss: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    """Training loss over steps, of each stream."""
    dev_loss: list[tuple[float, float]] = field(default_factory=list)
    dev_frame_accuracy: list[tuple[float, float]] = field(default_factory=list)
    last_step: int | None = None

    @property
    def best_dev_frame_accuracy(self) -> float | None:
        """The highest dev frame accuracy, None if there is none."""
        return max((y for _, y in self.dev_frame_accuracy), default=None)


def read_run(name: str, path: Path) -> Run:
    """Read one `metrics.jsonl`; keys may be absent from any line, and a half-written line is skipped."""
    if not path.is_file():
        return Run(name, path, found=False)
    run = Run(name, path, found=True)
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").split("\n"), start=1):
        entry = _parse(line)
        step = _number(entry, "step")
        x = step if step is not None else float(number)
        run.last_step = max(run.last_step or 0, int(x)) if entry else run.last_step
        if (loss := _number(entry, "loss")) is not None:
            run.loss.setdefault(str(entry.get("stream") or ""), []).append((x, loss))
        if (dev_loss := _number(entry, "dev_loss")) is not None:
            run.dev_loss.append((x, dev_loss))
        if (accuracy := _number(entry, "dev_frame_accuracy")) is not None:
            run.dev_frame_accuracy.append((x, accuracy))
    run.loss = {stream: downsample(points) for stream, points in run.loss.items()}
    return run


def downsample(points: list[tuple[float, float]], most: int = MOST_POINTS) -> list[tuple[float, float]]:
    """At most `most` points: the means of equal stretches."""
    size = -(-len(points) // most)
    stretches = [points[i : i + size] for i in range(0, len(points), max(size, 1))]
    return [(fmean(x for x, _ in s), fmean(y for _, y in s)) for s in stretches]


def _parse(line: str) -> dict[str, Any]:
    try:
        entry = parse_json(line, "metrics")
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}


def _number(entry: Mapping[str, Any], key: str) -> float | None:
    value = entry.get(key)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return None  # a diverged loss (NaN) is left out of the curve
