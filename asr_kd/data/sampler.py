"""Which utterances share a batch, and in which order: decided by (seed, stream, epoch), a few shards at a time.

A set is dealt to lanes, virtual ranks whose number belongs to the run and not to the machine. In an epoch each lane
owns whole shards and makes batches of them; a step takes one batch of every lane, so that batches do not depend on how
many ranks share the lanes.
"""

import hashlib
import heapq
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count, islice
from typing import Any

import numpy as np

from asr_kd.core.config import to_dict
from asr_kd.core.files import fingerprint
from asr_kd.core.storage import PathOrUrl
from asr_kd.frontend.augment import AugmentConfig
from asr_kd.shards.reader import Entry, Shard, open_shard
from asr_kd.targets.frame_targets import SHARDS_KEPT_OPEN, TargetSource

LENGTH_JITTER = 0.1
"""Lengths are ordered with this much noise, so that neighbours in length are not in one batch every epoch."""
MAX_PARTIAL_PASS = 1 - 1e-9
"""A pass is done when its last batch is; sums of seconds may say so a little before."""


@dataclass
class TrainingSet:
    """Shards with their targets, that are trained (or tested) on as one set."""

    name: str
    shards: list[PathOrUrl]
    targets: TargetSource
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    is_supervised: bool = True
    """Whether its targets are ground truth, not a teacher's."""
    utterance_ids: frozenset[str] | None = None
    """Ids of the utterances that belong to it; None takes all of the shards."""

    def without_augmentation(self) -> "TrainingSet":
        """The same data as they are."""
        return replace(self, augment=AugmentConfig())


@dataclass(frozen=True)
class Position:
    """Where a training set goes on: all of it that a run has to remember."""

    epoch: int = 0
    batch: int = 0
    """The next step of the epoch: the number of each lane's next batch."""
    seconds: float = 0.0
    """Audio of the epoch that lies before it, of all lanes."""
    windows: tuple[tuple[int, int], ...] = ()
    """Of each lane, the window of shards that it is in and the number of that window's first batch, so that going on
    opens no shard that is done with. Empty: all lanes are at their first."""


START = Position()


@dataclass(frozen=True)
class BatchSpec:
    """A batch before it is read: cheap to send to a worker."""

    epoch: int
    index: int
    """Number of the batch within its lane's epoch: its step."""
    rows: tuple[tuple[PathOrUrl, int], ...]
    """Shard and row of each utterance."""
    seconds: float
    """Audio in it."""
    seed: tuple[int, ...]
    """All randomness of the batch is drawn from these numbers."""
    is_last: bool
    """Of its lane's epoch."""
    lane: int = 0
    window: tuple[int, int] = (0, 0)
    """As in `Position.windows`."""


class BatchSampler:
    """The batches of each epoch. Within a window of shards, utterances are shuffled and put together by length.

    frames_per_batch: most frames of a batch, padding and the slowest speed of augmentation included; an utterance
    that is longer makes a batch of its own.  shuffle: False keeps the shards' order (for held-out data).
    """

    def __init__(
        self,
        stream: TrainingSet,
        frames_per_batch: int,
        seed: int,
        frame_shift_s: float = 0.030,
        shuffle: bool = True,
        lanes: int = 1,
    ) -> None:
        self.stream, self.shuffle, self.lanes = stream, shuffle, lanes
        name = int.from_bytes(hashlib.sha256(stream.name.encode()).digest()[:8], "big")
        self.seed = (seed, name)
        self._seconds_per_batch = frames_per_batch * frame_shift_s * min(stream.augment.speed_perturb)
        self._shards = ShardCache()
        self._shard_seconds: list[float] = []
        """Audio that the set has in each shard."""
        self.seconds = 0.0
        """Audio in an epoch."""
        self.utterances = 0
        found: set[str] = set()
        for path in stream.shards:
            if stream.utterance_ids is None:
                shard = self._shards(path)
                self._shard_seconds.append(shard.seconds)
                self.utterances += len(shard.entries)
                self.seconds += shard.seconds
                continue
            in_shard = 0.0
            for _, entry in self._rows(path):
                self.seconds += entry.seconds
                in_shard += entry.seconds
                self.utterances += 1
                found.add(entry.id)
            self._shard_seconds.append(in_shard)
        self.missing = (stream.utterance_ids or frozenset()) - found
        """Ids of `stream.utterance_ids` that no shard holds: the caller's to judge."""
        if not self.utterances and not self.missing:
            raise ValueError(f"{stream.name}: its {len(stream.shards)} shards hold no utterance")
        filled = sum(seconds > 0 for seconds in self._shard_seconds)
        if lanes > max(filled, 1):
            raise ValueError(
                f"{stream.name}: {filled} shards with utterances cannot be dealt to {lanes} lanes. Set train.lanes to "
                f"{filled} or less, or write smaller shards (`asr-kd shard --minutes`)."
            )

    def identity(self) -> dict[str, Any]:
        """What decides the batches and their targets: a run goes on with the same alone. JSON values."""
        held = ([shard.digest, self.stream.targets.digest(shard)] for shard in map(self._shards, self.stream.shards))
        only = None if self.stream.utterance_ids is None else sorted(self.stream.utterance_ids)
        return {
            "utterances": self.utterances,
            "seconds": self.seconds,
            "augment": to_dict(self.stream.augment),
            "shards and targets": fingerprint([list(held), only]),
        }

    def epoch(self, epoch: int, start: Position = START, lanes: Sequence[int] | None = None) -> Iterator[BatchSpec]:
        """The batches of an epoch from `start` on, step after step: in each step one of every lane that has one left.

        lanes: only those (default: all).  Memory is bounded by a window of shards a lane.
        """
        order_N = np.arange(len(self.stream.shards))
        rng = np.random.default_rng((*self.seed, epoch))
        if self.shuffle:
            rng.shuffle(order_N)
        dealt = self._deal(order_N)
        opened: dict[int, Iterator[BatchSpec]] = {}
        for lane in range(self.lanes) if lanes is None else lanes:
            window, first = start.windows[lane] if start.windows else (0, 0)
            specs = self._lane(epoch, lane, dealt[lane], rng, window, first)
            opened[lane] = islice(specs, start.batch - first, None)
        while opened:
            for lane, specs in list(opened.items()):
                spec = next(specs, None)
                if spec is None:
                    del opened[lane]
                else:
                    yield spec

    def epochs(self, start: Position = START, lanes: Sequence[int] | None = None) -> Iterator[BatchSpec]:
        """Epoch after epoch without end, from `start` on."""
        yield from self.epoch(start.epoch, start, lanes)
        for number in count(start.epoch + 1):
            yield from self.epoch(number, lanes=lanes)

    def passes(self, position: Position) -> float:
        """Passes over the set that are done there, 2.25 for two and a quarter."""
        return position.epoch + min(position.seconds / self.seconds, MAX_PARTIAL_PASS)

    def _deal(self, order_N: np.ndarray) -> list[list[int]]:
        """Shards of each lane: in their order, each to the lane that has least audio so far."""
        if self.lanes == 1:
            return [order_N.tolist()]
        dealt: list[list[int]] = [[] for _ in range(self.lanes)]
        least = [(0.0, lane) for lane in range(self.lanes)]
        for shard in order_N.tolist():
            if seconds := self._shard_seconds[shard]:
                have, lane = least[0]
                dealt[lane].append(shard)
                heapq.heapreplace(least, (have + seconds, lane))
        return dealt

    def _lane(
        self, epoch: int, lane: int, shards: list[int], rng: np.random.Generator, window: int, index: int
    ) -> Iterator[BatchSpec]:
        """The batches of a lane's epoch from a window of its shards on, whose first batch is number `index`."""
        windows = range(0, len(shards), SHARDS_KEPT_OPEN)
        seed = (*self.seed, epoch) if self.lanes == 1 else (*self.seed, epoch, lane)
        waiting: BatchSpec | None = None
        for number in range(window, len(windows)):
            first = index
            # The first window of a single lane goes on with the epoch's own generator.
            own = rng if self.lanes == 1 and number == 0 else np.random.default_rng((*self.seed, epoch, lane, number))
            for rows, seconds in self._window(shards[windows[number] : windows[number] + SHARDS_KEPT_OPEN], own):
                if waiting is not None:
                    yield waiting
                waiting = BatchSpec(
                    epoch, index, tuple(rows), seconds, (*seed, index), False, lane=lane, window=(number, first)
                )
                index += 1
        if waiting is not None:
            yield replace(waiting, is_last=True)

    def _window(
        self, shards: list[int], rng: np.random.Generator
    ) -> Iterator[tuple[list[tuple[PathOrUrl, int]], float]]:
        """Rows and seconds of each batch of some shards."""
        window = [
            (path, row, entry.seconds)
            for path in (self.stream.shards[shard] for shard in shards)
            for row, entry in self._rows(path)
        ]
        seconds_N = np.array([seconds for _, _, seconds in window])
        jitter = LENGTH_JITTER if self.shuffle else 0.0
        order_N = np.argsort(-seconds_N * rng.uniform(1 - jitter, 1 + jitter, len(window)), kind="stable")
        batches = list(self._cut(order_N, seconds_N))
        if self.shuffle:
            rng.shuffle(batches)
        for batch in batches:
            yield [window[i][:2] for i in batch], float(seconds_N[batch].sum())

    def _rows(self, path: PathOrUrl) -> Iterator[tuple[int, Entry]]:
        """Number and entry of each row of a shard that belongs to the stream."""
        only = self.stream.utterance_ids
        return ((row, e) for row, e in enumerate(self._shards(path).entries) if only is None or e.id in only)

    def entries(self, path: PathOrUrl) -> Iterator[Entry]:
        """Of the stream's utterances in a shard."""
        return (entry for _, entry in self._rows(path))

    def _cut(self, order_N: np.ndarray, seconds_N: np.ndarray) -> Iterator[list[int]]:
        """Consecutive items, as many as fit when all are padded to the longest."""
        batch: list[int] = []
        longest = 0.0
        for i in order_N.tolist():
            longest_now = max(longest, seconds_N[i])
            if batch and longest_now * (len(batch) + 1) > self._seconds_per_batch:
                yield batch
                batch, longest_now = [], seconds_N[i]
            batch.append(i)
            longest = longest_now
        if batch:
            yield batch


class ShardCache:
    """Opens shards by path and keeps the last few in memory."""

    def __init__(self, most: int = SHARDS_KEPT_OPEN) -> None:
        self._most = most
        self._open: OrderedDict[PathOrUrl, Shard] = OrderedDict()

    def __call__(self, path: PathOrUrl) -> Shard:
        if path in self._open:
            self._open.move_to_end(path)
        else:
            if len(self._open) >= self._most:
                self._open.popitem(last=False)
            self._open[path] = open_shard(path)
        return self._open[path]
