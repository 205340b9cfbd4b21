"""SPKD loss (relation-based): which frames, or utterances, resemble each other. Sizes may differ: no projection.

Source: Tung and Mori, "Similarity-preserving knowledge distillation" (arXiv 1907.09682): Gram matrices of a batch with
rows of length 1; the mean squared difference of the student's and the teacher's.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from asr_kd.distill.losses.distillation_loss import DistillationLoss, ModelDims, layer_pairs
from asr_kd.distill.losses.inputs import KDInputs
from asr_kd.train.loss_sum import LossSum, average


@dataclass(frozen=True)
class SPKDConfig:
    """What is compared with what."""

    layers: dict[str, str] = field(default_factory=dict)
    """Student's layer: teacher's layer. Without any, the last of both."""
    level: Literal["frames", "utterances"] = "frames"
    """`frames`: all frames of a batch, up to `max_items`; `utterances`: the means over each one's frames."""
    max_items: int = 400
    """Frames (or utterances) of a batch that are compared with each other, evenly spaced."""

    def __post_init__(self) -> None:
        if self.max_items < 2:
            raise ValueError(f"spkd.max_items is {self.max_items}; at least 2 frames are needed")


class SPKDLoss(DistillationLoss):
    """Squared difference of the rows of both Gram matrices, summed over a row, mean over rows and layers."""

    Config = SPKDConfig

    def __init__(self, config: SPKDConfig, dims: ModelDims) -> None:
        super().__init__(config, dims)
        self.pairs = layer_pairs(config.layers, dims, "spkd")

    def forward(self, inputs: KDInputs) -> LossSum | None:
        """Between 0 and 4; None when there is only one utterance to compare."""
        if inputs.teacher is None or (self.config.level == "utterances" and len(inputs.batch.frames_B) < 2):
            return None
        losses = []
        for pair in self.pairs:
            ours_NH, theirs_NH = inputs.sample_pairs(pair, self.config.level, self.config.max_items)
            losses.append(LossSum.of((gram(ours_NH) - gram(theirs_NH)).square().sum(-1)))
        return average(losses)


def gram(x_NH: Tensor) -> Tensor:
    """(N, N) scalar products, each row scaled to length 1."""
    return torch.nn.functional.normalize(x_NH @ x_NH.T, dim=-1)
