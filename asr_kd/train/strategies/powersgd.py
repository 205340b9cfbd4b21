"""PowerSGD (Vogels et al., NeurIPS 2019) as PyTorch has it, for comparison: matrices are sent as products of thin ones.

Of a gradient M and what was left over e, P = (M + e) Q and Q = (M + e)^T P are averaged over ranks, P orthogonal, and
P Q^T is the mean gradient that is used; M + e - P Q^T is left over, on each rank its own. Biases are sent whole, and so
is everything before `start_step`. On one rank nothing is sent or left over.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.powerSGD_hook import PowerSGDState, powerSGD_hook

from asr_kd.core.ranks import Ranks
from asr_kd.train.strategies.buckets import buckets_of, flat_gradients, parts_of
from asr_kd.train.strategies.config import StrategyConfig
from asr_kd.train.strategies.strategy import StepFrames, Strategy

EPSILON = 1e-8
"""Keeps a matrix of zeros from becoming NaN; what PyTorch advises."""


@dataclass(frozen=True)
class _Bucket:
    """What PyTorch's hook asks of a bucket of DistributedDataParallel."""

    number: int
    weights: list[nn.Parameter]
    is_last_one: bool
    mean_N: Tensor
    """This rank's gradients; afterwards what the update is to use."""

    def index(self) -> int:
        return self.number

    def is_last(self) -> bool:
        return self.is_last_one

    def buffer(self) -> Tensor:
        return self.mean_N

    def gradients(self) -> list[Tensor]:
        return parts_of(self.mean_N, self.weights)


class PowerSGD(Strategy):
    """What was sent and what is left over together are the gradient."""

    is_local = True

    def __init__(self, trained: Sequence[nn.Parameter], lanes: int, ranks: Ranks, config: StrategyConfig) -> None:
        super().__init__(trained, lanes, ranks, config)
        self.buckets = buckets_of(reversed(self.trained))
        self._state = PowerSGDState(None, config.matrix_rank, config.start_step, orthogonalization_epsilon=EPSILON)
        self._has_had = [False] * len(self.trained)
        """Which weights have had a gradient in some step, on some rank."""

    @torch.no_grad()
    def after_backward(self, frames: StepFrames) -> None:
        """The mean over the frames of all lanes, in the long run."""
        if not frames.all:
            return
        if self.ranks.world == 1:
            self._state.iter += 1
            if self.lanes > 1:
                self._divide(frames.all)
            return
        self._has_had = self._used_so_far(self._has_had)
        is_used = dict(zip(self.trained, self._has_had, strict=True))
        for number, weights in enumerate(self.buckets):  # one at a time: the hook exchanges more in PyTorch's threads
            own_N = flat_gradients(weights) * (self.ranks.world / frames.all)
            bucket = _Bucket(number, weights, number == len(self.buckets) - 1, own_N)
            is_whole, before = self._state.iter < self.config.start_step, self._state.total_numel_after_compression
            self.ranks.wait_for(powerSGD_hook(self._state, bucket))
            sent = own_N.numel() if is_whole else self._state.total_numel_after_compression - before
            self.ranks.bytes_sent += sent * own_N.element_size()
            for weight, grad in zip(weights, bucket.gradients(), strict=True):
                weight.grad = grad if is_used[weight] else None

    def state_dict(self) -> dict[str, Any]:
        """By bucket P and Q, the same on all ranks, and what is left over on this one."""
        state = self._state
        shared = {"steps": state.iter, "p": state.p_memory_dict, "q": state.q_memory_dict, "has_had": self._has_had}
        return {"shared": shared, "left_over": state.error_dict, "ranks": self.ranks.world}

    def take_over(self, states: Sequence[dict[str, Any]], same_ranks: bool) -> None:
        """Take what is left over of those that this rank stands for; ranks that are new have P and Q of the first."""
        shared = states[0]["shared"] if same_ranks else self.ranks.on_first(lambda: states[0]["shared"])
        state, device = self._state, self.trained[0].device
        state.iter, self._has_had = shared["steps"], list(shared["has_had"])
        state.p_memory_dict = {number: tensor.to(device) for number, tensor in shared["p"].items()}
        state.q_memory_dict = {number: tensor.to(device) for number, tensor in shared["q"].items()}
        state.error_dict = {}
        for theirs in states if self.ranks.world > 1 else ():
            for number, tensor in theirs["left_over"].items():
                share = tensor.to(device) * (self.ranks.world / theirs["ranks"])  # ranks are averaged
                state.error_dict[number] = state.error_dict.get(number, 0) + share
