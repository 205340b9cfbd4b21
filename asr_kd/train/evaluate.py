"""Loss and accuracy of a model on held-out data."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from rapidfuzz.distance import Levenshtein
from torch import Tensor

from asr_kd.core.runtime import autocast
from asr_kd.data.loader import Batch
from asr_kd.inventory.tokens import ctc_collapse
from asr_kd.models.acoustic import AcousticModel
from asr_kd.train.objective import batch_loss


@dataclass(frozen=True)
class DevResult:
    """A model on held-out data."""

    loss: float
    """Nats per frame."""
    frame_accuracy: float
    """Share of frames whose likeliest class is the target's. Where targets are tokens, 1 - the token error rate of what
    the likeliest classes say, with repetitions and blanks taken out; it may be negative."""


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
        inside_BT = batch.mask_BT
        yield int((best_BT == batch.ids_BTK[..., 0])[inside_BT].sum()), int(inside_BT.sum())
        return
    for best_T, n, tokens_U in zip(best_BT.tolist(), batch.frames_B.tolist(), batch.tokens_BU.tolist(), strict=True):
        wanted = [token for token in tokens_U if token >= 0]
        yield len(wanted) - Levenshtein.distance(wanted, ctc_collapse(best_T[:n])), len(wanted)
