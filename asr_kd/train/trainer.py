"""The one training loop: sub-epochs of streams of frames with targets, tested on held-out data, stopped and resumed,
on one rank or many."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from asr_kd.core import runtime
from asr_kd.core.files import fingerprint
from asr_kd.core.progress import SECONDS_PER_HOUR, Progress
from asr_kd.core.ranks import ranks
from asr_kd.core.terminal import say
from asr_kd.data.loader import Batch, batches, worker_errors
from asr_kd.data.sampler import START, BatchSampler, TrainingSet
from asr_kd.models.acoustic import AcousticModel
from asr_kd.models.checkpoint import save_model
from asr_kd.train.config import TrainConfig
from asr_kd.train.evaluate import DevResult, evaluate
from asr_kd.train.fit_result import FitResult
from asr_kd.train.lane_batches import Agreed, LaneBatches, Step
from asr_kd.train.loss_sum import LossSum, total
from asr_kd.train.metrics import METRICS_FILE, Metrics
from asr_kd.train.objective import FrameObjective, Objective
from asr_kd.train.optim import EmaModel, adamw, learning_rate
from asr_kd.train.rank_states import load_run, save_run
from asr_kd.train.same_run import check_same_ranks, identity
from asr_kd.train.signals import StopRequest
from asr_kd.train.skipping import check_data, check_skipped
from asr_kd.train.state import STATE_FILE, RunState
from asr_kd.train.strategies.registry import STRATEGIES
from asr_kd.train.strategies.strategy import StepFrames
from asr_kd.train.unread_losses import NonFiniteLoss, UnreadLosses, add_up

KEPT_DEV_SECONDS = 3600
"""Held-out audio up to so much is made into batches once (90 MiB) and kept for all tests of a run."""
STEPS_BETWEEN_READS = 50
"""On a GPU, losses are copied to the host once in so many steps; each copy waits for all work that is queued."""
PLACE_ERROR = 1e-6  # sums of fractions such as 1/3 + 1/3 + 1/3 may end a little beside 1


class Trainer:
    """A run: its model, its data, and where it is.

    A step is `forward_backward` of a batch of each lane, `synchronise`, `update`. In none of them does the host wait
    for the device; losses are read once in `STEPS_BETWEEN_READS` steps, before a state is saved and at the end of a
    sub-epoch. What ranks must do together (stop, save, end an epoch) is agreed on in every step.
    """

    def __init__(
        self,
        model: AcousticModel,
        schedule: Iterable[tuple[TrainingSet, float]],
        dev: TrainingSet,
        config: TrainConfig,
        out: Path,
        resume: bool = True,
        objective: Objective | None = None,
        begun_with: Mapping[str, Any] | None = None,
    ) -> None:
        """Train `model` and keep the weights that are best on `dev` in OUT/model.safetensors.

        schedule: sub-epochs, each a set and how much of it (1.0 is a pass); a set goes on where its last sub-epoch
        ended.  objective: what is minimised; None is the batches' own targets.
        resume: go on from OUT/state.pt, bit for bit as if the run had never stopped; False begins anew.
        begun_with: further JSON values that must be the same for the run to go on.
        ValueError when OUT belongs to another run, data is missing or broken, or the ranks do not fit.
        """
        self.config, self.out, self.schedule = config, Path(out), list(schedule)
        self.ranks = ranks()
        self.device = runtime.device(config.device)
        self.precision = runtime.training_precision(self.device, config.precision)
        self.model = model.to(self.device).train()  # before it is copied: weights that are to move
        self.objective = (FrameObjective() if objective is None else objective).to(self.device)
        learnt = (*self.model.parameters(), *self.objective.parameters())
        self.trained = [p for p in learnt if p.requires_grad]
        self.optimizer = adamw(self.trained, config.optim)
        self.average = EmaModel(self.model, config.ema_decay) if config.ema_decay else None
        self.strategy = STRATEGIES[config.strategy.kind](self.trained, config.lanes, self.ranks, config.strategy)
        shift = model.inventory.frame_shift_s
        plan_of: Callable[[TrainingSet, bool, int], BatchSampler] = lambda stream, shuffle, lanes: BatchSampler(
            stream, config.max_frames_per_batch, config.seed, shift, shuffle, lanes
        )
        self.plans = {stream.name: plan_of(stream, True, config.lanes) for stream, _ in self.schedule}
        self.dev = plan_of(dev, False, 1)
        self.kept_dev: list[Batch] | None = None
        self.audio_seconds = sum(self.plans[stream.name].seconds * part for stream, part in self.schedule)
        order = {"schedule": fingerprint([(stream.name, part) for stream, part in self.schedule])}
        plans = (*self.plans.values(), self.dev)
        self.identity = identity(model, config, self.objective, plans, order | dict(begun_with or {}))
        self.state = RunState(positions=dict.fromkeys(self.plans, START))
        self.opened: dict[str, LaneBatches] = {}
        self.checked: set[str] = set()
        one_reads_all = self.device.type == "cpu" and self.ranks.world == 1
        self.losses = UnreadLosses(every=1 if one_reads_all else STEPS_BETWEEN_READS)
        self.skipped: list[tuple[int, int, str, dict[str, str]]] = []
        """Of steps whose losses were not read yet: step, lane, stream, ids and reasons."""
        self.steps_taken = 0
        """In this sitting, those without data too."""
        self.grad_norm: dict[str, Tensor] = {}
        """Of terms in the sub-epoch under way, not read yet."""
        check_same_ranks(self.ranks, self.identity, self.model)
        if resume:
            self._restore()
        elif self.ranks.is_first:
            for name in (STATE_FILE, METRICS_FILE):
                (self.out / name).unlink(missing_ok=True)

    def run(self) -> FitResult:
        """Train to the end of the schedule. After each sub-epoch, held-out loss and accuracy are measured and a line is
        added to OUT/metrics.jsonl.

        KeyboardInterrupt, the state saved, after SIGINT or SIGTERM. ValueError when data is missing or broken, or a
        loss is not finite.
        """
        state, goal = self.state, dict.fromkeys(self.plans, 0.0)
        if state.finished:
            self._check_skipped()
            return FitResult.of(self.state, self.model.inventory.accuracy_unit)
        metrics = Metrics(self.out, state.sub_epoch, state.step) if self.ranks.is_first else None
        left = self.audio_seconds - state.audio_seconds
        self.last_save = time.monotonic()
        with StopRequest() as stop, Progress("train, all sub-epochs", left) as progress, worker_errors():
            try:
                for number, (stream, part) in enumerate(self.schedule):
                    goal[stream.name] += part
                    if number < state.sub_epoch:
                        continue
                    self._sub_epoch(stream, goal[stream.name], stop, progress)
                    check_data(state, self.plans[stream.name])
                    self.strategy.end_block()
                    started = time.monotonic()
                    result = self._test()
                    self._clock(started)
                    line = self._line(stream, result)
                    if metrics is not None:
                        metrics.add(line)
                    self.objective.after_sub_epoch(self.model)
                    state.sub_epoch += 1
                    state.losses, state.grad_norm = {}, {}
                    state.sub_audio_seconds, state.sub_wall_seconds = 0.0, 0.0
                    state.stopped_early = self._is_done(result)
                    state.finished = state.stopped_early or state.sub_epoch == len(self.schedule)
                    self._save()
                    self._check_skipped()
                    if state.finished:
                        break
            finally:
                if metrics is not None:
                    metrics.close()
                self.opened.clear()
        return FitResult.of(self.state, self.model.inventory.accuracy_unit)

    def _sub_epoch(self, stream: TrainingSet, goal: float, stop: StopRequest, progress: Progress) -> None:
        """Train until `goal` passes over the stream are done."""
        state, plan = self.state, self.plans[stream.name]
        self.model.train()
        while plan.passes(state.positions[stream.name]) < goal - PLACE_ERROR:
            started = time.monotonic()
            is_late = time.monotonic() - self.last_save > self.config.checkpoint_every_minutes * 60
            step = self._batches(stream.name).step(state.positions[stream.name], bool(stop.asked), is_late)
            agreed = self._step(step)
            state.positions[stream.name] = agreed.end
            self._clock(started)
            progress.update(agreed.seconds, loss=f"{sum(state.mean_losses().values()):.3f}")
            if agreed.stop or (self.ranks.world == 1 and stop.asked):
                self._save()
                asked = stop.asked or "another rank was asked to stop"
                say(f"{asked}: stopped at step {state.step}, the state is in {self.out / STATE_FILE}")
                raise KeyboardInterrupt
            if agreed.save:
                self._save()
        self._read_losses()

    def _step(self, step: Step) -> Agreed:
        """One update of the weights, if the step has data."""
        for lane in self.strategy.own_lanes:
            batch = step.batches.get(lane)
            if batch is not None:
                self.skipped.append((self.steps_taken, lane, batch.stream, batch.set_aside))
                if batch.utterances:
                    losses = self.forward_backward(batch.to(self.device), lane)
                    where = f"step {self.state.step} ({batch.stream}: {batch.utterances[0]} ...)"
                    self.losses.add(losses, (self.steps_taken, lane), where)
            self.strategy.after_lane()
        self.ranks.note(f"step {self.state.step}")
        agreed = step.agreed()
        self.steps_taken += 1
        self.state.audio_seconds += agreed.seconds
        self.state.sub_audio_seconds += agreed.seconds
        self.synchronise(StepFrames(agreed.frames, step.own_frames))  # first: it may be under way since the last lane
        if self.steps_taken % self.losses.every == 0:
            self._read_losses()
        if agreed.frames:
            self.update()
        return agreed

    def forward_backward(self, batch: Batch, lane: int = 0) -> dict[str, LossSum]:
        """Add the gradient of a batch's loss to that of the weights; returns its losses, on the device.

        The loss is the mean over the batch; where a step has several lanes, it is weighted by the batch's frames.
        """
        torch.manual_seed(self._dropout_seed(lane))
        with runtime.autocast(self.device, self.precision):
            losses = self.objective.losses(self.model, batch)
        if len(losses) > 1 and not losses.keys() <= self.state.grad_norm.keys() | self.grad_norm.keys():
            self._measure_gradients(losses)
        loss = total(losses)
        (loss if self.config.lanes == 1 else loss * batch.frames).backward()
        return losses

    def synchronise(self, frames: StepFrames) -> None:
        """Make the gradient that of the whole step, as the strategy has it. Called once a step, before `update`."""
        self.strategy.after_backward(frames)

    def update(self) -> None:
        """Clip the gradient, update the weights by it and take it away; then those who follow the weights."""
        lr = learning_rate(self.config.optim, self._progress(), self.state.lr_factor)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        torch.nn.utils.clip_grad_norm_(self.trained, self.config.optim.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.strategy.after_step()
        self.objective.after_step(self.model)
        if self.average is not None:
            self.average.follow(self.model)
        self.state.step += 1

    def _measure_gradients(self, losses: dict[str, LossSum]) -> None:
        """Note how hard each term pulls at the model: where a term first meets others in a sub-epoch."""
        weights = [p for p in self.model.parameters() if p.requires_grad]
        for name, loss in losses.items():
            pulls = torch.autograd.grad(loss.mean, weights, retain_graph=True, allow_unused=True)
            squares = [pull.float().square().sum() for pull in pulls if pull is not None]
            self.grad_norm[name] = torch.stack(squares).sum().sqrt() if squares else torch.zeros(())

    def _read_losses(self) -> None:
        """Of all ranks; all of them call it at the same step."""
        state = self.state
        state.grad_norm |= {name: float(norm) for name, norm in self.grad_norm.items()}
        self.grad_norm = {}
        read, skipped = zip(*self.ranks.gather((self.losses.read(), self.skipped)), strict=True)
        self.skipped = []
        for _, _, stream, reasons in sorted(chain(*skipped), key=lambda entry: entry[:2]):
            self._note_skipped(stream, reasons)
        try:
            add_up(chain(*read), state.losses)
        except NonFiniteLoss as e:
            raise ValueError(
                f"{self.out}: {e}. Look at those targets, or lower train.optim.lr and begin anew with --restart."
            ) from None

    def _test(self) -> DevResult:
        """Measure the weights as they would be kept; keep them if they are the best so far."""
        state, config = self.state, self.config
        model: Any = self.model if self.average is None else self.average.module
        result = self.ranks.on_first(lambda: evaluate(model, self._dev_batches(), self.precision))
        if not np.isfinite(result.loss):
            raise ValueError(
                f"{self.out}: the held-out loss is {result.loss} at step {state.step}; the model kept is that of step "
                f"{state.best_step}. Lower train.optim.lr, or look at the held-out data, and begin anew with --restart."
            )
        values = {"dev_loss": -result.loss, "dev_frame_accuracy": result.frame_accuracy, "last": state.step}
        value = values[config.select_checkpoint_by]
        if state.best is None or value > state.best:
            state.best, state.best_step, state.sub_epochs_since_best = value, state.step, 0
            state.best_dev_loss, state.best_dev_frame_accuracy = result.loss, result.frame_accuracy
            self.ranks.on_first(lambda: self._keep(model, result))
        else:
            state.sub_epochs_since_best += 1
        return result

    def _keep(self, model: AcousticModel, result: DevResult) -> None:
        save_model(self.out, model, {"step": self.state.step, **asdict(result)})
        self.objective.save_with(self.out)

    def _dev_batches(self) -> Iterator[Batch]:
        """Held-out batches. Those that are kept are made here: memory shared by a worker keeps files open."""
        if self.dev.seconds > KEPT_DEV_SECONDS:
            made = batches(self.dev, self.model.frontend, workers=self.config.num_workers, endless=False)
        else:
            if self.kept_dev is None:
                self.kept_dev = list(batches(self.dev, self.model.frontend, endless=False))
            made = iter(self.kept_dev)
        for batch in made:
            self._note_skipped(batch.stream, batch.set_aside)
            yield batch

    def _note_skipped(self, stream: str, found: Mapping[str, str]) -> None:
        reasons = self.state.skipped.setdefault(stream, {})
        for item, reason in found.items():
            reasons.setdefault(item, reason)

    def _check_skipped(self) -> None:
        """At the end, and of each stream once in a sitting when a pass over it is done."""
        state = self.state
        ended = {name for name, position in state.positions.items() if position.epoch} | {self.dev.stream.name}
        names = {*self.plans, *ended} if state.finished else ended - self.checked
        self.checked = ended
        plans = [plan for plan in (*self.plans.values(), self.dev) if plan.stream.name in names]
        self.ranks.on_first(lambda: check_skipped(state, plans, self.out, self.config.max_skipped))

    def _is_done(self, result: DevResult) -> bool:
        """Whether to stop before the schedule ends: patience has run out, or newbob's learning rate."""
        state, optim = self.state, self.config.optim
        if optim.decay == "newbob":
            if state.last_dev_loss is not None and result.loss > state.last_dev_loss * (1 - optim.newbob_gain):
                state.lr_factor /= 2
            state.last_dev_loss = result.loss
            if state.lr_factor < optim.min_lr_ratio:
                return True
        return self.config.patience is not None and state.sub_epochs_since_best >= self.config.patience

    def _line(self, stream: TrainingSet, result: DevResult) -> dict[str, Any]:
        """A line of metrics.jsonl, also shown."""
        state, losses = self.state, self.state.mean_losses()
        line = {
            "step": state.step,
            "sub_epoch": state.sub_epoch + 1,
            "stream": stream.name,
            "loss": sum(losses.values()),
            "losses": losses,
            "grad_norm": state.grad_norm,
            "skipped": len(state.skipped.get(stream.name, {})),
            "dev_loss": result.loss,
            "dev_frame_accuracy": result.frame_accuracy,
            "lr": learning_rate(self.config.optim, self._progress(), state.lr_factor),
            "hours_per_second": state.sub_audio_seconds / SECONDS_PER_HOUR / max(state.sub_wall_seconds, 1e-9),
            "seconds": state.wall_seconds,
            "bytes_sent": self.ranks.bytes_sent,
        }
        mark = " *" if state.best_step == state.step else ""
        say(
            f"{line['sub_epoch']:>3}/{len(self.schedule)} {stream.name}: loss {line['loss']:.3f}, "
            f"dev {result.loss:.3f}, {self.model.inventory.accuracy_unit[:-1]} accuracy "
            f"{100 * result.frame_accuracy:.1f}%, "
            f"lr {line['lr']:.1e}, {line['hours_per_second']:.3f} h/s, {state.wall_seconds:.0f} s{mark}"
        )
        return line

    def _progress(self) -> float:
        return min(self.state.audio_seconds / max(self.audio_seconds, 1e-9), 1.0)

    def _clock(self, started: float) -> None:
        passed = time.monotonic() - started
        self.state.wall_seconds += passed
        self.state.sub_wall_seconds += passed

    def _batches(self, name: str) -> LaneBatches:
        """The stream's steps from where it is; kept open over its sub-epochs."""
        if name not in self.opened:
            made = batches(
                self.plans[name],
                self.model.frontend,
                self.state.positions[name],
                self.config.num_workers,
                teacher=self.objective.teacher_frontend,
                pin_memory=self.device.type == "cuda",
                lanes=self.strategy.own_lanes,
                silence_class=self.model.inventory.silence_classes[0],
            )
            self.opened[name] = LaneBatches(self.config.lanes, self.strategy.own_lanes, made, self.ranks)
        return self.opened[name]

    def _dropout_seed(self, lane: int) -> int:
        """The same after a resume."""
        place = (
            (self.config.seed, self.state.step) if self.config.lanes == 1 else (self.config.seed, self.state.step, lane)
        )
        return int(np.random.SeedSequence(place).generate_state(1, np.uint64)[0] >> 1)

    def _parts(self) -> dict[str, Any]:
        parts = {"model": self.model, "optimizer": self.optimizer}
        if self.objective.state_dict():
            parts["objective"] = self.objective
        return parts if self.average is None else parts | {"average": self.average}

    def _save(self) -> None:
        self._read_losses()
        self.state.ranks = self.ranks.world
        parts = {name: part.state_dict() for name, part in self._parts().items()}
        save_run(self.out, self.state, self.identity, parts, self.strategy)
        self.last_save = time.monotonic()

    def _restore(self) -> None:
        found = load_run(self.out, self.identity, self.strategy)
        if found is None:
            return
        self.state, saved, strategies = found
        for name, part in self._parts().items():
            part.load_state_dict(saved[name])
        self.strategy.take_over(strategies, self.state.ranks == self.ranks.world)
        say(f"{self.out / STATE_FILE}: going on at step {self.state.step}")
