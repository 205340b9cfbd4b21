"""Optimiser, learning rate and the running average of the weights."""

import copy
import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.optim import AdamW

from asr_kd.train.config import OptimConfig


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


class EmaModel(nn.Module):
    """A float32 exponential average of a model's weights; its normalisation and other buffers are the model's.

    Early on it spans a tenth of the steps done, not all of `decay`. Steps are counted on the host: torch's
    AveragedModel counts them on the device, and waits for it.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__()
        self.module, self.decay, self.steps = copy.deepcopy(model), decay, 0

    @torch.no_grad()
    def follow(self, model: nn.Module) -> None:
        """Take in the weights after an update."""
        keep = min(self.decay, (1 + self.steps) / (10 + self.steps)) if self.steps else 0.0
        torch._foreach_lerp_(list(self.module.parameters()), list(model.parameters()), 1 - keep)
        for ours, theirs in zip(self.module.buffers(), model.buffers(), strict=True):
            ours.copy_(theirs)
        self.steps += 1

    def get_extra_state(self) -> int:
        """What the state of a run holds besides weights."""
        return self.steps

    def set_extra_state(self, state: int) -> None:
        """As `get_extra_state` gave it."""
        self.steps = state
