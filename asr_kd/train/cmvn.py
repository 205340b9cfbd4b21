"""Mean and variance normalisation of features, estimated on a training set."""

import torch
from torch import Tensor

from asr_kd.data.loader import batches
from asr_kd.data.sampler import BatchSampler, TrainingSet
from asr_kd.frontend.fbank import FrontEndConfig

MEASURED_FRAMES_PER_BATCH = 8000
MAX_MEASURED_FRAMES = 400_000
"""Normalisation and priors are estimated on at most so many frames (3.3 h of 30 ms)."""


def feature_statistics(
    stream: TrainingSet, frontend: FrontEndConfig, seed: int, workers: int = 0, max_frames: int = MAX_MEASURED_FRAMES
) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each feature, (F,) float32, over a random part of a stream's own audio."""
    plan = BatchSampler(stream.without_augmentation(), MEASURED_FRAMES_PER_BATCH, seed)
    total, sum_F, square_F = 0, torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    for batch in batches(plan, frontend, workers=workers, endless=False):
        x_NF = batch.x_BTF[batch.mask_BT].double()
        total += len(x_NF)
        sum_F = sum_F + x_NF.sum(0)
        square_F = square_F + x_NF.square().sum(0)
        if total >= max_frames:
            break
    if not total:
        raise ValueError(f"{stream.name}: not one utterance has both audio and targets")
    mean_F = sum_F / total
    if not square_F.isfinite().all():
        raise ValueError(f"{stream.name}: its features are not finite. Look at its audio.")
    return mean_F.float(), (square_F / total - mean_F.square()).clamp(min=0).sqrt().float()
