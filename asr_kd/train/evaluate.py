"""Loss and accuracy of a model on held-out data."""

from collections.abc import Iterable
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
    sums_4 = torch.zeros(4, dtype=torch.float64, device=device)
    for batch in held_out:
        if not batch.utterances:
            continue
        batch = batch.to(device)
        with autocast(device, precision):
            logits_BTC = model(batch.x_BTF, batch.frames_B)
        loss = batch_loss(logits_BTC, batch)
        sums_4 += torch.stack([x.double() for x in (loss.sum, loss.count, *_count_correct(logits_BTC, batch))])
    loss_sum, frames, correct, asked = sums_4.tolist()
    if not frames:
        raise ValueError("dev: not one held-out utterance has both audio and targets")
    return DevResult(loss_sum / frames, correct / asked)


def _count_correct(logits_BTC: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Of frames, or of tokens, how many are right (errors taken off) and how many there are, on the device."""
    best_BT = logits_BTC.argmax(-1)
    targets = batch.targets
    if targets.frames is not None:
        return ((best_BT == targets.frames.ids_BTK[..., 0]) & batch.mask_BT).sum(), batch.frames_B.sum()
    assert targets.tokens_BU is not None
    correct, asked = 0, 0
    for best_T, n, tokens_U in zip(best_BT.tolist(), batch.frames_B.tolist(), targets.tokens_BU.tolist(), strict=True):
        wanted = [token for token in tokens_U if token >= 0]
        correct += len(wanted) - Levenshtein.distance(wanted, ctc_collapse(best_T[:n]))
        asked += len(wanted)
    return best_BT.new_tensor(correct), best_BT.new_tensor(asked)
