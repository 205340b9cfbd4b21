"""Class priors: a model's mean posteriors on a training set."""

import torch
from torch import Tensor

from asr_kd.core.progress import Progress
from asr_kd.core.runtime import autocast
from asr_kd.data.loader import batches
from asr_kd.data.sampler import BatchSampler, TrainingSet
from asr_kd.models.acoustic import AcousticModel
from asr_kd.train.cmvn import MAX_MEASURED_FRAMES, MEASURED_FRAMES_PER_BATCH

MIN_PRIOR = 1e-5
"""A class that is hardly ever expected must not be favoured without bound by dividing by its prior."""


@torch.inference_mode()
def log_priors(
    model: AcousticModel,
    stream: TrainingSet,
    seed: int,
    precision: str,
    workers: int = 0,
    max_frames: int = MAX_MEASURED_FRAMES,
) -> Tensor:
    """Natural log of the model's average posterior over a random part of a stream, (C,) float32."""
    model.eval()
    device = model.feature_mean_F.device
    total, sum_C = 0, torch.zeros(model.inventory.num_classes, dtype=torch.float64)
    plan = BatchSampler(stream.without_augmentation(), MEASURED_FRAMES_PER_BATCH, seed)
    with Progress("priors", min(plan.seconds, max_frames * model.inventory.frame_shift_s)) as progress:
        for batch in batches(plan, model.frontend, workers=workers, endless=False):
            progress.update(batch.seconds)
            if not batch.utterances:
                continue
            batch = batch.to(device)
            with autocast(device, precision):
                logits_BTC = model(batch.x_BTF, batch.frames_B)
            sum_C += logits_BTC[batch.mask_BT].float().softmax(-1).sum(0).double().cpu()
            total += int(batch.frames_B.sum())
            if total >= max_frames:
                break
    if not total or not sum_C.isfinite().all():
        raise ValueError(f"{stream.name}: the model's mean posteriors cannot be taken on {total} frames of it")
    prior_C = (sum_C / total).clamp(min=MIN_PRIOR)
    return (prior_C / prior_C.sum()).log().float()
