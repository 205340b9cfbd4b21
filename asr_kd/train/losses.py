"""The frame loss: KL from targets that name a few classes of each frame; a single class with p = 1 is cross-entropy."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


@dataclass(frozen=True)
class LossConfig:
    """Options of the frame loss."""

    temperature: float = 1.0
    """Softens teacher and student alike (Hinton): softmax(z / T), the loss times T^2. Hard targets stay as they are."""
    residual: Literal["keep", "renormalise"] = "keep"
    """The teacher's probability that was not stored: `keep` matches it as one class, `renormalise` drops it (arXiv
    1904.01624)."""

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"loss.temperature is {self.temperature}; it must be above 0")


def sparse_kl(log_q_BTC: Tensor, ids_BTK: Tensor, log_p_BTK: Tensor, log_tail_BT: Tensor | None) -> Tensor:
    """KL from stored top-k teacher posteriors to the student, the residual kept as one class.

    log_q_BTC: student log-posteriors, natural log.  ids_BTK: class ids, -1 where fewer than K were kept (filled slots
    come first).  log_p_BTK, log_tail_BT: log-probabilities of the kept classes and of all others together; no tail is
    faster than one of -inf.
    Returns the KL of each frame in nats, shape (B, T); a frame whose slots are all empty is padding and gives 0.
    A tail that no class is left to hold (all C are kept) is ignored.
    Source: DESIGN.md section 4.  `renormalise()` on the inputs gives the form of arXiv 1904.01624.
    """
    return _SparseKL.apply(log_q_BTC, ids_BTK.long(), log_p_BTK, log_tail_BT)  # type: ignore[no-untyped-call]


class _SparseKL(torch.autograd.Function):
    """sum_k p_k (log p_k - log q_k) + m (log m - log r), where r is the mass the student gives to the classes not kept.

    r is summed over those classes: 1 - sum_k q_k would lose all its digits once the student is sure. Written out by
    hand because autograd would hold five (B, T, C) tensors where one suffices. Its gradient is -p_k for a kept class
    and -m q_c / r for any other, each at most 1 in size.
    """

    @staticmethod
    def forward(ctx: Any, log_q_BTC: Tensor, ids_BTK: Tensor, log_p_BTK: Tensor, log_tail_BT: Tensor | None) -> Tensor:
        empty_BTK = ids_BTK < 0
        # An empty slot points where the first one does and repeats its value: every write below is then well defined.
        ids_BTK = torch.where(empty_BTK, ids_BTK[..., :1], ids_BTK).clamp_(min=0)
        log_p_BTK = log_p_BTK.to(log_q_BTC.dtype).masked_fill(empty_BTK, -torch.inf)
        p_BTK = log_p_BTK.exp()
        terms_BTK = p_BTK * (log_p_BTK - log_q_BTC.gather(-1, ids_BTK))
        kl_BT = torch.where(p_BTK > 0, terms_BTK, 0).sum(-1)
        log_scale_BT = None
        if log_tail_BT is not None:  # a pass over (B, T, C)
            log_tail_BT = log_tail_BT.to(log_q_BTC.dtype)
            log_rest_BT = log_q_BTC.scatter(-1, ids_BTK, -torch.inf).logsumexp(-1)
            log_scale_BT = torch.where(torch.isneginf(log_rest_BT), -torch.inf, log_tail_BT - log_rest_BT)
            tail_BT = log_tail_BT.exp() * log_scale_BT
            kl_BT = kl_BT + torch.where(torch.isneginf(log_scale_BT), 0, tail_BT)
        ctx.save_for_backward(log_q_BTC, ids_BTK, torch.where(empty_BTK, p_BTK[..., :1], p_BTK), log_scale_BT)
        return kl_BT

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (grad_BT,) = gradients
        log_q_BTC, ids_BTK, p_BTK, log_scale_BT = ctx.saved_tensors
        grad_BT1 = grad_BT.unsqueeze(-1)
        if log_scale_BT is None:
            grad_BTC = torch.zeros_like(log_q_BTC)
        else:
            grad_BTC = (log_q_BTC + log_scale_BT.unsqueeze(-1)).exp_().mul_(-grad_BT1)
        return grad_BTC.scatter_(-1, ids_BTK, p_BTK * -grad_BT1), None, None, None


def renormalise(log_p_BTK: Tensor) -> Tensor:
    """The kept classes scaled to sum to 1: there is no tail. Shape and empty slots stay."""
    log_sum_BT1 = log_p_BTK.logsumexp(-1, keepdim=True)
    padding_BT1 = torch.isneginf(log_sum_BT1)
    return log_p_BTK - log_sum_BT1.masked_fill(padding_BT1, 0)


def apply_temperature(
    ids_BTK: Tensor, log_p_BTK: Tensor, log_tail_BT: Tensor | None, temperature: float, classes: int
) -> tuple[Tensor, Tensor | None]:
    """The target at a temperature: every p to the power 1/T, normalised again.

    Nothing is known of the tail but its mass, so it is taken as spread evenly over the `classes` that were not kept.
    Exact when all classes are kept. Returns (log_p_BTK, log_tail_BT).
    """
    log_p_BTK = log_p_BTK / temperature
    log_sum_BT = log_p_BTK.logsumexp(-1)
    if log_tail_BT is not None:
        rest_BT = classes - (ids_BTK >= 0).sum(-1)
        log_rest_BT = rest_BT.to(log_p_BTK.dtype).clamp(min=1).log()
        log_tail_BT = log_tail_BT.masked_fill(rest_BT == 0, -torch.inf)
        log_tail_BT = (log_tail_BT - log_rest_BT) / temperature + log_rest_BT
        log_sum_BT = torch.logaddexp(log_sum_BT, log_tail_BT)
    log_sum_BT = log_sum_BT.masked_fill(torch.isneginf(log_sum_BT), 0)  # padding
    return log_p_BTK - log_sum_BT.unsqueeze(-1), None if log_tail_BT is None else log_tail_BT - log_sum_BT


def frame_losses(
    logits_BTC: Tensor, ids_BTK: Tensor, log_p_BTK: Tensor, log_tail_BT: Tensor | None, config: LossConfig
) -> Tensor:
    """The loss of each frame, shape (B, T), in nats; padded frames (all slots empty) give 0.

    logits_BTC: the student's output of any float type, computed on in float32.  One class without a tail is a hard
    target: no temperature changes it.
    """
    log_p_BTK = log_p_BTK.float().masked_fill(ids_BTK < 0, -torch.inf)
    log_tail_BT = None if log_tail_BT is None else log_tail_BT.float()
    if config.residual == "renormalise":
        log_p_BTK, log_tail_BT = renormalise(log_p_BTK), None
    logits_BTC = logits_BTC.float()
    temperature = config.temperature
    if temperature == 1 or (log_p_BTK.shape[-1] == 1 and log_tail_BT is None):
        return sparse_kl(logits_BTC.log_softmax(-1), ids_BTK, log_p_BTK, log_tail_BT)
    log_p_BTK, log_tail_BT = apply_temperature(ids_BTK, log_p_BTK, log_tail_BT, temperature, logits_BTC.shape[-1])
    log_q_BTC = (logits_BTC / temperature).log_softmax(-1)
    return math.pow(temperature, 2) * sparse_kl(log_q_BTC, ids_BTK, log_p_BTK, log_tail_BT)
