"""The run's record: OUT/metrics.jsonl, one line a sub-epoch, and TensorBoard events in OUT/tb."""

import json
import math
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from asr_kd.core.files import atomic_path
from asr_kd.core.text_files import parse_json, read_lines

METRICS_FILE = "metrics.jsonl"


class Metrics:
    """Appends to the record of a run that has done `sub_epochs` and `step` steps; what was recorded later is dropped.

    A run that died after it had recorded a sub-epoch and before it had saved that may be at the step of the record.
    """

    def __init__(self, out: Path, sub_epochs: int, step: int) -> None:
        self._path = out / METRICS_FILE
        kept = [line for line in self._lines() if _sub_epoch(line) <= sub_epochs]
        with atomic_path(self._path) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
        self._board = SummaryWriter(str(out / "tb"), purge_step=step + 1)

    def add(self, line: dict[str, Any]) -> None:
        """One line of metrics.jsonl, and its numbers as curves over steps."""
        with open(self._path, "a", encoding="utf-8") as f:
            f.write(json.dumps(line) + "\n")
        for name, value in line.items():
            if isinstance(value, float):
                curve = f"{line['stream']}/loss" if name == "loss" else name
                self._board.add_scalar(curve, value, line["step"])
        self._board.flush()

    def close(self) -> None:
        """Write out what TensorBoard still holds."""
        self._board.close()

    def _lines(self) -> list[str]:
        """Whole lines of the file; a last one that was cut off is left out."""
        if not self._path.is_file():
            return []
        data = self._path.read_bytes()
        return list(read_lines(data[: data.rfind(b"\n") + 1], self._path))


def _sub_epoch(line: str) -> float:
    """Which one a line records; what is no line of ours belongs to no run, and is dropped."""
    try:
        number = parse_json(line, METRICS_FILE, nan_is_null=True)["sub_epoch"]
    except (ValueError, TypeError, KeyError):
        return math.inf
    return number if isinstance(number, int) else math.inf
