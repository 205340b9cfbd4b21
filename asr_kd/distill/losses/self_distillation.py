"""Self-distillation within one model: its last layer teaches earlier ones, each through a head of its own.

Source: Zhang et al., "Be your own teacher" (arXiv 1905.08094): every head learns the targets, the last layer's
posteriors, and its hidden states. The heads are gone once training is over; the earlier layers stay better.
"""

from dataclasses import dataclass

from torch import nn

from asr_kd.distill.losses.distillation_loss import DistillationLoss, ModelDims, check_layer
from asr_kd.distill.losses.inputs import KDInputs
from asr_kd.distill.losses.kd import dense
from asr_kd.train.loss_sum import LossSum, average
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

    def forward(self, inputs: KDInputs) -> LossSum:
        """The last layer's outputs are targets without gradient."""
        batch, config = inputs.batch, self.config
        targets = dense(inputs.student.logits_BTC)
        deep_NH = inputs.student_frames(self.last).detach()
        length = deep_NH.square().sum(-1).mean().clamp(min=1e-6)
        losses = []
        for name, head, projection in zip(self.names, self.heads, self.projections, strict=True):
            logits_BTC = head(inputs.student.hidden_states[name].float())
            taught_BT = frame_losses(logits_BTC, *targets, LossConfig(config.temperature))
            taught = LossSum.over(taught_BT, inputs.mask_BT)
            loss = (1 - config.label_weight) * taught.sum
            if config.label_weight:
                loss = loss + config.label_weight * batch_loss(logits_BTC, batch).sum
            if config.feature_weight:
                apart_NH = projection(inputs.student_frames(name)) - deep_NH
                loss = loss + config.feature_weight * apart_NH.square().sum() / length
            losses.append(LossSum(loss, taught.count))
        return average(losses)
