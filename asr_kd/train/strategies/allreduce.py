"""All-reduce: every rank gets the sum of all gradients, in buckets. Fast; other bits on another number of ranks.

A bucket is sent in the backward pass of the rank's last lane, as soon as all of its weights have their gradients there,
while those of earlier layers are still computed. Ranks must send buckets in the same order, whatever their batches use:
it is that of the last weight to the first; what no backward pass has completed is sent at its end.
"""

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn

from asr_kd.core.ranks import Ranks
from asr_kd.train.strategies.buckets import buckets_of, flat_gradients, parts_of
from asr_kd.train.strategies.config import StrategyConfig
from asr_kd.train.strategies.strategy import StepFrames, Strategy


class AllReduce(Strategy):
    """Sums over a rank's lanes where they arise, then over ranks."""

    def __init__(self, trained: Sequence[nn.Parameter], lanes: int, ranks: Ranks, config: StrategyConfig) -> None:
        super().__init__(trained, lanes, ranks, config)
        self.buckets = buckets_of(reversed(self.trained)) if ranks.world > 1 else []
        self.sent: list[tuple[Tensor, Callable[[], None]]] = []
        """Of the first buckets, in this step: the sum under way, and what waits for it."""
        self._begin_step()
        for number, bucket in enumerate(self.buckets):
            for weight in bucket:
                weight.register_post_accumulate_grad_hook(partial(self._after_gradient, number))

    def _begin_step(self) -> None:
        self.sent.clear()
        self._lanes_left = len(self.own_lanes)
        self._missing = [len(bucket) for bucket in self.buckets]
        """Of each bucket, weights without a gradient from the last lane."""

    def _after_gradient(self, bucket: int, weight: Tensor) -> None:
        if self._lanes_left == 1:
            self._missing[bucket] -= 1
            while len(self.sent) < len(self.buckets) and not self._missing[len(self.sent)]:
                self._send()

    def _send(self) -> None:
        sum_N = flat_gradients(self.buckets[len(self.sent)])
        self.sent.append((sum_N, self.ranks.begin_sum(sum_N)))

    def after_lane(self) -> None:
        """Count it."""
        self._lanes_left -= 1

    def after_backward(self, frames: StepFrames) -> None:
        """The mean over the frames of all lanes."""
        if self.buckets:
            while len(self.sent) < len(self.buckets):
                self._send()
            used = dict(zip(self.trained, self._used_by_any(w.grad is not None for w in self.trained), strict=True))
            for bucket, (sum_N, wait) in zip(self.buckets, self.sent, strict=True):
                wait()
                for weight, part in zip(bucket, parts_of(sum_N, bucket), strict=True):
                    weight.grad = part if used[weight] else None
        self._begin_step()
        if self.lanes > 1:
            self._divide(frames.all)
