"""The loss of tokens whose times are not known: connectionist temporal classification.

Source: Graves et al., "Connectionist temporal classification" (2006).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from asr_kd.train.loss_sum import LossSum


def ctc_losses(logits_BTC: Tensor, frames_B: Tensor, tokens_BU: Tensor) -> Tensor:
    """-ln of the summed probability of all paths that say an utterance's tokens, (B,), nats.

    logits_BTC: any float type, computed on in float32 (float64 stays).  frames_B: frames of each utterance; what lies
    behind them does not count.  tokens_BU: classes, -1 behind an utterance's last; the blank is class 0.
    Infinite where the frames are too few for the tokens: leave such utterances out, as `min_frames` of TokenTargets
    tells. Infinities are not turned into zeros, which would hide logits that are not finite.
    On CUDA, PyTorch adds up its gradient in no fixed order: there, a run that goes on is not bit for bit the same. It
    also copies the lengths to the host, the one thing in a training step that waits for a GPU.
    """
    precision = torch.promote_types(logits_BTC.dtype, torch.float32)
    log_p_TBC = logits_BTC.to(precision).log_softmax(-1).transpose(0, 1)
    lengths_B = (tokens_BU >= 0).sum(1)
    return F.ctc_loss(log_p_TBC, tokens_BU.clamp(min=0), frames_B, lengths_B, reduction="none")


def ctc_loss(logits_BTC: Tensor, frames_B: Tensor, tokens_BU: Tensor) -> LossSum:
    """`ctc_losses` over the batch's frames: nats per frame, comparable to the loss of frame targets."""
    return LossSum(ctc_losses(logits_BTC, frames_B, tokens_BU).sum(), frames_B.sum())
