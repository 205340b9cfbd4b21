"""Gradient threshold compression (Strom, Interspeech 2015): only large entries are sent, the rest waits in a residual.

    r <- r + g;  entries with |r| > threshold are sent as index and sign;  sign x threshold is taken off r

An entry is 4 bytes: its index and its sign. Every rank adds up what all have sent, in the order of the ranks.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from asr_kd.core.ranks import Ranks
from asr_kd.train.strategies.buckets import flat_gradients, parts_of
from asr_kd.train.strategies.config import StrategyConfig
from asr_kd.train.strategies.strategy import StepFrames, Strategy

MAX_WEIGHTS = 2**31 - 1
"""That an index of 4 bytes with a sign can name."""


class Threshold(Strategy):
    """What was sent and the residual together are the gradient: nothing is lost, it comes later."""

    is_local = True

    def __init__(self, trained: Sequence[nn.Parameter], lanes: int, ranks: Ranks, config: StrategyConfig) -> None:
        super().__init__(trained, lanes, ranks, config)
        weights = sum(weight.numel() for weight in self.trained)
        if weights > MAX_WEIGHTS:
            raise ValueError(f"train.strategy threshold: {weights} weights; at most {MAX_WEIGHTS} can be indexed")
        self.residual_N = torch.zeros(weights, device=self.trained[0].device)
        self._has_had = [False] * len(self.trained)
        """Which weights have had a gradient in some step, on some rank."""

    @torch.no_grad()
    def after_backward(self, frames: StepFrames) -> None:
        """The sum of what all ranks send; the mean gradient over the frames of all lanes in the long run."""
        if not frames.all:
            return
        self._has_had = self._used_so_far(self._has_had)
        grad_N = flat_gradients(self.trained).float()
        if self.lanes > 1:
            grad_N /= frames.all
        sent = compress(self.residual_N, grad_N, self.config.threshold)
        total_N = torch.zeros_like(self.residual_N)
        for entries in self.ranks.gather_tensors(sent):
            expand(entries, self.config.threshold, total_N)
        for weight, part, is_used in zip(self.trained, parts_of(total_N, self.trained), self._has_had, strict=True):
            weight.grad = part.to(weight.dtype) if is_used else None

    def state_dict(self) -> dict[str, Any]:
        """The residual of this rank, and which weights have had a gradient."""
        return {"residual_N": self.residual_N, "has_had": self._has_had}

    def take_over(self, states: Sequence[dict[str, Any]], same_ranks: bool) -> None:
        """Take the residuals of those that this rank stands for: what waits to be sent is not lost."""
        self.residual_N.zero_()
        for state in states:
            self._has_had = list(state["has_had"])
            self.residual_N += state["residual_N"].to(self.residual_N.device)


def compress(residual_N: Tensor, grad_N: Tensor, threshold: float) -> Tensor:
    """Add a gradient to the residual and take off what is sent: int32 entries, ~index where the sign is negative."""
    residual_N += grad_N
    index_M = (residual_N.abs() > threshold).nonzero()[:, 0]
    sign_M = residual_N[index_M].sign()
    residual_N[index_M] -= threshold * sign_M
    index_M = index_M.int()
    return torch.where(sign_M < 0, ~index_M, index_M)


def expand(entries_M: Tensor, threshold: float, total_N: Tensor) -> None:
    """Add what was sent to `total_N`."""
    is_negative_M = entries_M < 0
    index_M = torch.where(is_negative_M, ~entries_M, entries_M).long()
    total_N[index_M] += torch.where(is_negative_M, -threshold, threshold).to(total_N.dtype)
