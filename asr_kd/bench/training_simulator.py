"""Simulates steps of training on many ranks from measured figures: who waits for whom, and for how long.

All times are those of the slowest path. A rank begins a step when its batches are loaded and the last step is done; in
every step all ranks agree on how to go on, so none is done before all have begun; where the strategy exchanges, all go
on together after the slowest.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from asr_kd.train.strategies.buckets import BUCKET_BYTES

BYTES_PER_WEIGHT = 4
BYTES_PER_ENTRY = 4
"""Of what `threshold` sends: index and sign."""
BACKWARD_SHARE = 2 / 3
"""Of a lane's time: the backward pass has twice the arithmetic of the forward pass."""
STEPS = 300
"""Simulated; rounded up to whole blocks."""


@dataclass(frozen=True)
class Link:
    """Of one rank to all others, the same in both directions at once."""

    bytes_per_second: float
    """Of payload; infinity is no limit."""
    latency_s: float
    """One way, from program to program."""


@dataclass(frozen=True)
class MeasuredStep:
    """What one rank does in a step, without the network."""

    lane_s: tuple[float, ...]
    """Forward and backward pass of a lane's batch, of each batch that was measured."""
    lane_audio_s: tuple[float, ...]
    """Audio in each of these batches."""
    update_s: float
    """Clipping and updating the weights."""
    weights: int
    tensors: int = 1
    """That the weights lie in: `bmuf` sends each by itself."""
    sent_share: float | None = None
    """Of the weights, whose entries `threshold` sends in a step."""
    powersgd_bytes: float | None = None
    """Of the thin matrices that `powersgd` adds up in a step."""
    host_bytes_per_second: float = math.inf
    """What a rank copies and adds up of what it exchanges, however fast the link is."""
    threshold_s: float = 0.0
    """Of an exchange of `threshold`, however little is sent: it looks at every weight."""


@dataclass(frozen=True)
class Exchange:
    """Of all ranks at once."""

    bytes: float
    """Through each rank's link, in each direction."""
    rounds: int
    """Messages of which each waits for the one before."""
    own_s: float = 0.0
    """That a rank needs besides, whatever is sent."""

    def seconds(self, link: Link, step: MeasuredStep) -> float:
        """From the moment at which the last rank is ready. What the rank does and what the link does add up."""
        if not self.rounds:
            return 0.0
        each_byte_s = 1 / link.bytes_per_second + 1 / step.host_bytes_per_second
        return self.bytes * each_byte_s + self.rounds * link.latency_s + self.own_s


@dataclass(frozen=True)
class SimulatedStep:
    """Means over the simulated steps."""

    seconds: float
    audio_s: float
    """Of all lanes together."""

    @property
    def hours_per_second(self) -> float:
        """Hours of audio that all ranks learn from in a second."""
        return self.audio_s / 3600 / self.seconds


def exchange(strategy: str, ranks: int, step: MeasuredStep) -> Exchange:
    """What the strategy exchanges each time that it does. ValueError where a figure for it is missing.

    A sum over W ranks goes round a ring: W - 1 parts are added up and W - 1 sums are passed on, each of 1 / W of the
    bytes. Each step also asks which weights any rank has used, by a sum of few bytes.
    """
    if ranks == 1:
        return Exchange(0.0, 0)
    all_bytes = step.weights * BYTES_PER_WEIGHT
    ring, ring_rounds = 2 * (ranks - 1) / ranks, 2 * (ranks - 1)
    if strategy == "allreduce":
        return Exchange(ring * all_bytes, ring_rounds * (1 + _buckets(step)))
    if strategy == "tree":
        if ranks & (ranks - 1):
            raise ValueError(f"--ranks {ranks}: the strategy tree needs a power of two (1, 2, 4, ...)")
        levels = ranks.bit_length() - 1
        return Exchange(levels * all_bytes, levels + ring_rounds)
    if strategy == "bmuf":
        return Exchange(ring * all_bytes, ring_rounds * step.tensors)
    if strategy == "threshold":
        if step.sent_share is None:
            raise ValueError("threshold: how much it sends is not known. Give --sent-share.")
        own = step.sent_share * step.weights * BYTES_PER_ENTRY
        return Exchange((ranks - 1) * own, (ranks - 1) + 2 * ring_rounds, step.threshold_s)
    assert strategy == "powersgd", strategy
    if step.powersgd_bytes is None:
        raise ValueError("powersgd: what it sends of so many weights is not known. Leave --weights out.")
    return Exchange(ring * step.powersgd_bytes, 3 * ring_rounds)


def simulate(
    step: MeasuredStep,
    strategy: str,
    ranks: int,
    lanes: int,
    link: Link,
    block_steps: int = 1,
    loader_rate: float = math.inf,
    seed: int = 0,
    steps: int = STEPS,
) -> SimulatedStep:
    """Steps of all ranks, with batches drawn from those measured; the same draws whatever link and strategy are.

    block_steps: between two exchanges of `bmuf`.  loader_rate: seconds of audio per second that a rank can load.
    """
    assert lanes % ranks == 0, (lanes, ranks)
    every = block_steps if strategy == "bmuf" else 1
    steps = every * math.ceil(steps / every)
    drawn_SWL = np.random.default_rng(seed).integers(len(step.lane_s), size=(steps, ranks, lanes // ranks))
    own_SW = np.asarray(step.lane_s)[drawn_SWL].sum(-1)
    audio_SW = np.asarray(step.lane_audio_s)[drawn_SWL].sum(-1)
    loaded_SW = np.cumsum(audio_SW, 0) / loader_rate
    exchange_s = exchange(strategy, ranks, step).seconds(link, step)
    if strategy == "allreduce":
        exchange_s = _after_backward(exchange_s, step)
    agree_s = 2 * (ranks - 1) * link.latency_s
    at_W = np.zeros(ranks)
    for number in range(steps):
        begin_W = np.maximum(at_W, loaded_SW[number])
        done_W = np.maximum(begin_W + own_SW[number], begin_W.max() + agree_s)
        if (number + 1) % every == 0:
            done_W[:] = done_W.max() + exchange_s
        at_W = done_W + step.update_s
    return SimulatedStep(float(at_W.max()) / steps, float(audio_SW.sum()) / steps)


def _after_backward(exchange_s: float, step: MeasuredStep) -> float:
    """What is left of the exchange of `allreduce` when the last lane's backward pass ends: at least its last bucket.

    Buckets are complete one after the other, at even intervals of that pass, and are sent one after the other.
    """
    buckets = _buckets(step)
    backward_s = BACKWARD_SHARE * float(np.mean(step.lane_s))
    return max(exchange_s / buckets, exchange_s - backward_s * (buckets - 1) / buckets)


def _buckets(step: MeasuredStep) -> int:
    return math.ceil(step.weights * BYTES_PER_WEIGHT / BUCKET_BYTES)


def bound(
    step: MeasuredStep,
    strategy: str,
    ranks: int,
    lanes: int,
    link: Link,
    block_steps: int = 1,
    loader_rate: float = math.inf,
) -> str:
    """What takes most of a step: `compute`, `waiting` (for the slowest rank), `network` or `loader`."""

    def seconds(
        step: MeasuredStep = step, link: Link = link, loader_rate: float = loader_rate, lanes: int = lanes
    ) -> float:
        return simulate(step, strategy, ranks, lanes, link, block_steps, loader_rate).seconds

    whole = seconds()
    mean = float(np.mean(step.lane_s))
    even = replace(step, lane_s=(mean,) * len(step.lane_s))
    saved = {
        "compute": mean * lanes / ranks + step.update_s,
        "waiting": whole - seconds(even),
        "network": whole - seconds(replace(step, host_bytes_per_second=math.inf, threshold_s=0.0), Link(math.inf, 0.0)),
        "loader": whole - seconds(loader_rate=math.inf),
    }
    return max(saved, key=lambda name: saved[name])


def batches_by_hand(
    seconds: float, audio_s: float, spread: float, count: int = 200
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Seconds and audio of `count` batches, for want of measured ones: log-normal with that mean and that standard
    deviation, as a share of the mean; the audio is the same in all."""
    if not spread:
        return (seconds,), (audio_s,)
    sigma = math.sqrt(math.log1p(spread**2))
    drawn_N = np.exp(sigma * np.random.default_rng(0).standard_normal(count))
    return tuple((seconds * drawn_N / drawn_N.mean()).tolist()), (audio_s,) * count
