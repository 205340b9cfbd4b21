"""Blockwise model-update filtering (Chen and Huo, ICASSP 2016): ranks train apart and average now and then.

Every `block_steps` steps the weights of all ranks are averaged to W_bar. All began the block with the same weights W_g;

    D <- block_momentum D + block_lr (W_bar - W_g)
    W <- W + D

and they begin the next with W_g = W, or, with Nesterov's momentum, W_g = W + block_momentum D. (The difference is to
W_g, not to W: else Nesterov's momentum counts twice, and D grows without end from 0.5 on.) A step uses the gradient of
the rank's own lanes; the optimiser's moments stay each rank's own.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from asr_kd.core.ranks import Ranks
from asr_kd.train.strategies.config import StrategyConfig
from asr_kd.train.strategies.strategy import StepFrames, Strategy


class Bmuf(Strategy):
    """Communicates the weights once a block instead of gradients once a step."""

    is_local = True
    has_own_weights = True

    def __init__(self, trained: Sequence[nn.Parameter], lanes: int, ranks: Ranks, config: StrategyConfig) -> None:
        super().__init__(trained, lanes, ranks, config)
        given = config.block_momentum
        self.momentum = 1 - 1 / ranks.world if given is None else given
        self.steps = 0
        """Since the last block ended."""
        self.weights: list[Tensor] = [weight.detach().clone() for weight in self.trained]
        """W, of the block before."""
        self.change: list[Tensor] = [torch.zeros_like(weight) for weight in self.trained]
        """D"""

    def after_backward(self, frames: StepFrames) -> None:
        """The mean over the frames of this rank."""
        if self.lanes > 1 and frames.own:
            self._divide(frames.own)

    def after_step(self) -> None:
        """End the block where it is due."""
        self.steps += 1
        if self.steps == self.config.block_steps:
            self.end_block()

    @torch.no_grad()
    def end_block(self) -> None:
        """Average, filter, and go on from there."""
        if not self.steps:
            return
        self.steps = 0
        trained: list[Tensor] = [*self.trained]
        mean = [weight.clone() for weight in trained]
        self.ranks.sum(mean)
        torch._foreach_div_(mean, self.ranks.world)
        torch._foreach_sub_(mean, self._begun_with())
        torch._foreach_mul_(self.change, self.momentum)
        torch._foreach_add_(self.change, mean, alpha=self.config.block_lr)
        torch._foreach_add_(self.weights, self.change)
        torch._foreach_copy_(trained, self._begun_with())

    def _begun_with(self) -> list[Tensor]:
        """W_g"""
        if not self.config.nesterov:
            return self.weights
        return list(torch._foreach_add(self.weights, self.change, alpha=self.momentum))

    def state_dict(self) -> dict[str, Any]:
        """W and D are the same on all ranks; what lies in the block under way is each rank's own."""
        return {"steps": self.steps, "weights": self.weights, "change": self.change}

    @torch.no_grad()
    def take_over(self, states: Sequence[dict[str, Any]], same_ranks: bool) -> None:
        """Go on within the block; with other ranks, from the weights that it began with."""
        state = states[0]
        for ours, theirs in ((self.weights, state["weights"]), (self.change, state["change"])):
            torch._foreach_copy_(ours, [tensor.to(ours[0].device) for tensor in theirs])
        self.steps = state["steps"]
        if not same_ranks:
            self.steps = 0
            torch._foreach_copy_([*self.trained], self._begun_with())
