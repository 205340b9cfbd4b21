"""SpecAugment (arXiv 1904.08779) on stacked features: spans of time and bands of mel filters are masked."""

import numpy as np
import torch
from torch import Tensor


def spec_augment(
    x_BTF: Tensor,
    frames_B: Tensor,
    mel_bins: int,
    rng: np.random.Generator,
    time_masks: int,
    time_width: int,
    time_fraction: float,
    mel_masks: int,
    mel_width: int,
) -> Tensor:
    """A copy of the features with masked values set to 0, which after mean subtraction is the mean.

    x_BTF: stacked frames, F a multiple of `mel_bins`; a band of mel filters is masked in every frame of the stack.
    Time masks span 0 to `time_width` frames, at most `time_fraction` of the utterance; mel masks 0 to `mel_width` bins.
    """
    batch, steps, dim = x_BTF.shape
    assert dim % mel_bins == 0, f"{dim} features are no stack of {mel_bins} mel bins"
    lengths_B1 = frames_B.cpu().numpy()[:, None]
    widest_B1 = np.minimum(time_width, (lengths_B1 * time_fraction).astype(np.int64))
    masked_BT = _spans(steps, lengths_B1, widest_B1, time_masks, rng)
    masked_BM = _spans(mel_bins, np.full((batch, 1), mel_bins), np.full((batch, 1), mel_width), mel_masks, rng)
    masked_BF = np.tile(masked_BM, dim // mel_bins)
    keep_BT1 = torch.from_numpy(~masked_BT).to(x_BTF.device)[:, :, None]
    keep_B1F = torch.from_numpy(~masked_BF).to(x_BTF.device)[:, None, :]
    return x_BTF * keep_BT1 * keep_B1F


def _spans(
    size: int, lengths_B1: np.ndarray, widest_B1: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    """(B, size), true in `count` random spans of each row, of 0 to `widest` places within the first `length`."""
    shape = (len(lengths_B1), count)
    width_BK = np.minimum(rng.integers(0, np.broadcast_to(widest_B1, shape), endpoint=True), lengths_B1)
    start_BK = rng.integers(0, lengths_B1 - width_BK, endpoint=True)
    place_1S1 = np.arange(size)[None, :, None]
    return ((place_1S1 >= start_BK[:, None]) & (place_1S1 < (start_BK + width_BK)[:, None])).any(axis=2)
