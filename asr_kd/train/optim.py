"""Optimiser, learning rate and the running average of the weights."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.swa_utils import AveragedModel

from asr_kd.train.config import OptimConfig

Tensors = tuple[Tensor, ...] | list[Tensor]


def adamw(parameters: Sequence[nn.Parameter], config: OptimConfig) -> AdamW:
    """AdamW that decays matrices but not biases."""
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return AdamW(groups, lr=config.lr, betas=config.betas, eps=config.eps, fused=True)


def learning_rate(config: OptimConfig, progress: float, factor: float = 1.0) -> float:
    """The rate when a share `progress` in [0, 1] of the run's audio is done; `factor`: what newbob has come down to."""
    if progress < config.warmup_fraction:
        return config.lr * factor * progress / config.warmup_fraction
    done = min((progress - config.warmup_fraction) / (1 - config.warmup_fraction), 1.0)
    shape = {"linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2, "newbob": 1.0}[config.decay]
    return config.lr * factor * (config.min_lr_ratio + (1 - config.min_lr_ratio) * shape)


def ema_model(model: nn.Module, decay: float) -> AveragedModel:
    """A float32 exponential average of the weights. Early on it spans a tenth of the steps done, not all of `decay`."""

    def average(averages: Tensors, current: Tensors, count: Tensor | int) -> None:
        keep = min(decay, (1 + int(count)) / (10 + int(count)))
        torch._foreach_lerp_(averages, current, 1 - keep)

    return AveragedModel(model, multi_avg_fn=average)
