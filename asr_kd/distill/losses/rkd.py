"""RKD loss (relation-based): distances between pairs, and angles in triples, of frames or utterances.

Source: Park et al., "Relational knowledge distillation" (arXiv 1904.05068), equations 4 to 8: Euclidean distances over
their mean, cosines of the angles; Huber's loss between the student's and the teacher's.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize, smooth_l1_loss

from asr_kd.distill.losses.distillation_loss import DistillationLoss, ModelDims, layer_pairs
from asr_kd.distill.losses.inputs import KDInputs
from asr_kd.train.loss_sum import LossSum


@dataclass(frozen=True)
class RKDConfig:
    """What is compared."""

    layers: dict[str, str] = field(default_factory=dict)
    """Student's layer: teacher's layer. Without any, the last of both."""
    level: Literal["frames", "utterances"] = "frames"
    """`frames`: frames of a batch, up to `max_items`; `utterances`: the means over each one's frames."""
    distance_weight: float = 1.0
    """Weight of distances."""
    angle_weight: float = 2.0
    """Weight of angles, whose cost is `max_items` cubed."""
    max_items: int = 64
    """Frames (or utterances) of a batch that are compared, evenly spaced."""

    def __post_init__(self) -> None:
        if min(self.distance_weight, self.angle_weight) < 0 or self.distance_weight + self.angle_weight == 0:
            raise ValueError("rkd: distance_weight and angle_weight must not be negative, and not both 0")
        if self.max_items < 3:
            raise ValueError(f"rkd.max_items is {self.max_items}; at least 3 are needed for an angle")


class RKDLoss(DistillationLoss):
    """Huber's loss of relative distances and of cosines, weighted, mean over layers."""

    Config = RKDConfig

    def __init__(self, config: RKDConfig, dims: ModelDims) -> None:
        super().__init__(config, dims)
        self.pairs = layer_pairs(config.layers, dims, "rkd")

    def forward(self, inputs: KDInputs) -> LossSum | None:
        """Dimensionless, counted by batches; None when there are fewer than 3 to compare."""
        if inputs.teacher is None:
            return None
        losses = []
        for pair in self.pairs:
            ours_NH, theirs_NH = inputs.sample_pairs(pair, self.config.level, self.config.max_items)
            if len(ours_NH) < 3:
                return None
            loss = ours_NH.new_zeros(())
            if self.config.distance_weight:
                loss = loss + self.config.distance_weight * smooth_l1_loss(distances(ours_NH), distances(theirs_NH))
            if self.config.angle_weight:
                loss = loss + self.config.angle_weight * smooth_l1_loss(cosines(ours_NH), cosines(theirs_NH))
            losses.append(loss)
        return LossSum.of(torch.stack(losses).mean())


def distances(x_NH: Tensor) -> Tensor:
    """Euclidean distances of all pairs, (N, N), over the mean of those between different rows."""
    square_NN = (x_NH[:, None] - x_NH[None]).square().sum(-1)
    # The root has no slope at 0: rows that are equal have a distance of 0 and no say in the gradient.
    apart_NN = torch.where(square_NN > 0, square_NN, 1).sqrt() * (square_NN > 0)
    pairs = len(x_NH) * (len(x_NH) - 1)  # the diagonal is 0
    return apart_NN / (apart_NN.sum() / pairs).clamp(min=1e-6)


def cosines(x_NH: Tensor) -> Tensor:
    """Cosine of the angle at j between i and k for all triples, (N, N, N) as [j, i, k]."""
    towards_NNH = normalize(x_NH[None] - x_NH[:, None], dim=-1)
    return towards_NNH @ towards_NNH.transpose(1, 2)
