"""Feature-based knowledge: the student's hidden layers, projected, resemble the teacher's.

Sources: Romero et al., "FitNets" (arXiv 1412.6550), for projected layers; DistilBERT (arXiv 1910.01108), for cosines.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from asr_kd.distill.losses.distillation_loss import DistillationLoss, ModelDims, layer_pairs
from asr_kd.distill.losses.inputs import KDInputs


@dataclass(frozen=True)
class FeatureLossConfig:
    """Which layers are compared, and how."""

    layers: dict[str, str] = field(default_factory=dict)
    """Student's layer: teacher's layer. Without any, the last of both."""
    distance: Literal["cosine", "l2"] = "cosine"
    """`cosine`: 1 - cosine; `l2`: squared distance of a frame, as a share of the teacher's mean squared length."""
    project: bool = True
    """Put a learnt linear layer behind the student's; without it, widths must be equal."""


class FeatureLoss(DistillationLoss):
    """Mean over layers and frames of how far the student's hidden values are from the teacher's."""

    Config = FeatureLossConfig

    def __init__(self, config: FeatureLossConfig, sides: ModelDims) -> None:
        super().__init__(config, sides)
        self.pairs = layer_pairs(config.layers, sides, "hidden")
        assert sides.teacher is not None
        self.projections = nn.ModuleList()
        for student, teacher in self.pairs:
            ours, theirs = sides.student[student], sides.teacher[teacher]
            if not config.project and ours != theirs:
                raise ValueError(
                    f"hidden: the student's {student} is {ours} wide, the teacher's {teacher} {theirs}. "
                    "Set project to true, or compare layers of one width."
                )
            self.projections.append(nn.Linear(ours, theirs) if config.project else nn.Identity())

    def forward(self, lesson: KDInputs) -> Tensor | None:
        """Without unit: 0 when they agree."""
        if lesson.teacher is None:
            return None
        losses = []
        for (student, teacher), projection in zip(self.pairs, self.projections, strict=True):
            ours_NH = projection(lesson.student_frames(student))
            theirs_NH = lesson.teacher_frames(teacher)
            if self.config.measure == "cosine":
                losses.append((1 - torch.cosine_similarity(ours_NH, theirs_NH, dim=-1)).mean())
            else:
                length = theirs_NH.square().sum(-1).mean().clamp(min=1e-6)
                losses.append((ours_NH - theirs_NH).square().sum(-1).mean() / length)
        return torch.stack(losses).mean()
