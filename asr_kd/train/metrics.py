"""The run's record: OUT/metrics.jsonl, one line a sub-epoch, and TensorBoard events in OUT/tb."""

import json
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from asr_kd.core.files import atomic_path

METRICS_FILE = "metrics.jsonl"


class Metrics:
    """Appends to the record of a run that has done `step` steps; what was recorded later than that is dropped."""

    def __init__(self, out: Path, step: int) -> None:
        self._path = out / METRICS_FILE
        kept = [line for line in self._lines() if json.loads(line)["step"] <= step]
        with atomic_path(self._path) as temporary:
            temporary.write_text("".join(kept), encoding="utf-8")
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
        return [x for x in self._path.read_text(encoding="utf-8").splitlines(keepends=True) if x.endswith("\n")]
