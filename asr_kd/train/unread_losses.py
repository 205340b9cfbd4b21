"""Losses of training steps that lie on the device until several are copied to the host at once.

Each copy waits for all work that is queued on a GPU, so a copy a step would keep it from running ahead.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from asr_kd.train.state import RunState


class NonFiniteLoss(ValueError):
    """Names the first step whose loss is not finite."""


@dataclass(frozen=True)
class _Step:
    values: Tensor
    """(1 + terms,) on the device: their sum, then each."""
    names: tuple[str, ...]
    """Of the terms."""
    frames: int
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

    def add(self, loss: Tensor, terms: dict[str, Tensor], frames: int, where: str) -> None:
        """Keep a step's losses, scalars in nats per frame, without waiting for the device.

        frames: of the batch, what the loss counts by.  where: the step and its batch, for messages.
        """
        values = torch.stack([loss, *terms.values()]).detach()
        self._steps.append(_Step(values, tuple(terms), frames, where))

    def read_into(self, state: RunState) -> None:
        """Add what waits to the sums of the sub-epoch. NonFiniteLoss before anything of it is added up."""
        steps, self._steps = self._steps, []
        for names in dict.fromkeys(step.names for step in steps):  # nearly always one: then this is one copy
            alike = [step for step in steps if step.names == names]
            rows = torch.stack([step.values for step in alike]).tolist()
            for step, (loss, *terms) in zip(alike, rows, strict=True):
                if not math.isfinite(loss):
                    raise NonFiniteLoss(f"the loss is {loss} at {step.where}")
                state.loss_sum += loss * step.frames
                state.frames += step.frames
                for name, term in zip(names, terms, strict=True):
                    total, count = state.losses.get(name, (0.0, 0))
                    state.losses[name] = (total + term, count + 1)
