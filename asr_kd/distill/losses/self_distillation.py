"""Self-distillation within one model: its last layer teaches earlier ones, each through a head of its own.

Source: Zhang et al., "Be your own teacher" (arXiv 1905.08094): every head learns the targets, the last layer's
posteriors, and its hidden states. The heads are gone once training is over; the earlier layers stay better.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from asr_kd.distill.losses.distillation_loss import DistillationLoss, ModelDims, check_layer
from asr_kd.distill.losses.inputs import KDInputs
from asr_kd.train.losses import LossConfig, frame_losses
from asr_kd.train.objective import batch_loss


@dataclass(frozen=True)
class SelfDistillationConfig:
    """Which layers get a head, and what it learns."""

    layers: tuple[str, ...] = ()
    """Names of the student's layers; without any, all but the last."""
    label_weight: float = 0.5
    """Weight of the batch's own targets in a head's loss; the rest is the last layer's posteriors."""
    temperature: float = 1.0
    """Of the last layer's posteriors."""
    feature_weight: float = 0.03
    """Weight of the squared distance to the last layer's hidden states, as a share of their squared length."""

    def __post_init__(self) -> None:
        LossConfig(self.temperature)
        if not 0 <= self.label_weight <= 1:
            raise ValueError(f"self_distillation.label_weight is {self.label_weight}; it must lie in [0, 1]")
        if self.feature_weight < 0:
            raise ValueError(f"self_distillation.feature_weight is {self.feature_weight}; it must not be negative")


class SelfDistillationLoss(DistillationLoss):
    """Mean over the heads of their losses, nats per frame. It needs no online teacher."""

    Config = SelfDistillationConfig

    def __init__(self, config: SelfDistillationConfig, dims: ModelDims) -> None:
        super().__init__(config, dims)
        *earlier, self.last = dims.student
        if not earlier:
            raise ValueError(f"self_distillation: the student has one layer, {self.last}; two are needed")
        self.names = config.layers or tuple(earlier)
        self.heads, self.projections = nn.ModuleList(), nn.ModuleList()
        for name in self.names:
            width = check_layer(name, dims.student, "self_distillation", "student")
            if name == self.last:
                raise ValueError(
                    f"self_distillation: {name} is the student's last layer, which teaches. Name earlier ones."
                )
            self.heads.append(nn.Linear(width, dims.classes))
            self.projections.append(nn.Linear(width, dims.student[self.last]))

    @classmethod
    def needs_online_teacher(cls, config: SelfDistillationConfig, stored: bool) -> bool:
        """The student teaches itself."""
        return False

    def forward(self, inputs: KDInputs) -> Tensor:
        """The last layer's outputs are targets without gradient."""
        batch, config = inputs.batch, self.config
        teacher_BTC = inputs.student.logits_BTC.detach().float()
        log_p_BTC = teacher_BTC.log_softmax(-1)
        ids_BTC = torch.arange(log_p_BTC.shape[-1], device=log_p_BTC.device).expand_as(log_p_BTC)
        no_tail_BT = torch.full_like(log_p_BTC[..., 0], -torch.inf)
        deep_NH = inputs.student_frames(self.last).detach()
        length = deep_NH.square().sum(-1).mean().clamp(min=1e-6)
        losses = []
        for name, head, projection in zip(self.names, self.heads, self.projections, strict=True):
            logits_BTC = head(inputs.student.hidden_states[name].float())
            taught_BT = frame_losses(logits_BTC, ids_BTC, log_p_BTC, no_tail_BT, LossConfig(config.temperature))
            loss = (1 - config.label_weight) * taught_BT[inputs.mask_BT].mean()
            if config.label_weight:
                loss = loss + config.label_weight * batch_loss(logits_BTC, batch)
            if config.feature_weight:
                apart_NH = projection(inputs.student_frames(name)) - deep_NH
                loss = loss + config.feature_weight * apart_NH.square().sum(-1).mean() / length
            losses.append(loss)
        return torch.stack(losses).mean()
