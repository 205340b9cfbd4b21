"""Soft targets as columns of a sidecar: one row an utterance, class ids in two bytes, log-probabilities in one.

A log-probability x is stored as the code c = round(sqrt(-x) / step), read back as -(c * step)^2: fine where the
probability is large, coarse where it is small. Values below the floor are stored as the floor. The lists of a row run
frame by frame: `counts[t]` classes of frame t, likeliest first. A row without `frames` was set aside for its `reason`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from asr_kd.train.targets import FrameTargets

LARGEST_CODE = 254
NOTHING_LEFT = 255
"""The code of an empty tail."""
MOST_CLASSES = 1 << 16

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("frames", pa.int32()),
        ("counts", pa.list_(pa.uint8())),
        ("ids", pa.list_(pa.uint16())),
        ("log_p", pa.list_(pa.uint8())),
        ("log_tail", pa.list_(pa.uint8())),
        ("reason", pa.string()),
    ]
)


@dataclass(frozen=True)
class Quantiser:
    """One byte for a natural log-probability."""

    floor: float = -16.0
    """The smallest value that is told apart (a probability of 1.1e-7)."""

    @property
    def step(self) -> float:
        """The distance of neighbouring codes on the square-root scale."""
        return float(np.sqrt(-self.floor) / LARGEST_CODE)

    def encode(self, log_p: np.ndarray) -> np.ndarray:
        """uint8 codes; -inf becomes NOTHING_LEFT."""
        code = np.rint(np.sqrt(-np.clip(log_p, self.floor, 0.0)) / self.step).astype(np.uint8)
        return np.where(np.isneginf(log_p), np.uint8(NOTHING_LEFT), code)

    def decode(self, code: np.ndarray) -> np.ndarray:
        """float32 log-probabilities. The error is at most step * sqrt(-x) + step^2 / 4 for x at or above the floor."""
        table = -np.square(np.arange(256) * self.step)
        table[NOTHING_LEFT] = -np.inf
        return table.astype(np.float32)[code]

    def describe(self) -> dict[str, Any]:
        """What a sidecar's description says of it."""
        return {"law": "log_p = -(code * step)^2", "step": self.step, "floor": self.floor, "empty": NOTHING_LEFT}

    @classmethod
    def of(cls, description: dict[str, Any]) -> "Quantiser":
        """The quantiser that a description names."""
        return cls(floor=float(description["quantisation"]["floor"]))


def encode_table(ids: Sequence[str], rows: Sequence[FrameTargets | str], quantiser: Quantiser) -> pa.Table:
    """The sidecar table of a shard: `rows` holds for each utterance its targets, or the reason why it has none."""
    columns: dict[str, list] = {name: [] for name in SCHEMA.names}
    for utterance, row in zip(ids, rows, strict=True):
        encoded = {"reason": row} if isinstance(row, str) else _encode(row, quantiser)
        for name, column in columns.items():
            column.append(utterance if name == "id" else encoded.get(name))
    return pa.table(columns, schema=SCHEMA)


def _encode(targets: FrameTargets, quantiser: Quantiser) -> dict[str, Any]:
    kept_TK = targets.ids_TK >= 0
    assert targets.ids_TK.max(initial=0) < MOST_CLASSES
    return {
        "frames": targets.frames,
        "counts": kept_TK.sum(1).astype(np.uint8),
        "ids": targets.ids_TK[kept_TK].astype(np.uint16),
        "log_p": quantiser.encode(np.maximum(targets.log_p_TK[kept_TK], quantiser.floor)),
        "log_tail": quantiser.encode(targets.log_tail_T),
    }


class EncodedRows(Sequence[FrameTargets | None]):
    """The rows of a sidecar table; a row is decoded when it is asked for, None when it was set aside."""

    def __init__(self, table: pa.Table, quantiser: Quantiser) -> None:
        self._columns = {name: table.column(name).combine_chunks() for name in SCHEMA.names}
        self._quantiser = quantiser

    def __len__(self) -> int:
        return len(self._columns["id"])

    def __getitem__(self, row: Any) -> Any:
        if not self._columns["frames"][row].is_valid:
            return None
        counts_T = self._values("counts", row)
        kept_TK = np.arange(max(1, counts_T.max(initial=0))) < counts_T[:, None]
        ids_TK = np.full(kept_TK.shape, -1, np.int32)
        log_p_TK = np.full(kept_TK.shape, -np.inf, np.float32)
        ids_TK[kept_TK] = self._values("ids", row)
        log_p_TK[kept_TK] = self._quantiser.decode(self._values("log_p", row))
        return FrameTargets(ids_TK, log_p_TK, self._quantiser.decode(self._values("log_tail", row)))

    def _values(self, name: str, row: int) -> np.ndarray:
        return self._columns[name][row].values.to_numpy()
