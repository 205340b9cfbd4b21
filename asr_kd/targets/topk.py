"""Which of a teacher's posteriors are kept: at most k of a frame, above a floor, or as few as hold a given mass."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from asr_kd.targets.frame_contexts import MAX_CLASSES_PER_FRAME
from asr_kd.targets.frame_targets import FrameTargets

CPU_BLOCK_FRAMES = 128
"""Frames selected from at a time: their copies of (frames, classes) stay in cache, and none is fetched anew."""


@dataclass(frozen=True)
class SelectionConfig:
    """Which teacher posteriors of a frame are kept. What is left out is stored as one number, the tail."""

    top_k: int = 40
    """Most classes kept per frame (the paper keeps exactly 20)."""
    top_p: float | None = None
    """Keep the fewest classes that hold this much probability, at most `top_k`, instead of those above `min_prob`."""
    min_prob: float = 0.0006
    """Drop classes less likely than this, but never all. 0 drops none: then exactly `top_k` are kept, the paper's rule.

    For a given number of kept classes over all frames, a floor leaves the least mass out: it spends few classes where
    the teacher is sure and many where it is not. docs/sidecars.md shows what it costs and keeps.
    """

    def __post_init__(self) -> None:
        if not 1 <= self.top_k <= MAX_CLASSES_PER_FRAME:
            raise ValueError(f"selection.top_k is {self.top_k}; it must be 1 to {MAX_CLASSES_PER_FRAME}")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"selection.top_p is {self.top_p}; it must lie in (0, 1]")
        if not 0 <= self.min_prob < 1:
            raise ValueError(f"selection.min_prob is {self.min_prob}; it must lie in [0, 1)")


def select_top_k(log_p_TC: Tensor, config: SelectionConfig) -> FrameTargets:
    """The kept classes of each frame, likeliest first, and the log of the mass left over.

    log_p_TC: log-posteriors (natural log, each frame sums to 1) on any device; the result lies in main memory.
    With fewer than k classes above the floor all are kept; where nothing is left over the tail is empty (-inf).
    """
    if log_p_TC.device.type != "cpu":
        return _select_top_k(log_p_TC, config)
    return _join([_select_top_k(block_TC, config) for block_TC in log_p_TC.split(CPU_BLOCK_FRAMES)])


def select_top_k_batch(log_p_BTC: Tensor, frames_B: Tensor, config: SelectionConfig) -> list[FrameTargets | None]:
    """`select_top_k` for each utterance of a padded batch, without a copy of the batch; None where one is not finite.

    log_p_BTC: log-posteriors; what lies behind an utterance's frames is not read.  frames_B: frames of each.
    """
    if log_p_BTC.device.type == "cpu":
        chosen = [select_top_k(log_p_TC[:n], config) for log_p_TC, n in zip(log_p_BTC, frames_B.tolist(), strict=True)]
    else:
        chosen = _select_together(log_p_BTC, frames_B, config)
    # A frame's posteriors are normalised: one NaN among its logits makes all of them NaN, the likeliest too.
    return [None if np.isnan(targets.log_p_TK).any() else targets for targets in chosen]


def _select_together(log_p_BTC: Tensor, frames_B: Tensor, config: SelectionConfig) -> list[FrameTargets]:
    """Of all utterances at once: one transfer from the device, not one each."""
    inside_BT = torch.arange(log_p_BTC.shape[1], device=log_p_BTC.device) < frames_B.to(log_p_BTC.device)[:, None]
    return _split(select_top_k(log_p_BTC[inside_BT], config), frames_B.tolist())


def _select_top_k(log_p_TC: Tensor, config: SelectionConfig) -> FrameTargets:
    log_p_TK, ids_TK = log_p_TC.topk(min(config.top_k, log_p_TC.shape[1]))
    # Summed over what is left: 1 - sum(p) would have no digits to spare where the teacher is sure. Nothing left is
    # likelier than the last that is kept, so that one serves as logsumexp's maximum, and its passes are spared.
    last_T1 = log_p_TK[:, -1:].clamp(min=torch.finfo(log_p_TK.dtype).min)
    left_TC = (log_p_TC - last_T1).exp_().scatter_(1, ids_TK, 0.0)
    log_tail_T = left_TC.sum(1).log_() + last_T1[:, 0]
    p_TK = log_p_TK.exp()
    if config.top_p is None:
        dropped_TK = p_TK < config.min_prob
    else:
        dropped_TK = p_TK.cumsum(1) - p_TK >= config.top_p  # the mass is reached before this one
    dropped_TK[:, 0] = False
    if dropped_TK.is_cuda or dropped_TK.any():  # a GPU is not asked: the answer would have to be waited for
        log_dropped_T = log_p_TK.masked_fill(~dropped_TK, -torch.inf).logsumexp(1)
        log_tail_T = torch.logaddexp(log_tail_T, log_dropped_T)
        ids_TK = ids_TK.masked_fill(dropped_TK, -1)
        log_p_TK = log_p_TK.masked_fill(dropped_TK, -torch.inf)
    return _to_host(ids_TK.int(), log_p_TK.float(), log_tail_T.float().clamp(max=0))


def _to_host(ids_TK: Tensor, log_p_TK: Tensor, log_tail_T: Tensor) -> FrameTargets:
    """The targets in main memory."""
    if ids_TK.is_cuda:
        return _in_one_copy(ids_TK, log_p_TK, log_tail_T)
    return FrameTargets(ids_TK.numpy(), log_p_TK.numpy(), log_tail_T.numpy())


def _in_one_copy(ids_TK: Tensor, log_p_TK: Tensor, log_tail_T: Tensor) -> FrameTargets:
    """The same by one copy from the device, in which classes travel as the bits of a float32."""
    packed_TN = torch.cat([ids_TK.view(torch.float32), log_p_TK, log_tail_T[:, None]], dim=1).cpu().numpy()
    kept = ids_TK.shape[1]
    parts = [np.ascontiguousarray(part) for part in np.split(packed_TN, [kept, 2 * kept], axis=1)]
    return FrameTargets(parts[0].view(np.int32), parts[1], parts[2][:, 0])


def _join(parts: list[FrameTargets]) -> FrameTargets:
    """Targets of consecutive frames as one."""
    if len(parts) == 1:
        return parts[0]
    return FrameTargets(
        np.concatenate([p.ids_TK for p in parts]),
        np.concatenate([p.log_p_TK for p in parts]),
        np.concatenate([p.log_tail_T for p in parts]),
    )


def _split(targets: FrameTargets, frames: list[int]) -> list[FrameTargets]:
    """Targets of consecutive frames as those of utterances of so many frames each."""
    ends = np.cumsum(frames)[:-1]
    columns = (targets.ids_TK, targets.log_p_TK, targets.log_tail_T)
    return [FrameTargets(*parts) for parts in zip(*(np.split(c, ends) for c in columns), strict=True)]
