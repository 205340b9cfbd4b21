"""Losses before they are divided: what ranks, lanes and micro-batches have of one can be added."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class LossSum:
    """A loss as a sum and the number of things that it is summed over; both lie on the device, unread."""

    sum: Tensor
    """A scalar."""
    count: Tensor
    """A scalar: frames, utterances, ... With 0 of them the mean is 0."""
    weight: float = 1.0
    """Of the mean, in what is minimised."""

    @classmethod
    def over(cls, values: Tensor, mask: Tensor) -> "LossSum":
        """Of the values where `mask` is true."""
        return cls(torch.where(mask, values, 0).sum(), mask.sum())

    @classmethod
    def of(cls, values_N: Tensor) -> "LossSum":
        """Of all values."""
        return cls(values_N.sum(), values_N.new_full((), values_N.numel()))

    def times(self, weight: float) -> "LossSum":
        """The same with its weight multiplied."""
        return replace(self, weight=self.weight * weight)

    @property
    def mean(self) -> Tensor:
        """The weighted mean, a scalar. Nothing else divides."""
        return self.weight * (self.sum / self.count.clamp(min=1))


def average(losses: Sequence[LossSum]) -> LossSum:
    """The mean of losses over the same things."""
    return LossSum(torch.stack([loss.sum for loss in losses]).mean(), losses[0].count)


def total(losses: Mapping[str, LossSum]) -> Tensor:
    """What is minimised: the sum of the weighted means."""
    return torch.stack([loss.mean for loss in losses.values()]).sum()
