"""Training on one GPU: the bare step against the real loop, by loader workers; memory; checkpoints; exact resume."""

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from asr_kd.bench.gpu.sections import Report, Setup
from asr_kd.bench.synthetic import random_teacher
from asr_kd.core.runtime import autocast, synchronise
from asr_kd.data.loader import Batch, batches
from asr_kd.data.sampler import BatchSampler, TrainingSet
from asr_kd.inventory.tokens import Tokens
from asr_kd.models.acoustic import AcousticModel, build_model
from asr_kd.models.checkpoint import save_model
from asr_kd.models.config import PRESETS
from asr_kd.shards.catalogue import open_catalogue
from asr_kd.shards.reader import Shard, ShardKey
from asr_kd.targets.frame_targets import FrameTargets, TokenTargets
from asr_kd.train.config import OptimConfig, TrainConfig
from asr_kd.train.objective import FrameObjective, batch_loss
from asr_kd.train.optim import adamw
from asr_kd.train.state import RunState, save_state
from asr_kd.train.trainer import Trainer

K = 20
WARM_UP_STEPS = 5


class RandomTargets:
    """Soft targets of `K` random classes a frame, or random tokens, the same in every process."""

    def __init__(self, model: AcousticModel, tokens: bool = False) -> None:
        self.num_frames, self.classes, self.tokens = (
            model.frontend.build().num_frames,
            model.inventory.num_classes,
            tokens,
        )

    def load(self, shard: Shard) -> list[FrameTargets | TokenTargets]:
        """Targets of each utterance."""
        return [self._targets(round(entry.seconds * 16000), row) for row, entry in enumerate(shard.entries)]

    def digest(self, shard: ShardKey) -> str:
        """The same for all: a seed makes them."""
        return ""

    def _targets(self, samples: int, seed: int) -> FrameTargets | TokenTargets:
        draw = torch.Generator().manual_seed(seed)
        frames, kept = self.num_frames(samples), min(K, self.classes)
        if self.tokens:
            return TokenTargets(torch.randint(1, self.classes, (max(1, frames // 8),), generator=draw).int().numpy())
        ids_TK = torch.randint(self.classes - kept, (frames, 1), generator=draw) + torch.arange(kept)
        p_TK = torch.rand(frames, kept, generator=draw).sort(descending=True).values.softmax(-1) * 0.98
        tail_T = torch.full((frames,), 0.02).log()
        return FrameTargets(ids_TK.int().numpy(), p_TK.log().numpy(), tail_T.numpy())


class _Clock(FrameObjective):
    """The batches' own targets; notes when each step ended, and may ask the run to stop after one."""

    def __init__(self, stop_after: int | None = None, steps: int = 0) -> None:
        super().__init__()
        self.ended: list[float] = []
        self.stop_after, self.steps = stop_after, steps

    def after_step(self, model: AcousticModel) -> None:
        """Note the time; before the first that counts and the last, the device has done all that was asked."""
        if len(self.ended) in (WARM_UP_STEPS, self.steps - 1):
            synchronise(next(model.parameters()).device)
        self.ended.append(time.perf_counter())
        if len(self.ended) == self.stop_after:
            os.kill(os.getpid(), signal.SIGTERM)


def training(setup: Setup, report: Report) -> dict[str, Any]:
    """Bare step and real loop, steps per second, of each model and precision."""
    found: dict[str, Any] = {}
    presets = ("student-tiny",) if setup.tiny else ("teacher-paper", "student-paper", "teacher-tiny", "student-tiny")
    workers_tried = (0,) if setup.tiny else tuple(n for n in (2, 4, 8, 14) if n < setup.cores)
    for preset in presets:
        for precision in setup.precisions:
            counts = workers_tried if precision == setup.precisions[0] else workers_tried[-1:]
            if time.monotonic() > setup.deadline:
                report.add(f"train {preset} {precision}: skipped, no time left")
                continue
            found[f"{preset} {precision}"] = result = _measure(setup, preset, precision, counts)
            loops = ", ".join(f"{n} workers {r:.3f}" for n, r in result["ratio_by_workers"].items())
            report.add(
                f"train {preset:14} {precision:8} bare step {1000 * result['bare_step_s']:7.1f} ms, "
                f"{result['bare_hours_per_second']:.3f} h/s; loop / bare: {loops}; "
                f"peak {result['peak_gib']:.2f} GiB; checkpoint {result['checkpoint_s']:.2f} s"
            )
    return found


def _measure(setup: Setup, preset: str, precision: str, counts: tuple[int, ...]) -> dict[str, Any]:
    frames = 1000 if setup.tiny else 16000
    model = random_teacher(preset, setup.classes)
    stream = _stream(setup, model)
    plan = BatchSampler(stream, frames, 0, model.inventory.frame_shift_s)
    ready = [batch for batch, _ in zip(batches(plan, model.frontend), range(3 if setup.tiny else 12), strict=False)]
    bare_s, seconds, peak, checkpoint_s = _bare(setup, model, ready, precision)
    ratios: dict[str, float] = {}
    for workers in counts:
        clock = _Clock(steps=sum(1 for _ in plan.epoch(0)))
        model = random_teacher(preset, setup.classes)
        config = _config(setup, precision, frames, workers)
        out = setup.folder / f"train-{preset}-{precision}-{workers}"
        Trainer(model, [(_stream(setup, model), 1.0)], _dev(setup, model), config, out, objective=clock).run()
        first = min(WARM_UP_STEPS, len(clock.ended) - 2)
        loop_s = (clock.ended[-1] - clock.ended[first]) / (len(clock.ended) - 1 - first)
        ratios[str(workers)] = bare_s / loop_s
    return {
        "bare_step_s": bare_s,
        "bare_hours_per_second": seconds / 3600 / bare_s,
        "ratio_by_workers": ratios,
        "peak_gib": peak,
        "checkpoint_s": checkpoint_s,
    }


def _bare(setup: Setup, model: AcousticModel, ready: list[Batch], precision: str) -> tuple[float, float, float, float]:
    """Seconds of a step on batches that lie on the device, seconds of audio in one, peak GiB, seconds to save."""
    on = setup.device
    model.to(on).train()
    optimizer = adamw(list(model.parameters()), OptimConfig())
    ready = [batch.to(on) for batch in ready]
    if on.type == "cuda":
        torch.cuda.reset_peak_memory_stats(on)

    def step(batch: Batch) -> None:
        with autocast(on, precision):
            loss = batch_loss(model(batch.x_BTF, batch.frames_B), batch).mean
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()

    for batch in ready:
        step(batch)
    synchronise(on)
    started = time.perf_counter()
    for batch in ready:
        step(batch)
    synchronise(on)
    step_s = (time.perf_counter() - started) / len(ready)
    peak = torch.cuda.max_memory_allocated(on) / 2**30 if on.type == "cuda" else 0.0
    started = time.perf_counter()
    save_model(setup.folder / "checkpoint", model, {})
    parts = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    save_state(setup.folder / "checkpoint", RunState(), {}, parts)
    return step_s, sum(batch.seconds for batch in ready) / len(ready), peak, time.perf_counter() - started


def resume(setup: Setup, report: Report) -> dict[str, Any]:
    """Weights of a run and of the same run stopped half-way, for frame targets and for CTC."""
    found = {}
    senones: Callable[[], AcousticModel] = lambda: random_teacher("student-tiny", 41)
    letters = Tokens.characters(["abcdefghijklmnopqrstuvwxyz"])

    def ctc() -> AcousticModel:
        torch.manual_seed(0)
        return build_model(PRESETS["student-tiny"], letters, senones().frontend)

    for name, make in (("frames", senones), ("ctc", ctc)):
        whole = _trained(setup, make, name, None)
        stopped = _trained(setup, make, name, 2)
        same = all(torch.equal(value, stopped[key]) for key, value in whole.items())
        found[name] = {"bit_for_bit": same}
        if not same and name == "frames":
            report.wrong.append("training on frame targets does not resume bit for bit")
        why = ": PyTorch's CTC on CUDA adds its gradient up in no fixed order, see docs/gpu.md" if name == "ctc" else ""
        report.add(f"resume {name:6} {'bit for bit' if same else 'NOT bit for bit' + why}")
    return found


def _trained(setup: Setup, make: Callable[[], AcousticModel], name: str, stop_after: int | None) -> dict[str, Tensor]:
    out = setup.folder / f"resume-{name}-{stop_after}"
    config = _config(setup, "float32", 600, 0)

    def run(objective: _Clock) -> AcousticModel:
        model = make()
        stream = _stream(setup, model, tokens=name == "ctc", shards=1)
        dev = _dev(setup, model, tokens=name == "ctc")
        Trainer(model, [(stream, 0.5)], dev, config, out, objective=objective).run()
        return model

    if stop_after is not None:
        try:
            run(_Clock(stop_after))
        except KeyboardInterrupt:
            pass
        else:
            raise ValueError("the run ended before it was stopped: too little audio")
    return {key: value.cpu() for key, value in run(_Clock()).state_dict().items()}


def _config(setup: Setup, precision: str, frames: int, workers: int) -> TrainConfig:
    return TrainConfig(
        max_frames_per_batch=frames,
        precision="bf16" if precision == "bf16" else "float32",
        device=str(setup.device),
        num_workers=workers,
        ema_decay=0.0,
        checkpoint_every_minutes=60.0,
    )


def _stream(setup: Setup, model: AcousticModel, tokens: bool = False, shards: int | None = None) -> TrainingSet:
    chosen = open_catalogue(*(shard.path for shard in setup.shards[:-1][:shards]))
    return TrainingSet("bench", chosen, RandomTargets(model, tokens))


def _dev(setup: Setup, model: AcousticModel, tokens: bool = False) -> TrainingSet:
    return TrainingSet("dev", open_catalogue(setup.shards[-1].path), RandomTargets(model, tokens))
