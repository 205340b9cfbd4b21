"""A fixed tree over lanes: the same bits on 1, 2, 4, ... ranks, so a run may go on with another number of them.

Of L lanes, l and l + L/2 are added first, then those sums L/4 apart, and so on. Rank r of W has lanes r, r + W, ...: it
adds its own without the others, and the last log2(W) levels are exchanges of pairs of ranks. Memory: a gradient for
each level of the tree; traffic: log2(W) gradients a step.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from asr_kd.core.ranks import Ranks
from asr_kd.train.strategies.buckets import flat_gradients, parts_of
from asr_kd.train.strategies.config import StrategyConfig
from asr_kd.train.strategies.strategy import StepFrames, Strategy


class Tree(Strategy):
    """Needs lanes and ranks that are powers of two."""

    def __init__(self, trained: Sequence[nn.Parameter], lanes: int, ranks: Ranks, config: StrategyConfig) -> None:
        super().__init__(trained, lanes, ranks, config)
        for what, count in (("train.lanes is", lanes), ("ranks are", ranks.world)):
            if count & (count - 1):
                raise ValueError(f"{what} {count}; train.strategy tree needs a power of two (1, 2, 4, ...)")
        self._sums: list[tuple[int, Tensor]] = []
        """Lanes in each sum and the sum, of ever smaller parts of the tree."""
        self._used = [False] * len(self.trained)

    @property
    def own_lanes(self) -> list[int]:
        """So that the first two are neighbours in the tree, then the next two, then these two sums, ..."""
        lanes, order = super().own_lanes, [0]
        while len(order) < len(lanes):  # places by their bits read backwards
            order = [2 * place for place in order] + [2 * place + 1 for place in order]
        return [lanes[place] for place in order]

    def after_lane(self) -> None:
        """Take the lane's gradient away and add it where the tree says."""
        if self.lanes == 1:
            return
        for place, weight in enumerate(self.trained):
            self._used[place] |= weight.grad is not None
        flat_N = flat_gradients(self.trained)
        for weight in self.trained:
            weight.grad = None
        count = 1
        while self._sums and self._sums[-1][0] == count:
            flat_N = self._sums.pop()[1].add_(flat_N)
            count *= 2
        self._sums.append((count, flat_N))

    def after_backward(self, frames: StepFrames) -> None:
        """The mean over the frames of all lanes."""
        if self.lanes == 1:
            return
        ((_, flat_N),) = self._sums
        self._sums = []
        stride = self.ranks.world // 2
        while stride:
            self.ranks.add_of(self.ranks.rank ^ stride, flat_N)
            stride //= 2
        parts = parts_of(flat_N, self.trained)
        for weight, part, used in zip(self.trained, parts, self._used_by_any(self._used), strict=True):
            weight.grad = part if used else None
        self._used = [False] * len(self.trained)
        self._divide(frames.all)
