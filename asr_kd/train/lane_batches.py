"""The steps of a training set: this rank's batches of each, and what all ranks know of it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from asr_kd.core.ranks import Ranks
from asr_kd.data.loader import Batch
from asr_kd.data.sampler import Position

_FRAMES, _SECONDS, _HAS_ENDED, _WINDOW, _WINDOW_BATCH = range(5)


@dataclass(frozen=True)
class Agreed:
    """What every rank knows of a step, the same on all."""

    frames: int
    """That the step learns from."""
    seconds: float
    """Audio of its planned batches."""
    end: Position
    """Where the set goes on after it."""
    stop: bool
    """Whether some rank was asked to stop."""
    save: bool
    """Whether the first rank finds that it is time to save."""


@dataclass
class Step:
    """A step before it is done."""

    batches: dict[int, Batch]
    """By lane; lanes without a batch left, and those of other ranks, are not in it."""
    agreed: Callable[[], Agreed] = field(repr=False)
    """Waits for the other ranks."""

    @property
    def own_frames(self) -> int:
        """Frames of this rank's batches."""
        return sum(batch.frames for batch in self.batches.values())


class LaneBatches:
    """All ranks take the same number of steps in an epoch: it ends for all when the last lane has no batch left."""

    def __init__(self, lanes: int, own: Sequence[int], made: Iterator[Batch], ranks: Ranks) -> None:
        """made: the batches of this rank's lanes, from where the set is, in the order of steps, without end."""
        self.lanes, self.own, self.ranks = lanes, own, ranks
        self._made = made
        self._next: Batch | None = None

    def step(self, position: Position, stop: bool = False, save: bool = False) -> Step:
        """The step at `position`, which is where the last one ended. stop, save: what this rank wants."""
        batches: dict[int, Batch] = {}
        while len(batches) < len(self.own):
            batch = self._next or next(self._made)
            if (batch.spec.epoch, batch.spec.index) != (position.epoch, position.batch):
                self._next = batch  # of the next epoch, or of a later step: the other lanes have none left
                break
            self._next, batches[batch.spec.lane] = None, batch
        windows = position.windows or ((0, 0),) * self.lanes
        report = np.zeros((self.lanes + 1, 5))
        for lane in self.own:
            report[lane, _HAS_ENDED] = lane not in batches or batches[lane].spec.is_last
            report[lane, _WINDOW:] = windows[lane]
        for lane, batch in batches.items():
            report[lane, _FRAMES], report[lane, _SECONDS] = batch.frames, batch.seconds
            report[lane, _WINDOW:] = batch.spec.window
        report[self.lanes, :2] = stop, save and self.ranks.is_first
        told = self.ranks.sum_later(report)
        return Step(batches, lambda: self._agreed(told(), position))

    def _agreed(self, report: np.ndarray, position: Position) -> Agreed:
        *lanes, flags = report.tolist()
        seconds = sum(lane[_SECONDS] for lane in lanes)
        if all(lane[_HAS_ENDED] for lane in lanes):
            end = Position(position.epoch + 1)
        else:
            windows = tuple((int(lane[_WINDOW]), int(lane[_WINDOW_BATCH])) for lane in lanes)
            end = Position(position.epoch, position.batch + 1, position.seconds + seconds, windows)
        return Agreed(int(sum(lane[_FRAMES] for lane in lanes)), seconds, end, bool(flags[0]), bool(flags[1]))
