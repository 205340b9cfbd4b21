"""From a batch plan to tensors: audio, augmentation, features and targets, made by loader workers.

All randomness comes from the batch's own numbers (seed, stream, epoch, batch): any number of workers gives the same
bits, and a run that goes on at batch n sees what it would have seen.
"""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from asr_kd.core.processes import end_with
from asr_kd.core.storage import PathOrUrl
from asr_kd.core.terminal import is_memory_error
from asr_kd.data.sampler import START, BatchSampler, BatchSpec, Position, ShardCache, TrainingSet
from asr_kd.frontend.augment import Augment
from asr_kd.frontend.fbank import FrontEnd, FrontEndConfig
from asr_kd.shards.reader import Shard
from asr_kd.targets.batch_targets import BatchTargets, pad_frames, pad_tokens
from asr_kd.targets.frame_targets import Targets
from asr_kd.teachers.inference import pad_waves

MAX_LENGTH_MISMATCH = 2
"""Frames by which targets and features of an utterance may differ (edges are cut differently); more is a mistake."""
BATCHES_AHEAD = 4
"""Batches that each worker makes before they are asked for."""
KEPT_SAMPLES = 1 << 26
"""Decoded audio that a worker keeps at most (256 MiB, 70 minutes): a small corpus is decoded once, not every epoch."""


@dataclass
class Batch:
    """What a training step reads; behind each utterance's end features are 0 and target slots empty."""

    x_BTF: Tensor
    """The front end's output."""
    frames_B: Tensor
    """int64"""
    targets: BatchTargets
    stream: str
    seconds: float
    """Audio of the planned batch, before speed perturbation; what was set aside counts."""
    utterances: list[str]
    """Ids; empty when all of the batch was set aside."""
    set_aside: dict[str, str]
    """Ids of planned utterances that nothing can be learnt from, and why."""
    spec: BatchSpec
    is_supervised: bool = True
    """Whether the targets are ground truth, not a teacher's."""
    teacher_features_BTF: Tensor | None = None
    """The output of an online teacher's front end, without SpecAugment masks."""
    frame_rows_N: Tensor = field(init=False)
    """Where the frames of all utterances lie in B x T. Counted here: a GPU would have to be waited for."""

    def __post_init__(self) -> None:
        self.frame_rows_N = self.mask_BT.flatten().nonzero()[:, 0]

    @property
    def frames(self) -> int:
        """Of all utterances."""
        return len(self.frame_rows_N)

    @property
    def mask_BT(self) -> Tensor:
        """True within each utterance."""
        return torch.arange(self.x_BTF.shape[1], device=self.frames_B.device) < self.frames_B[:, None]

    def pin_memory(self) -> "Batch":
        """The same with its tensors in page-locked memory. The loader's name for it."""
        return self.map(lambda tensor: tensor.pin_memory())

    def to(self, device: torch.device) -> "Batch":
        """The same with its tensors on `device`."""
        return self.map(lambda tensor: tensor.to(device, non_blocking=True))

    def map(self, change: Callable[[Any], Any]) -> "Batch":
        """The same with each tensor (or array) changed."""
        new = copy(self)
        for name, value in vars(self).items():
            if isinstance(value, (Tensor, np.ndarray)):
                setattr(new, name, change(value))
        new.targets = self.targets.map(change)
        return new


def batches(
    plan: BatchSampler,
    frontend: FrontEndConfig,
    start: Position = START,
    workers: int = 0,
    endless: bool = True,
    teacher: FrontEndConfig | None = None,
    pin_memory: bool = False,
    lanes: Sequence[int] | None = None,
    silence_class: int = 0,
) -> Iterator[Batch]:
    """The batches of a plan from `start` on; `endless` goes on with the next epochs, else they are those of the first.

    lanes: only those of the plan (default: all).
    workers: processes that prepare batches; 0 prepares them here.  teacher: front end of an online teacher.
    pin_memory: tensors lie in page-locked memory, which a GPU copies from while it computes.
    silence_class: target of the frames of silence that augmentation adds.
    ValueError when shards or targets are missing, broken, or do not belong together.
    """
    loader = DataLoader(
        _BatchDataset(
            replace(plan.stream, utterance_ids=None), frontend, teacher, silence_class
        ),  # rows are planned: no worker needs a list of ids
        batch_size=None,
        sampler=plan.epochs(start, lanes) if endless else plan.epoch(0),
        num_workers=workers,
        pin_memory=pin_memory,
        prefetch_factor=BATCHES_AHEAD if workers else None,
        worker_init_fn=partial(_start_worker, os.getpid()),
        generator=torch.Generator(),  # the loader draws a seed for its workers; not from the model's randomness
    )
    with worker_errors():
        for batch in loader:
            if isinstance(batch, _Packed):
                batch = batch.unpacked()
            if isinstance(batch, Exception):
                raise batch
            yield batch


@contextmanager
def worker_errors() -> Iterator[None]:
    """Say in one line that a loader's worker was killed; PyTorch tells it from a signal handler, at any moment."""
    try:
        yield
    except (RuntimeError, ConnectionResetError, EOFError) as e:
        if isinstance(e, RuntimeError) and "DataLoader worker (pid" not in str(e):
            raise
        raise OSError(
            "a process that prepares batches (--num-workers) was killed: was there too little memory? "
            "Run the same command to go on, with fewer workers or smaller batches if it happens again."
        ) from None


@dataclass
class _Packed:
    """What a worker made, on its way through a pipe. Shared memory would need an open file a tensor in every process;
    where there are too few, the loader loses the batch and waits for it without end."""

    batch: Batch
    """Its tensors as arrays."""

    def unpacked(self) -> Batch:
        return self.batch.map(torch.from_numpy)

    def pin_memory(self) -> Batch:
        """Unpacked, in page-locked memory. The loader's name for it."""
        return self.unpacked().pin_memory()


def _start_worker(parent: int, number: int) -> None:
    """A killed main process takes its workers along: one that waits to hand over a batch would wait without end.

    Ctrl-C and a scheduler's SIGTERM reach the whole group; the main process decides and then ends its workers.
    """
    end_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


class _BatchDataset(Dataset[Any]):
    """Makes the batch of a spec. A user's mistake comes back as a value: a worker's traceback would bury its line."""

    def __init__(
        self,
        stream: TrainingSet,
        frontend: FrontEndConfig,
        teacher: FrontEndConfig | None = None,
        silence_class: int = 0,
    ) -> None:
        self.stream, self.silence_class = stream, silence_class
        self.teacher = None if teacher is None else FrontEnd(teacher)
        self.frontend = FrontEnd(frontend)
        self.augment = Augment(stream.augment, frontend)
        self.shards = ShardCache(stream.shards.open)
        self.kept: dict[tuple[PathOrUrl, int], np.ndarray] = {}
        self.kept_samples = 0

    def __getitem__(self, spec: BatchSpec) -> Batch | Exception | _Packed:
        try:
            batch = self._make(spec)
        except (ValueError, OSError, MemoryError, RuntimeError) as e:
            if isinstance(e, RuntimeError) and not is_memory_error(e):
                raise
            return e
        return batch if get_worker_info() is None else _Packed(batch.map(Tensor.numpy))

    def _make(self, spec: BatchSpec) -> Batch:
        rng = np.random.default_rng(spec.seed)
        ids: list[str] = []
        waves: list[np.ndarray] = []
        set_aside: dict[str, str] = {}
        known: list[Targets] = []
        for number, row in spec.rows:
            shard = self.shards(number)
            found = self.stream.targets.load(shard)[row]
            target = None if found is None else Targets.of(found)
            name = shard.entries[row].id
            if target is None or _is_empty(target):
                set_aside[name] = "it has no targets"
                continue
            wave = self._audio(shard, row)
            if isinstance(wave, str):
                set_aside[name] = wave
                continue
            if not self._fits(shard, row, wave, target):
                set_aside[name] = "it is too short for its tokens"
                continue
            ids.append(name)
            waves.append(wave)
            known.append(target)
        teacher_features_BTF = None
        if waves:
            waves, speed = self.augment.waves(waves, rng)
            frame_samples = round(self.frontend.frame_shift_s * self.frontend.config.sample_rate)
            waves, silent = self.augment.silence(waves, frame_samples, rng)
            wave_BN, samples_B = pad_waves(waves)
            x_BTF, frames_B = self.frontend(wave_BN, samples_B)
            if self.teacher is not None:
                teacher_features_BTF = (
                    x_BTF if self.teacher.config == self.frontend.config else self.teacher(wave_BN, samples_B)[0]
                )
            x_BTF = self.augment.features(x_BTF, frames_B, rng)
        else:
            x_BTF, frames_B = torch.zeros(0, 0, self.frontend.dim), torch.zeros(0, dtype=torch.int64)
            speed, silent = 1.0, []
        return Batch(
            x_BTF,
            frames_B,
            self._padded(known, frames_B.tolist(), x_BTF.shape[1], speed, silent),
            stream=self.stream.name,
            seconds=spec.seconds,
            utterances=ids,
            set_aside=set_aside,
            spec=spec,
            is_supervised=self.stream.is_supervised,
            teacher_features_BTF=teacher_features_BTF,
        )

    def _padded(
        self, known: list[Targets], frames: list[int], steps: int, speed: float, silent: list[int]
    ) -> BatchTargets:
        """Targets of a batch of utterances of so many `frames`, padded to `steps`."""
        of_frames = [t.frames for t in known if t.frames is not None]
        tokens = [t.tokens for t in known if t.tokens is not None]
        assert {len(of_frames), len(tokens)} <= {0, len(known)}, f"{self.stream.name}: not the same of each utterance"
        return BatchTargets(
            pad_frames(of_frames, frames, steps, speed, silent, self.silence_class) if of_frames else None,
            pad_tokens(tokens) if tokens else None,
        )

    def _fits(self, shard: Shard, row: int, wave: np.ndarray, target: Targets) -> bool:
        """Whether frames and targets go together; ValueError when those of frames do not: a mistake in all of them."""
        frames = self.frontend.num_frames(len(wave))
        if target.frames is not None and abs(target.frames.frames - frames) > MAX_LENGTH_MISMATCH:
            shift_ms = self.frontend.frame_shift_s * 1000
            raise ValueError(
                f"{shard.path}: {shard.entries[row].id} has {frames} frames of {shift_ms:g} ms, "
                f"its targets have {target.frames.frames}. Make the targets again with this front end."
            )
        # Tokens fit always or never, whatever speed is drawn.
        fastest = max(self.stream.augment.speed_perturb)
        return target.tokens is None or target.tokens.min_frames <= self.frontend.num_frames(int(len(wave) / fastest))

    def _audio(self, shard: Shard, row: int) -> np.ndarray | str:
        """The samples, or why they cannot be used."""
        if (shard.path, row) in self.kept:
            return self.kept[shard.path, row]
        try:
            wave = shard.audio(row)
        except ValueError as e:
            return str(e)
        if not self.frontend.num_frames(len(wave)):
            return f"{len(wave)} samples are too short for one frame"
        # What fits stays, nothing is dropped for it: in a corpus that is larger, the oldest would never be asked for.
        if self.kept_samples + len(wave) <= KEPT_SAMPLES:
            self.kept[shard.path, row] = wave
            self.kept_samples += len(wave)
        return wave


def _is_empty(target: Targets) -> bool:
    no_frames = target.frames is not None and not target.frames.frames
    return no_frames or (target.tokens is not None and not len(target.tokens.tokens_U))
