"""FSP loss (relation-based): how one layer flows into another.

Source: Yim et al., "A gift from knowledge distillation: fast optimization, network minimization and transfer learning"
(CVPR 2017): the FSP matrix of two layers, their products averaged over positions (here an utterance's frames), and the
mean squared difference between the student's and the teacher's.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from asr_kd.distill.losses.distillation_loss import DistillationLoss, ModelDims, layer_pairs
from asr_kd.distill.losses.inputs import KDInputs
from asr_kd.train.loss_sum import LossSum, average


@dataclass(frozen=True)
class FSPConfig:
    """From which layer to which."""

    layers: dict[str, str] = field(default_factory=dict)
    """Student's layer: teacher's layer. The flow is measured from each to the next. Without any, first and last."""
    width: int = 64
    """All layers are projected to so many values first, learnt for the student and fixed at random for the teacher, so
    that widths do not matter and matrices stay small (the paper's layers have equal widths)."""

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"fsp.width is {self.width}; it must be 1 or more")
        if len(self.layers) == 1:
            raise ValueError("fsp.layers names one pair of layers; a flow needs two or more")


class FSPLoss(DistillationLoss):
    """Squared difference of FSP matrices as a share of the teacher's, mean over utterances and flows."""

    Config = FSPConfig

    def __init__(self, config: FSPConfig, dims: ModelDims) -> None:
        super().__init__(config, dims)
        given = dict(config.layers)
        if not given and dims.teacher is not None:
            ours, theirs = list(dims.student), list(dims.teacher)
            if min(len(ours), len(theirs)) < 2:
                raise ValueError(f"fsp: student and teacher have {len(ours)} and {len(theirs)} layers; 2 are needed")
            given = {ours[0]: theirs[0], ours[-1]: theirs[-1]}
        self.pairs = layer_pairs(given, dims, "fsp")
        assert dims.teacher is not None
        self.learnt = nn.ModuleList()
        for number, (student, teacher) in enumerate(self.pairs):
            size_in, size = dims.student[student], dims.teacher[teacher]
            self.learnt.append(nn.Linear(size_in, config.width, bias=False))
            draw = torch.Generator().manual_seed(number)  # part of the definition, like the width
            self.register_buffer(f"fixed{number}", torch.randn(size, config.width, generator=draw) / size**0.5)

    def forward(self, inputs: KDInputs) -> LossSum | None:
        """Dimensionless; 0 when both agree."""
        if inputs.teacher is None:
            return None
        ours, theirs = [], []
        mask_BT1 = inputs.mask_BT[..., None]
        for number, (student, teacher) in enumerate(self.pairs):
            ours.append(self.learnt[number](inputs.student.hidden_states[student].float()) * mask_BT1)
            fixed_HW = getattr(self, f"fixed{number}")
            theirs.append(torch.where(mask_BT1, inputs.teacher.hidden_states[teacher].float(), 0) @ fixed_HW)
        frames_B11 = inputs.batch.frames_B[:, None, None].clamp(min=1)
        losses = []
        for n in range(len(self.pairs) - 1):
            ours_BWW, theirs_BWW = fsp(ours[n], ours[n + 1], frames_B11), fsp(theirs[n], theirs[n + 1], frames_B11)
            size_B = theirs_BWW.square().sum((1, 2)).clamp(min=1e-6)
            losses.append(LossSum.of((ours_BWW - theirs_BWW).square().sum((1, 2)) / size_B))
        return average(losses)


def fsp(a_BTW: Tensor, b_BTW: Tensor, frames_B11: Tensor) -> Tensor:
    """The FSP matrix of each utterance, (B, W, W); zeros behind its end."""
    return a_BTW.transpose(1, 2) @ b_BTW / frames_B11
