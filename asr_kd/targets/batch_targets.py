"""Targets of a batch as tensors: of its frames, of its text, of both or of neither."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from asr_kd.targets.frame_targets import FrameTargets, TokenTargets


class PaddedFrames(NamedTuple):
    """Targets of the frames of a batch; slots behind an utterance's end are empty."""

    ids_BTK: Tensor
    """int64 classes, -1 in an empty slot."""
    log_p_BTK: Tensor
    log_tail_BT: Tensor | None
    """None where no frame leaves anything over: whoever computes knows it without asking a GPU."""

    def map(self, change: Callable[[Any], Any]) -> "PaddedFrames":
        """The same with each tensor changed."""
        tail_BT = None if self.log_tail_BT is None else change(self.log_tail_BT)
        return PaddedFrames(change(self.ids_BTK), change(self.log_p_BTK), tail_BT)

    def first(self, steps: int) -> "PaddedFrames":
        """Of so many frames from the start."""
        return self.map(lambda tensor: tensor[:, :steps])


@dataclass(frozen=True)
class BatchTargets:
    """What the utterances of a batch should be answered with; neither: nothing is asked (an online teacher teaches)."""

    frames: PaddedFrames | None = None
    tokens_BU: Tensor | None = None
    """int64 classes of each utterance in order, -1 behind the last."""

    def __bool__(self) -> bool:
        return self.frames is not None or self.tokens_BU is not None

    def map(self, change: Callable[[Any], Any]) -> "BatchTargets":
        """The same with each tensor changed."""
        return BatchTargets(
            None if self.frames is None else self.frames.map(change),
            None if self.tokens_BU is None else change(self.tokens_BU),
        )


def pad_tokens(targets: Sequence[TokenTargets]) -> Tensor:
    """Tokens of utterances as (B, U) int64, -1 behind the last."""
    tokens_BU = torch.full((len(targets), max(len(t.tokens_U) for t in targets)), -1, dtype=torch.int64)
    for tokens_U, target in zip(tokens_BU, targets, strict=True):
        tokens_U[: len(target.tokens_U)] = torch.from_numpy(target.tokens_U.astype(np.int64))
    return tokens_BU


def pad_frames(
    targets: Sequence[FrameTargets],
    frames: Sequence[int],
    steps: int,
    speed: float = 1.0,
    silent: Sequence[int] | None = None,
    silence_class: int = 0,
) -> PaddedFrames:
    """Targets of utterances played at `speed`, padded to `steps` frames.

    frames: features of each utterance, after the change of speed; frame t answers what round(t * speed) did before.
    silent: how many of them, at the begin of each, are silence that was put before it.
    """
    shape = len(targets), steps, max(t.k for t in targets)
    ids_BTK, log_p_BTK = torch.full(shape, -1, dtype=torch.int64), torch.full(shape, -torch.inf)
    log_tail_BT = torch.full(shape[:2], -torch.inf)
    silent = silent or [0] * len(targets)
    for b, (target, n, before) in enumerate(zip(targets, frames, silent, strict=True)):
        source_T = np.minimum(np.rint(np.arange(n - before) * speed).astype(np.int64), target.frames - 1)
        ids_BTK[b, :before, 0], log_p_BTK[b, :before, 0] = silence_class, 0
        ids_BTK[b, before:n, : target.k] = torch.from_numpy(target.ids_TK[source_T].astype(np.int64))
        log_p_BTK[b, before:n, : target.k] = torch.from_numpy(target.log_p_TK[source_T])
        log_tail_BT[b, before:n] = torch.from_numpy(target.log_tail_T[source_T])
    return PaddedFrames(ids_BTK, log_p_BTK, None if torch.isneginf(log_tail_BT).all() else log_tail_BT)
