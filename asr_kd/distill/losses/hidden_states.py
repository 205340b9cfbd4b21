"""Feature loss (feature-based): the student's hidden states, projected, approach the teacher's.

Sources: Romero et al., "FitNets" (arXiv 1412.6550), for projected layers; DistilBERT (arXiv 1910.01108), for cosines.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import nn

from asr_kd.distill.losses.distillation_loss import DistillationLoss, ModelDims, layer_pairs
from asr_kd.distill.losses.inputs import KDInputs
from asr_kd.train.loss_sum import LossSum, average


@dataclass(frozen=True)
class FeatureLossConfig:
    """Which layers are compared, and how."""

    layers: dict[str, str] = field(default_factory=dict)
    """Student's layer: teacher's layer. Without any, the last of both."""
    distance: Literal["cosine", "l2"] = "cosine"
    """`cosine`: 1 - cosine; `l2`: squared distance of a frame, as a share of the teacher's mean squared length."""
    project: bool = True
    """Put a learnt linear layer behind the student's; without it, sizes must be equal."""


class FeatureLoss(DistillationLoss):
    """Mean over layers and frames of the distance between the student's hidden states and the teacher's."""

    Config = FeatureLossConfig

    def __init__(self, config: FeatureLossConfig, dims: ModelDims) -> None:
        super().__init__(config, dims)
        self.pairs = layer_pairs(config.layers, dims, "hidden_states")
        assert dims.teacher is not None
        self.projections = nn.ModuleList()
        for student, teacher in self.pairs:
            ours, theirs = dims.student[student], dims.teacher[teacher]
            if not config.project and ours != theirs:
                raise ValueError(
                    f"hidden_states: the student's {student} is {ours} wide, the teacher's {teacher} {theirs}. "
                    "Set project to true, or compare layers of one width."
                )
            self.projections.append(nn.Linear(ours, theirs) if config.project else nn.Identity())

    def forward(self, inputs: KDInputs) -> LossSum | None:
        """Dimensionless; 0 when both agree."""
        if inputs.teacher is None:
            return None
        losses = []
        for (student, teacher), projection in zip(self.pairs, self.projections, strict=True):
            ours_NH = projection(inputs.student_frames(student))
            theirs_NH = inputs.teacher_frames(teacher)
            if self.config.distance == "cosine":
                losses.append(LossSum.of(1 - torch.cosine_similarity(ours_NH, theirs_NH, dim=-1)))
            else:
                length = theirs_NH.square().sum(-1).mean().clamp(min=1e-6)
                losses.append(LossSum.of((ours_NH - theirs_NH).square().sum(-1) / length))
        return average(losses)
