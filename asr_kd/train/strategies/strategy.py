"""The interface of what makes one update of the gradients of many lanes, and what all of its kinds do."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from asr_kd.core.ranks import Ranks
from asr_kd.train.strategies.config import StrategyConfig


@dataclass(frozen=True)
class StepFrames:
    """Frames that a step learns from."""

    all: int
    """Of all lanes."""
    own: int
    """Of this rank's."""


class Strategy(ABC):
    """Called at the seams of a step: after each lane's backward pass, after the last one, after the update.

    Where the run has several lanes, the loss of each is multiplied by its frames before its backward pass, so that the
    sum over lanes divided by all frames is the gradient of the mean over the step.
    """

    is_local = False
    """Whether each rank has a state of its own, besides the one that all share."""
    has_own_weights = False
    """Whether that state includes weights and the optimiser's moments."""

    def __init__(self, trained: Sequence[nn.Parameter], lanes: int, ranks: Ranks, config: StrategyConfig) -> None:
        """trained: what is updated, in the same order on all ranks. ValueError when lanes and ranks do not fit."""
        self.trained, self.lanes, self.ranks, self.config = list(trained), lanes, ranks, config
        if lanes % ranks.world:
            fits = [n for n in range(1, lanes + 1) if lanes % n == 0]
            raise ValueError(
                f"train.lanes is {lanes}, which {ranks.world} ranks cannot share evenly. Start {fits[-1]} ranks or "
                f"another divisor of it ({', '.join(map(str, fits))}), or set train.lanes to a multiple of the ranks."
            )

    @property
    def own_lanes(self) -> list[int]:
        """Lanes of this rank, in the order in which they are worked on."""
        return list(range(self.ranks.rank, self.lanes, self.ranks.world))

    def after_lane(self) -> None:
        """A lane's gradient has been added to `grad`; also called for a lane without data in this step."""
        return

    @abstractmethod
    def after_backward(self, frames: StepFrames) -> None:
        """Make `grad` what the update is to use."""

    def after_step(self) -> None:
        """The weights were updated."""
        return

    def end_block(self) -> None:
        """Make the weights the same on all ranks: they are about to be tested."""
        return

    def state_dict(self) -> dict[str, Any]:
        """What this rank has to remember besides weights and optimiser."""
        return {}

    def take_over(self, states: Sequence[dict[str, Any]], same_ranks: bool) -> None:
        """Go on from what ranks remembered: this one where there are as many as then, else all that it stands for."""
        return

    def _divide(self, frames: int) -> None:
        for weight in self.trained:
            if weight.grad is not None:
                weight.grad /= frames

    def _used_by_any(self, used: Iterable[bool]) -> list[bool]:
        """Of each weight, whether some rank used it. What no lane of a step uses must stay without a gradient: the
        optimiser leaves it alone."""
        return (self.ranks.sum_later(np.array(list(used), np.float64))() > 0).tolist()

    def _used_so_far(self, before: Iterable[bool]) -> list[bool]:
        """Of each weight, whether some rank has used it before or now: what has waited is sent in any later step."""
        return self._used_by_any(b or w.grad is not None for b, w in zip(before, self.trained, strict=True))
