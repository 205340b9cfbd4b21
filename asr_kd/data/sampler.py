"""Which utterances share a batch, and in which order: decided by (seed, stream, epoch), a few shards at a time."""

import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count
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
    """The next batch of the epoch."""
    done: float = 0.0
    """How much of the epoch's audio lies before it, in [0, 1)."""

    @property
    def epochs_done(self) -> float:
        """Passes that are done, 2.25 for two and a quarter."""
        return self.epoch + self.done


START = Position()


@dataclass(frozen=True)
class BatchSpec:
    """A batch before it is read: cheap to send to a worker."""

    epoch: int
    index: int
    """Number of the batch within its epoch."""
    rows: tuple[tuple[PathOrUrl, int], ...]
    """Shard and row of each utterance."""
    seconds: float
    """Audio in it."""
    done: float
    """How much of its epoch is done after it, in (0, 1]; exactly 1 for the last batch."""
    seed: tuple[int, ...]
    """All randomness of the batch is drawn from these numbers."""

    @property
    def end(self) -> Position:
        """Where its training set goes on after it."""
        return Position(self.epoch + 1) if self.done == 1 else Position(self.epoch, self.index + 1, self.done)


class BatchSampler:
    """The batches of each epoch. Within a window of shards, utterances are shuffled and put together by length.

    frames_per_batch: most frames of a batch, padding and the slowest speed of augmentation included; an utterance
    that is longer makes a batch of its own.  shuffle: False keeps the shards' order (for held-out data).
    """

    def __init__(
        self, stream: TrainingSet, frames_per_batch: int, seed: int, frame_shift_s: float = 0.030, shuffle: bool = True
    ) -> None:
        self.stream, self.shuffle = stream, shuffle
        name = int.from_bytes(hashlib.sha256(stream.name.encode()).digest()[:8], "big")
        self.seed = (seed, name)
        self._seconds_per_batch = frames_per_batch * frame_shift_s * min(stream.augment.speed_perturb)
        self._shards = ShardCache()
        self.seconds = 0.0
        """Audio in an epoch."""
        self.utterances = 0
        found: set[str] = set()
        for path in stream.shards:
            if stream.utterance_ids is None:
                shard = self._shards(path)
                self.seconds += shard.seconds
                self.utterances += len(shard.entries)
                continue
            for _, entry in self._rows(path):
                self.seconds += entry.seconds
                self.utterances += 1
                found.add(entry.id)
        self.missing = (stream.utterance_ids or frozenset()) - found
        """Ids of `stream.only` that no shard holds: the caller's to judge."""
        if not self.utterances and not self.missing:
            raise ValueError(f"{stream.name}: its {len(stream.shards)} shards hold no utterance")

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

    def epoch(self, epoch: int) -> Iterator[BatchSpec]:
        """The batches of an epoch, in order. Memory is bounded by the window of shards."""
        index, consumed, waiting = 0, 0.0, None
        for rows, seconds in self._batches(epoch):
            if waiting is not None:
                consumed += waiting[1]
                yield self._spec(epoch, index, *waiting, min(consumed / self.seconds, 1 - 1e-9))
                index += 1
            waiting = rows, seconds
        assert waiting is not None
        yield self._spec(epoch, index, *waiting, 1.0)

    def epochs(self, start: Position = START) -> Iterator[BatchSpec]:
        """Epoch after epoch without end, from `start` on."""
        for number in count(start.epoch):
            for spec in self.epoch(number):
                if number > start.epoch or spec.index >= start.batch:
                    yield spec

    def _spec(
        self, epoch: int, index: int, rows: list[tuple[PathOrUrl, int]], seconds: float, done: float
    ) -> BatchSpec:
        return BatchSpec(epoch, index, tuple(rows), seconds, done, (*self.seed, epoch, index))

    def _batches(self, epoch: int) -> Iterator[tuple[list[tuple[PathOrUrl, int]], float]]:
        """Rows and seconds of each batch."""
        rng = np.random.default_rng((*self.seed, epoch))
        paths = list(self.stream.shards)
        if self.shuffle:
            rng.shuffle(paths)
        for start in range(0, len(paths), SHARDS_KEPT_OPEN):
            window = [
                (path, row, entry.seconds)
                for path in paths[start : start + SHARDS_KEPT_OPEN]
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
