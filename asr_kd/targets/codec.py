"""Soft targets as columns of a sidecar: one row an utterance, its frames packed into a few bytes each.

Reading scales each frame's classes and tail to sum to 1, so only their ratios count. docs/sidecars.md writes the whole
format down.
A row without `frames` was set aside for its `reason`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from asr_kd.targets.frame_contexts import CODES, EMPTY_TAIL, MAX_CLASSES_PER_FRAME, MAX_CODE, MAX_ID_BITS
from asr_kd.targets.frame_targets import FrameTargets
from asr_kd.targets.range_coder import FrameCodes, RangeEncoder, unpack

FORMAT = 2
"""Version of the columns, the codes and their packing."""
MAX_CLASSES = 1 << MAX_ID_BITS

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("frames", pa.int32()),
        ("kept", pa.int32()),  # classes of all frames together
        ("mass", pa.float32()),  # that they hold, mean over the frames
        ("id_bits", pa.uint8()),  # of a class id; the same in all rows
        ("packed", pa.binary()),
        ("reason", pa.string()),
    ]
)


@dataclass(frozen=True)
class ProbabilityQuantiser:
    """A probability p as the code round((1 - p^(1/4)) * levels): the larger it is, the finer in ratio.

    An error e in log p costs p e^2 / 2 nats, so small probabilities may have large ones. The fourth root lies between
    the logarithm (even errors) and the square root (even costs); it costs fewer bytes than the logarithm at equal KL.
    """

    levels: int = 16
    """Codes from 1 down to 0."""

    def __post_init__(self) -> None:
        if not 2 <= self.levels <= MAX_CODE:
            raise ValueError(f"quantiser.levels is {self.levels}; it must lie in 2 to {MAX_CODE}")

    def encode(self, log_p: np.ndarray) -> np.ndarray:
        """uint8 codes, 0 (p = 1) to `levels`. log_p: natural logarithms."""
        assert not np.isnan(log_p).any()
        return np.rint((1 - np.exp(np.minimum(log_p, 0) / 4)) * self.levels).astype(np.uint8)

    def encode_tail(self, log_tail: np.ndarray) -> np.ndarray:
        """The same for tails; -inf becomes EMPTY_TAIL."""
        return np.where(np.isneginf(log_tail), np.uint8(EMPTY_TAIL), self.encode(log_tail))

    @property
    def probabilities(self) -> np.ndarray:
        """What each of the CODES codes stands for, float64; the last but EMPTY_TAIL is a quarter of a step above 0."""
        root = np.maximum(1 - np.arange(CODES) / self.levels, 1 / (4 * self.levels))
        root[EMPTY_TAIL] = 0
        return root**4

    def describe(self) -> dict[str, Any]:
        """What a sidecar's description says of it."""
        formula = "p = max(1 - code / levels, 1 / (4 levels))^4"
        return {"formula": formula, "levels": self.levels, "empty_tail": EMPTY_TAIL}

    @classmethod
    def of(cls, description: dict[str, Any]) -> "ProbabilityQuantiser":
        """The quantiser that a description names."""
        return cls(levels=int(description["quantisation"]["levels"]))


def check_format(path: str | Path, description: dict[str, Any]) -> None:
    """ValueError when the sidecar at `path` has another format than this code reads."""
    found = description.get("format", 1)
    if found != FORMAT:
        raise ValueError(
            f"{path}: posteriors in format {found}, this asr_kd reads format {FORMAT}. "
            "Make it again: remove it and run `asr-kd label`, or use the asr_kd that made it."
        )


def encode_table(ids: Sequence[str], rows: Sequence[FrameTargets | str], quantiser: ProbabilityQuantiser) -> pa.Table:
    """The sidecar table of a shard: `rows` holds for each utterance its targets, or the reason why it has none."""
    largest = max((int(r.ids_TK.max(initial=0)) for r in rows if not isinstance(r, str)), default=0)
    assert largest < MAX_CLASSES
    id_bits = max(1, largest.bit_length())
    packer = RangeEncoder(id_bits)
    columns: dict[str, list[Any]] = {name: [] for name in SCHEMA.names}
    for utterance, row in zip(ids, rows, strict=True):
        if isinstance(row, str):
            values: dict[str, Any] = {"reason": row}
        else:
            packable = _packable(row, quantiser)
            values = {
                "frames": row.frames,
                "kept": len(packable.ids_N),
                "mass": float(1 - np.exp(row.log_tail_T.astype(np.float64)).mean()) if row.frames else 1.0,
                "packed": packer.pack(packable),
            }
        for name, column in columns.items():
            column.append({"id": utterance, "id_bits": id_bits}.get(name, values.get(name)))
    return pa.table(columns, schema=SCHEMA)


def _packable(targets: FrameTargets, quantiser: ProbabilityQuantiser) -> FrameCodes:
    kept_TK = targets.ids_TK >= 0
    return FrameCodes(
        kept_TK.sum(1).astype(np.int32),
        targets.ids_TK[kept_TK].astype(np.int32),
        quantiser.encode(targets.log_p_TK[kept_TK]),
        quantiser.encode_tail(targets.log_tail_T),
    )


class EncodedRows(Sequence[FrameTargets | None]):
    """The rows of a sidecar table, None for one that was set aside. Each frame's classes and tail sum to 1.

    k: keep only the k likeliest of what was stored, the rest joins the tail.  classes: how many the inventory has.
    The whole shard is unpacked at once (a row is told with what was learnt from those before it); FrameTargets are made
    when a row is asked for.  ValueError when the table is damaged or holds other classes.
    """

    def __init__(
        self, table: pa.Table, quantiser: ProbabilityQuantiser, k: int | None = None, classes: int = MAX_CLASSES
    ) -> None:
        columns = {name: table.column(name).combine_chunks() for name in ("frames", "kept", "id_bits", "packed")}
        frames = columns["frames"].fill_null(0).to_numpy().astype(np.int64)
        kept = columns["kept"].fill_null(0).to_numpy().astype(np.int64)
        bits = set(columns["id_bits"].to_pylist())
        sizes = pc.binary_length(columns["packed"]).fill_null(0).to_numpy().astype(np.int64)
        if (
            len(bits) > 1
            or not bits <= set(range(1, MAX_ID_BITS + 1))
            or min(frames.min(initial=0), kept.min(initial=0)) < 0
        ):
            raise ValueError("the packed targets are damaged")
        self._set_aside = columns["frames"].is_null().to_numpy(zero_copy_only=False)
        data = np.frombuffer(b"".join(columns["packed"].drop_null().to_pylist()), np.uint8)
        self._all = unpack(data, sizes.cumsum(), frames, int(kept.sum()), max(bits, default=1))
        if self._all.ids_N.max(initial=0) >= classes:
            raise ValueError(f"holds class {self._all.ids_N.max()}, the inventory has {classes} classes")
        self._frame_ends, self._class_ends = [0, *frames.cumsum().tolist()], [0, *kept.cumsum().tolist()]
        self._k = MAX_CLASSES_PER_FRAME if k is None else k
        self._p = quantiser.probabilities
        self._log_p = np.log(np.maximum(self._p, np.finfo(np.float64).tiny))

    def __len__(self) -> int:
        return len(self._set_aside)

    def __getitem__(self, row: Any) -> Any:
        if self._set_aside[row]:
            return None
        row = row % len(self)
        a, begin, end = self._all, self._frame_ends[row], self._frame_ends[row + 1]
        place = self._class_ends[row]
        padded = _padded(a.counts_T, a.ids_N, a.codes_N, a.tails_T, begin, end, place, self._p, self._log_p, self._k)
        return FrameTargets(*padded)


@numba.njit(cache=True)
def _padded(counts_T, ids_N, codes_N, tails_T, begin, end, place, p, log_p, k):  # type: ignore[no-untyped-def]
    """Slots for the frames from `begin` to `end`, whose classes begin at `place`: at most k a frame, likeliest first.

    -1 and -inf where there are fewer; probabilities are divided by their frame's sum.
    """
    most = 1
    for t in range(begin, end):
        most = max(most, counts_T[t])
    shape = (end - begin, min(most, k))
    ids_TK, log_p_TK = np.full(shape, -1, np.int32), np.full(shape, -np.inf, np.float32)
    log_tail_T = np.empty(end - begin, np.float32)
    for t in range(end - begin):
        count = counts_T[begin + t]
        total = tail = p[tails_T[begin + t]]
        for i in range(count):
            value = p[codes_N[place + i]]
            total += value
            if i >= k:
                tail += value
        log_total = np.log(total)
        for i in range(min(count, k)):
            ids_TK[t, i] = ids_N[place + i]
            log_p_TK[t, i] = log_p[codes_N[place + i]] - log_total
        log_tail_T[t] = np.log(tail) - log_total if tail > 0 else -np.inf
        place += count
    return ids_TK, log_p_TK, log_tail_T
