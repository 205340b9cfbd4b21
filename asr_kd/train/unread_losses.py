"""Losses of training steps that lie on the device until several are copied to the host at once.

Each copy waits for all work that is queued on a GPU, so a copy a step would keep it from running ahead.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from asr_kd.train.loss_sum import LossSum


class NonFiniteLoss(ValueError):
    """Names the first step whose loss is not finite."""


@dataclass(frozen=True)
class ReadLosses:
    """Of one batch."""

    place: tuple[int, int]
    """Step and lane."""
    parts: dict[str, tuple[float, float]]
    """By name, weighted sum and count."""
    where: str
    """For messages."""


@dataclass(frozen=True)
class _Unread:
    values: Tensor
    """(2 x losses,) float64 on the device: weighted sum and count of each."""
    names: tuple[str, ...]
    place: tuple[int, int]
    where: str


class UnreadLosses:
    """Losses on the device, and the way from there to the host."""

    def __init__(self, every: int) -> None:
        """every: steps after which the losses are to be read."""
        self.every = every
        self._batches: list[_Unread] = []

    def add(self, losses: Mapping[str, LossSum], place: tuple[int, int], where: str) -> None:
        """Keep a batch's losses without waiting for the device. place: step and lane.  where: for messages."""
        values = torch.stack([part.detach().double() for x in losses.values() for part in (x.weight * x.sum, x.count)])
        self._batches.append(_Unread(values, tuple(losses), place, where))

    def read(self) -> list[ReadLosses]:
        """What waits, in order of its place."""
        waiting, self._batches = self._batches, []
        found = []
        for names in dict.fromkeys(batch.names for batch in waiting):  # nearly always one: then this is one copy
            alike = [batch for batch in waiting if batch.names == names]
            rows = torch.stack([batch.values for batch in alike]).tolist()
            for batch, row in zip(alike, rows, strict=True):
                parts = dict(zip(names, zip(row[::2], row[1::2], strict=True), strict=True))
                found.append(ReadLosses(batch.place, parts, batch.where))
        return found


def add_up(read: Iterable[ReadLosses], losses: dict[str, tuple[float, float]]) -> None:
    """Add batches to the sums of a sub-epoch in order of their places: whoever read them, the sums have the same bits.

    NonFiniteLoss before anything of such a batch is added up.
    """
    for batch in sorted(read, key=lambda batch: batch.place):
        loss = sum(part / max(count, 1) for part, count in batch.parts.values())
        if not math.isfinite(loss):
            raise NonFiniteLoss(f"the loss is {loss} at {batch.where}")
        for name, (part, count) in batch.parts.items():
            total, of = losses.get(name, (0.0, 0.0))
            losses[name] = (total + part, of + count)
