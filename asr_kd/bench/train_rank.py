"""What each rank measures for `asr-kd bench train`, in a process of its own: bare steps, the real loop, the link.

  python -m asr_kd.bench.train_rank RUN.json      or by torchrun; the first rank writes RUN's `out`

All measure at the same time, on the batches of their own lane, so the bare step of several ranks shares the machine as
their loop does.
"""

import copy
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from asr_kd.core.config import load_config
from asr_kd.core.files import write_json
from asr_kd.core.progress import SECONDS_PER_HOUR
from asr_kd.core.ranks import Ranks, ranks, start_ranks
from asr_kd.core.runtime import (
    autocast,
    device,
    seed_everything,
    set_threads,
    synchronise,
    training_precision,
)
from asr_kd.core.signal_stack import enable_sigaltstack
from asr_kd.data.loader import Batch, batches
from asr_kd.data.sampler import BatchSampler, TrainingSet
from asr_kd.frontend.fbank import FrontEndConfig
from asr_kd.models.acoustic import AcousticModel, build_model
from asr_kd.models.config import ModelConfig
from asr_kd.train.config import TrainConfig
from asr_kd.train.lane_batches import Agreed, Step
from asr_kd.train.loss_sum import LossSum
from asr_kd.train.objective import batch_loss
from asr_kd.train.optim import EmaModel, adamw
from asr_kd.train.strategies.strategy import StepFrames
from asr_kd.train.supervision import supervised_source
from asr_kd.train.train import DEFAULT_AUGMENT
from asr_kd.train.trainer import Trainer

WARM_UP_STEPS = 2
"""Not measured: the first steps find their kernels and their memory."""
REPEATS = 20
"""Of an update alone, and of a small sum over ranks."""


@dataclass(frozen=True, kw_only=True)
class RankRun:
    """What a rank is told."""

    shards: tuple[Path, ...]
    alignments: tuple[Path, ...]
    out: Path
    threads: int
    model: ModelConfig
    train: TrainConfig


@dataclass(frozen=True)
class RankResult:
    """What is measured of a number of ranks with one strategy. Seconds of a step are means over the steps."""

    parameters: int
    steps: int
    audio_hours_per_step: float
    """Of all lanes."""
    frames_per_step: float
    """Of all lanes, without padding."""
    bare_step_s: float
    """Forward and backward on ready tensors, until the slowest rank is done."""
    bare_step_with_update_s: float
    update_s: float
    """Clipping, AdamW and the running average, alone."""
    step_s: float
    """Of the real loop. With `bmuf`, the end of a block is spread over the steps of the block."""
    spread: float
    """Standard deviation, over steps, of what the first rank does before it exchanges, as a share of the mean."""
    parts_s: dict[str, float]
    """Of the loop's step on the first rank; on a GPU, of the host."""
    exchange_s: float
    """Seconds until what ranks exchange is there; waiting for the slowest of them is part of it."""
    exchange_every_steps: int
    bytes_per_exchange: float
    """Sent by a rank, before any protocol's own."""
    bytes_per_step: float
    latency_s: float | None
    """Of the sum of a few numbers over ranks; None with one rank, as below."""
    link_bytes_per_second: float | None
    """At which a rank's tensors as large as the weights are summed over ranks."""


class TimedTrainer(Trainer):
    """The real loop; notes when each step ended, and what its parts took."""

    def __init__(self, *given: Any, steps: int, **options: Any) -> None:
        super().__init__(*given, **options)
        self.last = steps - 1
        self.ended: list[float] = [time.perf_counter()]
        self.sent: list[int] = [0]
        self.parts: dict[str, list[float]] = defaultdict(list)

    def _step(self, step: Step) -> Agreed:
        started = time.perf_counter()
        self.parts["batch"].append(started - self.ended[-1])
        for name in ("forward_backward", "synchronise", "update"):
            self.parts[name].append(0.0)
        agreed = super()._step(step)
        if len(self.ended) - 1 in (WARM_UP_STEPS - 1, self.last):  # elsewhere a GPU must not be waited for
            synchronise(self.device)
        self.ended.append(time.perf_counter())
        self.sent.append(self.ranks.bytes_sent)
        named = sum(self.parts[name][-1] for name in ("forward_backward", "synchronise", "update"))
        self.parts["rest"].append(self.ended[-1] - started - named)
        return agreed

    @contextmanager
    def _part(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.parts[name][-1] += time.perf_counter() - started

    def forward_backward(self, batch: Batch, lane: int = 0) -> dict[str, LossSum]:
        """As that of Trainer."""
        with self._part("forward_backward"):
            return super().forward_backward(batch, lane)

    def synchronise(self, frames: StepFrames) -> None:
        """As that of Trainer."""
        with self._part("synchronise"):
            super().synchronise(frames)

    def update(self) -> None:
        """As that of Trainer."""
        with self._part("update"):
            super().update()


def measure(run: RankRun) -> RankResult:
    """Everything, on this rank; the same result on all of them."""
    set_threads(run.threads)
    start_ranks(60 * run.train.rank_timeout_minutes)
    source = supervised_source(run.alignments, None)
    stream = source.stream("labelled", run.shards, DEFAULT_AUGMENT)
    seed_everything(run.train.seed)
    model = build_model(run.model, source.inventory, FrontEndConfig())
    plan = BatchSampler(
        stream, run.train.max_frames_per_batch, run.train.seed, source.inventory.frame_shift_s, lanes=run.train.lanes
    )
    steps = min(sum(1 for _ in plan.epoch(0, lanes=[lane])) for lane in range(run.train.lanes))
    if steps <= 2 * WARM_UP_STEPS:
        raise ValueError(f"{steps} steps; at least {2 * WARM_UP_STEPS + 1} are needed. Give more --minutes.")
    own = list(range(ranks().rank, run.train.lanes, ranks().world))
    ready = list(islice(batches(plan, model.frontend, lanes=own), steps * len(own)))[WARM_UP_STEPS * len(own) :]
    return _Measured(run, model, stream, plan, ready, steps).result()


class _Measured:
    """The loops that are compared."""

    def __init__(
        self,
        run: RankRun,
        model: AcousticModel,
        stream: TrainingSet,
        plan: BatchSampler,
        ready: list[Batch],
        steps: int,
    ) -> None:
        self.run, self.model, self.stream, self.plan, self.steps = run, model, stream, plan, steps
        self.ranks: Ranks = ranks()
        self.on = device(run.train.device)
        self.precision = training_precision(self.on, run.train.precision)
        self.ready = [batch.to(self.on) for batch in ready]

    def result(self) -> RankResult:
        """All measured; ranks begin each part together."""
        bare_s, with_update_s, update_s = self._bare()
        trainer = self._loop()
        measured = slice(WARM_UP_STEPS, self.steps)
        took = np.diff(trainer.ended)[measured]
        sent = np.diff(trainer.sent)[measured].astype(float)
        parts = {name: np.array(seconds[measured]) for name, seconds in trainer.parts.items()}
        strategy = self.run.train.strategy
        step_s, every, exchange_s = float(took.mean()), 1, float(parts["synchronise"].mean())
        if strategy.kind == "bmuf" and self.ranks.world > 1:
            every = strategy.block_steps
            in_block = np.median(parts["update"][sent == 0])
            exchange_s = float((parts["update"][sent > 0] - in_block).mean())
            step_s = float((took.sum() - exchange_s * (sent > 0).sum()) / len(took) + exchange_s / every)
        per_exchange = float(sent[sent > 0].mean()) if every > 1 else float(sent.mean())
        own = parts["batch"] + parts["forward_backward"]
        latency_s, link = self._link()
        return RankResult(
            parameters=sum(p.numel() for p in trainer.trained),
            steps=len(took),
            audio_hours_per_step=self._sum(sum(b.seconds for b in self.ready)) / SECONDS_PER_HOUR / len(took),
            frames_per_step=self._sum(sum(b.frames for b in self.ready)) / len(took),
            bare_step_s=bare_s,
            bare_step_with_update_s=with_update_s,
            update_s=update_s,
            step_s=step_s,
            spread=float(own.std() / own.mean()),
            parts_s={name: float(seconds.mean()) for name, seconds in parts.items()},
            exchange_s=exchange_s,
            exchange_every_steps=every,
            bytes_per_exchange=per_exchange,
            bytes_per_step=per_exchange / every,
            latency_s=latency_s,
            link_bytes_per_second=link,
        )

    def _bare(self) -> tuple[float, float, float]:
        """Seconds of a bare step, of one with an update, and of an update alone."""
        model = copy.deepcopy(self.model).to(self.on).train()
        weights = list(model.parameters())
        optimizer = adamw(weights, self.run.train.optim)
        average = EmaModel(model, self.run.train.ema_decay) if self.run.train.ema_decay else None

        def update() -> None:
            torch.nn.utils.clip_grad_norm_(weights, self.run.train.optim.max_grad_norm)
            optimizer.step()
            if average is not None:
                average.follow(model)

        return self._steps(model, None), self._steps(model, update), self._updates(model, update)

    def _steps(self, model: AcousticModel, update: Callable[[], None] | None) -> float:
        """Seconds of a step that only has tensors to compute on."""

        def step(batch: Batch) -> None:
            with autocast(self.on, self.precision):
                loss = batch_loss(model(batch.x_BTF, batch.frames_B), batch).mean
            loss.backward()
            if update is not None:
                update()
            model.zero_grad(set_to_none=True)

        def steps(ready: Sequence[Batch]) -> None:
            for batch in ready:
                step(batch)

        steps(self.ready)  # oneDNN makes a kernel for each new shape of a batch; those are kept, for the loop too
        return self._together(lambda: steps(self.ready)) / (self.steps - WARM_UP_STEPS)

    def _updates(self, model: AcousticModel, update: Callable[[], None]) -> float:
        """Seconds of an update, repeated on the same gradients."""
        batch = self.ready[0]
        batch_loss(model(batch.x_BTF, batch.frames_B), batch).mean.backward()
        update()
        return statistics.mean(self._together(update) for _ in range(REPEATS))

    def _together(self, work: Callable[[], Any]) -> float:
        """Seconds until the slowest rank is done; they begin at the same time."""
        synchronise(self.on)
        self._sum(0.0)
        started = time.perf_counter()
        work()
        synchronise(self.on)
        return max(self.ranks.gather(time.perf_counter() - started))

    def _sum(self, value: float) -> float:
        return float(self.ranks.sum_later(np.array([float(value)]))()[0])

    def _loop(self) -> TimedTrainer:
        """The run as `asr-kd train` does it, ended after one pass."""
        strategy = self.run.train.strategy
        if strategy.kind == "bmuf":  # one block ends among the steps that are measured
            strategy = replace(strategy, block_steps=min(strategy.block_steps, self.steps - WARM_UP_STEPS))
        config = replace(self.run.train, strategy=strategy, checkpoint_every_minutes=1e6, patience=None)
        shards = map(self.stream.shards.open, range(len(self.stream.shards)))
        shortest = min((entry for shard in shards for entry in shard.entries), key=lambda e: e.seconds)
        dev = replace(self.stream.without_augmentation(), name="dev", utterance_ids=frozenset([shortest.id]))
        trainer = TimedTrainer(
            self.model, [(self.stream, 1.0)], dev, config, self.run.out.parent / "run", False, steps=self.steps
        )
        self._sum(0.0)
        trainer.ended = [time.perf_counter()]
        trainer.run()
        return trainer

    def _link(self) -> tuple[float | None, float | None]:
        """Latency, and bytes per second, of sums over ranks."""
        if self.ranks.world == 1:
            return None, None
        small = [self._together(lambda: self._sum(0.0)) for _ in range(REPEATS)]
        weights = [torch.zeros_like(p, device=self.on) for p in self.model.parameters()]
        large = [self._together(lambda: self.ranks.sum(weights)) for _ in range(3)]
        return statistics.median(small), sum(w.nbytes for w in weights) / statistics.median(large)


def main() -> None:
    """Of the process."""
    enable_sigaltstack()
    run = load_config(RankRun, Path(sys.argv[1]))
    try:
        result = measure(run)
    except (ValueError, OSError) as e:
        sys.exit(f"bench train: {e}")
    if ranks().is_first:
        write_json(run.out, asdict(result))


if __name__ == "__main__":
    main()
