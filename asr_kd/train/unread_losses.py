"""Losses of training steps that lie on the device until several are copied to the host at once.

Each copy waits for all work that is queued on a GPU, so a copy a step would keep it from running ahead.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from asr_kd.train.loss_sum import LossSum
from asr_kd.train.state import RunState


class NonFiniteLoss(ValueError):
    """Names the first step whose loss is not finite."""


@dataclass(frozen=True)
class _Step:
    values: Tensor
    """(2 x losses,) float64 on the device: weighted sum and count of each."""
    names: tuple[str, ...]
    where: str


class UnreadLosses:
    """Losses on the device, and the way from there into a run's state."""

    def __init__(self, every: int) -> None:
        """every: steps after which the losses are due to be read."""
        self.every = every
        self._steps: list[_Step] = []

    @property
    def are_due(self) -> bool:
        """Whether so many steps wait."""
        return len(self._steps) >= self.every

    def add(self, losses: Mapping[str, LossSum], where: str) -> None:
        """Keep a step's losses without waiting for the device. where: the step and its batch, for messages."""
        values = torch.stack([part.detach().double() for x in losses.values() for part in (x.weight * x.sum, x.count)])
        self._steps.append(_Step(values, tuple(losses), where))

    def read_into(self, state: RunState) -> None:
        """Add what waits to the sums of the sub-epoch. NonFiniteLoss before anything of a step is added up."""
        steps, self._steps = self._steps, []
        for names in dict.fromkeys(step.names for step in steps):  # nearly always one: then this is one copy
            alike = [step for step in steps if step.names == names]
            rows = torch.stack([step.values for step in alike]).tolist()
            for step, row in zip(alike, rows, strict=True):
                parts = dict(zip(names, zip(row[::2], row[1::2], strict=True), strict=True))
                loss = sum(part / max(count, 1) for part, count in parts.values())
                if not math.isfinite(loss):
                    raise NonFiniteLoss(f"the loss is {loss} at {step.where}")
                for name, (part, count) in parts.items():
                    total, of = state.losses.get(name, (0.0, 0.0))
                    state.losses[name] = (total + part, of + count)
