"""Which utterances share a batch, and in which order: decided by (seed, stream, epoch), a few shards at a time.

A set is dealt to lanes, virtual ranks whose number belongs to the run and not to the machine. In an epoch each lane
owns whole shards and makes batches of them; a step takes one batch of every lane, so that batches do not depend on how
many ranks share the lanes.
"""

import hashlib
import heapq
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count, islice
from typing import Any

import numpy as np

from asr_kd.core.config import to_dict
from asr_kd.core.files import fingerprint
from asr_kd.core.progress import SECONDS_PER_HOUR
from asr_kd.frontend.augment import AugmentConfig
from asr_kd.shards.catalogue import Catalogue
from asr_kd.shards.reader import Shard
from asr_kd.targets.frame_targets import SHARDS_KEPT_OPEN, TargetSource

LENGTH_JITTER = 0.1
"""Lengths are ordered with this much noise, so that neighbours in length are not in one batch every epoch."""
MAX_PARTIAL_PASS = 1 - 1e-9
"""A pass is done when its last batch is; sums of seconds may say so a little before."""
COUNTED_HOURS = 10.0
"""The steps of a longer epoch are estimated from so much of it."""


@dataclass
class TrainingSet:
    """Shards with their targets, that are trained (or tested) on as one set."""

    name: str
    shards: Catalogue
    targets: TargetSource
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    is_supervised: bool = True
    """Whether its targets are ground truth, not a teacher's."""
    utterance_ids: frozenset[str] | None = None
    """Ids of the utterances that belong to it; None takes all of the shards."""
    weights: tuple[float, ...] = ()
    """Of each path that its shards were given by: how often an epoch reads them. 0.5 is half of the shards, drawn anew
    each epoch; 2 is all of them twice. Empty: once."""

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
    rows: tuple[tuple[int, int], ...]
    """Number of the shard, and row, of each utterance."""
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
        self._shards = ShardCache(stream.shards.open)
        self._last: tuple[int, list[np.ndarray]] = (-1, [])
        """The epoch that was dealt last."""
        self.missing: frozenset[str] = frozenset()
        """Ids of `stream.utterance_ids` that no shard holds: the caller's to judge."""
        self._seconds_N = stream.shards.seconds_N
        """Audio that the set has in each shard."""
        self.utterances = int(stream.shards.utterances_N.sum(dtype=np.int64))
        if stream.utterance_ids is not None:
            self._look_up(stream.utterance_ids)
        self._weight_N = _weights(stream)
        self.seconds = float(np.add.accumulate(self._seconds_N * self._weight_N)[-1])
        """Audio in an epoch."""
        if not self.utterances and not self.missing:
            raise ValueError(f"{stream.name}: its {len(stream.shards)} shards hold no utterance")
        filled = self._least_shards()
        if lanes > (filled if stream.weights else max(filled, 1)):
            weighted = " (as the weights say, at least)" if stream.weights else ""
            raise ValueError(
                f"{stream.name}: {filled} shards with utterances in an epoch{weighted} cannot be dealt to {lanes} "
                f"lanes. Set train.lanes to {max(filled, 1)} or less, or write smaller shards (`asr-kd shard "
                "--minutes`)."
            )

    def _look_up(self, ids: frozenset[str]) -> None:
        """Open every shard to see which of the ids it holds."""
        found: set[str] = set()
        self._seconds_N = np.zeros(len(self.stream.shards))
        for shard in range(len(self.stream.shards)):
            rows, seconds_N = self._rows(shard)
            self._seconds_N[shard] = sum(seconds_N.tolist())
            found.update(self._shards(shard).entries[row].id for row in rows)
        self.missing, self.utterances = ids - found, len(found)

    def _least_shards(self) -> int:
        """Shards with utterances that every epoch has at least."""
        whole_N = np.floor(self._weight_N).astype(int)
        parts = sum(int(len(of_path) * part) for of_path, part in self._parts())
        return int(whole_N[self._seconds_N > 0].sum()) + parts

    def identity(self) -> dict[str, Any]:
        """What decides the batches and their targets: a run goes on with the same alone. JSON values."""
        shards, only = self.stream.shards, self.stream.utterance_ids
        targets = [self.stream.targets.digest(shards.key(shard)) for shard in shards.spread()]
        return {
            "utterances": self.utterances,
            "seconds": self.seconds,
            "weights": list(self.stream.weights) or None,
            "augment": to_dict(self.stream.augment),
            "shards and targets": fingerprint([shards.fingerprint, targets, None if only is None else sorted(only)]),
        }

    def describe(self) -> str:
        """Hours and utterances, and how even the lanes are, for a line of text."""
        text = f"{self.seconds / SECONDS_PER_HOUR:.2f} h in {self.utterances} utterances"
        if self.lanes == 1:
            return text
        hours = [self._seconds_N[dealt_N].sum() / SECONDS_PER_HOUR for dealt_N in self._dealt(0)[0]]
        empty = 1 - sum(hours) / self.lanes / max(hours)
        return (
            f"{text}, {self.lanes} lanes of {min(hours):.2f} to {max(hours):.2f} h"
            f" (about {100 * empty:.0f}% of an epoch's batches are empty)"
        )

    def steps(self) -> int:
        """About how many steps an epoch has."""
        dealt = self._dealt(0)[0]
        seconds = [float(self._seconds_N[dealt_N].sum()) for dealt_N in dealt]
        longest = int(np.argmax(seconds))
        counted, counted_s = 0, 0.0
        for spec in self.epoch(0, lanes=[longest]):
            counted, counted_s = counted + 1, counted_s + spec.seconds
            if counted_s > COUNTED_HOURS * SECONDS_PER_HOUR:
                return round(counted * seconds[longest] / counted_s)
        return counted

    def epoch(self, epoch: int, start: Position = START, lanes: Sequence[int] | None = None) -> Iterator[BatchSpec]:
        """The batches of an epoch from `start` on, step after step: in each step one of every lane that has one left.

        lanes: only those (default: all).  Memory is bounded by a window of shards a lane.
        """
        dealt, rng = self._dealt(epoch)
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

    def _dealt(self, epoch: int) -> tuple[list[np.ndarray], np.random.Generator]:
        """Shards of each lane in the epoch's order, and the epoch's generator after it."""
        rng = np.random.default_rng((*self.seed, epoch))
        order_N = np.arange(len(self.stream.shards))
        if self.stream.weights:
            order_N = np.repeat(order_N, np.floor(self._weight_N).astype(int))
            drawn = [
                rng.choice(of_path, int(len(of_path) * part + rng.random()), replace=False)
                for of_path, part in self._parts()
            ]
            order_N = np.concatenate([order_N, *drawn])
        if self.shuffle:
            rng.shuffle(order_N)
        if self._last[0] != epoch:
            self._last = epoch, self._deal(order_N)
        return self._last[1], rng

    def _parts(self) -> Iterator[tuple[np.ndarray, float]]:
        """Of each path whose weight is no whole number: its shards with utterances, and the share of them that an epoch
        has beside the whole times."""
        for number, weight in enumerate(self.stream.weights):
            if weight % 1:
                yield np.nonzero((self.stream.shards.given_N == number) & (self._seconds_N > 0))[0], weight % 1

    def _deal(self, order_N: np.ndarray) -> list[np.ndarray]:
        """Shards of each lane: in their order, each to the lane that has least audio so far."""
        if self.lanes == 1:
            return [order_N]
        order_N = order_N[self._seconds_N[order_N] > 0]
        lane_N = np.empty(len(order_N), np.int32)
        least = [(0.0, lane) for lane in range(self.lanes)]
        for place, seconds in enumerate(self._seconds_N[order_N].tolist()):
            have, lane = least[0]
            lane_N[place] = lane
            heapq.heapreplace(least, (have + seconds, lane))
        return [order_N[lane_N == lane] for lane in range(self.lanes)]

    def _lane(
        self, epoch: int, lane: int, shards_N: np.ndarray, rng: np.random.Generator, window: int, index: int
    ) -> Iterator[BatchSpec]:
        """The batches of a lane's epoch from a window of its shards on, whose first batch is number `index`."""
        windows = range(0, len(shards_N), SHARDS_KEPT_OPEN)
        seed = (*self.seed, epoch) if self.lanes == 1 else (*self.seed, epoch, lane)
        waiting: BatchSpec | None = None
        for number in range(window, len(windows)):
            first = index
            # The first window of a single lane goes on with the epoch's own generator.
            own = rng if self.lanes == 1 and number == 0 else np.random.default_rng((*self.seed, epoch, lane, number))
            shards_W = shards_N[windows[number] : windows[number] + SHARDS_KEPT_OPEN]
            for rows, seconds in self._window(shards_W.tolist(), own):
                if waiting is not None:
                    yield waiting
                waiting = BatchSpec(
                    epoch, index, tuple(rows), seconds, (*seed, index), False, lane=lane, window=(number, first)
                )
                index += 1
        if waiting is not None:
            yield replace(waiting, is_last=True)

    def _window(self, shards: list[int], rng: np.random.Generator) -> Iterator[tuple[list[tuple[int, int]], float]]:
        """Rows and seconds of each batch of some shards."""
        places: list[tuple[int, int]] = []
        lengths = [np.zeros(0)]
        for shard in shards:
            rows, seconds_n = self._rows(shard)
            places += ((shard, row) for row in rows)
            lengths.append(seconds_n)
        seconds_N = np.concatenate(lengths)
        jitter = LENGTH_JITTER if self.shuffle else 0.0
        order_N = np.argsort(-seconds_N * rng.uniform(1 - jitter, 1 + jitter, len(places)), kind="stable")
        batches = list(self._cut(order_N, seconds_N))
        if self.shuffle:
            rng.shuffle(batches)
        for batch in batches:
            yield [places[i] for i in batch], float(seconds_N[batch].sum())

    def _rows(self, shard: int) -> tuple[Sequence[int], np.ndarray]:
        """Rows of a shard that belong to the stream, and their seconds (n,)."""
        only = self.stream.utterance_ids
        seconds_n = self.stream.shards.lengths(shard)
        if only is None:
            return range(len(seconds_n)), seconds_n
        rows = [row for row, entry in enumerate(self._shards(shard).entries) if entry.id in only]
        return rows, seconds_n[rows]

    def longest(self) -> float:
        """Seconds of the longest utterance."""
        return max(max(self._rows(shard)[1], default=0.0) for shard in range(len(self.stream.shards)))

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


def _weights(stream: TrainingSet) -> np.ndarray:
    """How often an epoch reads each shard. ValueError when the weights are not one above 0 of each path."""
    if not stream.weights:
        return np.ones(len(stream.shards))
    if len(stream.weights) != stream.shards.paths or not all(0 < weight < float("inf") for weight in stream.weights):
        given = " ".join(f"{weight:g}" for weight in stream.weights)
        raise ValueError(
            f"{stream.name}: weights {given} of {stream.shards.paths} paths of shards. Give each path one, above 0."
        )
    return np.array(stream.weights, float)[stream.shards.given_N]


class ShardCache:
    """Opens shards by number and keeps the last few in memory."""

    def __init__(self, open_one: Callable[[int], Shard], most: int = SHARDS_KEPT_OPEN) -> None:
        self._open_one, self._most = open_one, most
        self._open: OrderedDict[int, Shard] = OrderedDict()

    def __call__(self, number: int) -> Shard:
        if number in self._open:
            self._open.move_to_end(number)
        else:
            if len(self._open) >= self._most:
                self._open.popitem(last=False)
            self._open[number] = self._open_one(number)
        return self._open[number]
