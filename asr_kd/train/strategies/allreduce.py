"""All-reduce: every rank gets the sum of all gradients, in buckets. Fast; other bits on another number of ranks."""

import itertools

import torch
from torch import Tensor

from asr_kd.train.strategies.strategy import StepFrames, Strategy

BUCKET_BYTES = 25_000_000
"""Gradients are sent together up to so much: a message for each would cost more than its bytes."""


class AllReduce(Strategy):
    """Sums over a rank's lanes where they arise, then over ranks."""

    def after_backward(self, frames: StepFrames) -> None:
        """The mean over the frames of all lanes."""
        if self.ranks.world > 1:
            buckets = _buckets(self._gradients())
            flat = [torch.cat([grad.flatten() for grad in bucket]) for bucket in buckets]
            self.ranks.sum(flat)
            for bucket, values_N in zip(buckets, flat, strict=True):
                parts = values_N.split([grad.numel() for grad in bucket])
                torch._foreach_copy_(bucket, [part.view_as(grad) for part, grad in zip(parts, bucket, strict=True)])
        if self.lanes > 1:
            self._divide(frames.all)

    def _gradients(self) -> list[Tensor]:
        """Of the weights that some rank has used; 0 where it was another one."""
        used = self._used_by_any([weight.grad is not None for weight in self.trained])
        found = []
        for weight in itertools.compress(self.trained, used):
            if weight.grad is None:
                weight.grad = weight.new_zeros(weight.shape)
            found.append(weight.grad)
        return found


def _buckets(grads: list[Tensor]) -> list[list[Tensor]]:
    """Gradients of one type, in order, up to `BUCKET_BYTES` together."""
    buckets: list[list[Tensor]] = []
    room = 0
    for grad in grads:
        if not buckets or grad.nbytes > room or grad.dtype != buckets[-1][0].dtype:
            buckets.append([])
            room = BUCKET_BYTES
        buckets[-1].append(grad)
        room -= grad.nbytes
    return buckets
