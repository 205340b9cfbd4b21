"""What is measured on data without learning from it: normalisation, held-out loss, class priors."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from rapidfuzz.distance import Levenshtein
from torch import Tensor

from asr_kd.core.progress import Progress
from asr_kd.core.runtime import autocast
from asr_kd.data.loader import Batch, TrainingSet, batches
from asr_kd.data.sampler import BatchSampler
from asr_kd.frontend.augment import AugmentConfig
from asr_kd.frontend.fbank import FrontEndConfig
from asr_kd.inventory.tokens import ctc_collapse
from asr_kd.models.acoustic import AcousticModel
from asr_kd.train.objective import batch_loss

FRAMES_PER_BATCH = 8000
MOST_FRAMES = 400_000
"""Normalisation and priors are estimated on at most so many frames (3.3 h of 30 ms)."""
MIN_PRIOR = 1e-5
"""A class that is hardly ever expected must not be favoured without bound by dividing by its prior."""


@dataclass(frozen=True)
class DevResult:
    """A model on held-out data."""

    loss: float
    """Nats per frame."""
    frame_accuracy: float
    """Share of frames whose likeliest class is the target's. Where targets are tokens, 1 - the token error rate of what
    the likeliest classes say, with repetitions and blanks taken out; it may be negative."""


def without_augmentation(stream: TrainingSet) -> TrainingSet:
    """The same data without augmentation."""
    return replace(stream, augment=AugmentConfig())


def feature_statistics(
    stream: TrainingSet, frontend: FrontEndConfig, seed: int, workers: int = 0, most_frames: int = MOST_FRAMES
) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each feature, (F,) float32, over a random part of a stream's own audio."""
    plan = BatchSampler(without_augmentation(stream), FRAMES_PER_BATCH, seed)
    total, sum_F, square_F = 0, torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    for batch in batches(plan, frontend, workers=workers, endless=False):
        x_NF = batch.x_BTF[length_mask(batch)].double()
        total += len(x_NF)
        sum_F = sum_F + x_NF.sum(0)
        square_F = square_F + x_NF.square().sum(0)
        if total >= most_frames:
            break
    if not total:
        raise ValueError(f"{stream.name}: not one utterance has both audio and targets")
    mean_F = sum_F / total
    if not square_F.isfinite().all():
        raise ValueError(f"{stream.name}: its features are not finite. Look at its audio.")
    return mean_F.float(), (square_F / total - mean_F.square()).clamp(min=0).sqrt().float()


@torch.inference_mode()
def evaluate(model: AcousticModel, held_out: Iterable[Batch], precision: str) -> DevResult:
    """Loss and accuracy over batches. The model is left in evaluation mode.

    ValueError when not one utterance has both audio and targets.
    """
    model.eval()
    device = model.feature_mean_F.device
    total, loss_sum, correct, asked = 0, 0.0, 0, 0
    for batch in held_out:
        if not batch.utterances:
            continue
        batch = batch.to(device)
        with autocast(device, precision):
            logits_BTC = model(batch.x_BTF, batch.frames_B)
        frames = int(batch.frames_B.sum())
        loss_sum += float(batch_loss(logits_BTC, batch)) * frames
        total += frames
        for right, of in _right(logits_BTC, batch):
            correct, asked = correct + right, asked + of
    if not total:
        raise ValueError("dev: not one held-out utterance has both audio and targets")
    return DevResult(loss_sum / total, correct / asked)


def _right(logits_BTC: Tensor, batch: Batch) -> Iterator[tuple[int, int]]:
    """Of frames, or of the tokens of each utterance, how many are right (errors taken off) and how many there are."""
    best_BT = logits_BTC.argmax(-1)
    if batch.tokens_BU is None:
        inside_BT = length_mask(batch)
        yield int((best_BT == batch.ids_BTK[..., 0])[inside_BT].sum()), int(inside_BT.sum())
        return
    for best_T, n, tokens_U in zip(best_BT.tolist(), batch.frames_B.tolist(), batch.tokens_BU.tolist(), strict=True):
        wanted = [token for token in tokens_U if token >= 0]
        yield len(wanted) - Levenshtein.distance(wanted, ctc_collapse(best_T[:n])), len(wanted)


@torch.inference_mode()
def log_priors(
    model: AcousticModel,
    stream: TrainingSet,
    seed: int,
    precision: str,
    workers: int = 0,
    most_frames: int = MOST_FRAMES,
) -> Tensor:
    """Natural log of the model's average posterior over a random part of a stream, (C,) float32."""
    model.eval()
    device = model.feature_mean_F.device
    total, sum_C = 0, torch.zeros(model.inventory.num_classes, dtype=torch.float64)
    plan = BatchSampler(without_augmentation(stream), FRAMES_PER_BATCH, seed)
    with Progress("priors", min(plan.seconds, most_frames * model.inventory.frame_shift_s)) as progress:
        for batch in batches(plan, model.frontend, workers=workers, endless=False):
            progress.update(batch.seconds)
            if not batch.utterances:
                continue
            batch = batch.to(device)
            with autocast(device, precision):
                logits_BTC = model(batch.x_BTF, batch.frames_B)
            sum_C += logits_BTC[length_mask(batch)].float().softmax(-1).sum(0).double().cpu()
            total += int(batch.frames_B.sum())
            if total >= most_frames:
                break
    if not total or not sum_C.isfinite().all():
        raise ValueError(f"{stream.name}: the model's mean posteriors cannot be taken on {total} frames of it")
    prior_C = (sum_C / total).clamp(min=MIN_PRIOR)
    return (prior_C / prior_C.sum()).log().float()


def length_mask(batch: Batch) -> Tensor:
    """(B, T), true within each utterance."""
    return torch.arange(batch.x_BTF.shape[1], device=batch.frames_B.device) < batch.frames_B[:, None]
