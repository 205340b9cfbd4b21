"""KD loss (response-based): the teacher's posteriors, stored in sidecars or computed on each batch.

Source: Hinton et al., "Distilling the knowledge in a neural network" (arXiv 1503.02531).
CTC models emit the same token at different times, and mostly blank. `frame_matching` says which frames are compared:

- aligned: each with the teacher's at the same time;
- non_blank: only those where the teacher's blank, or the student's, is less likely than `max_blank_prob`. Tian et al.,
  "Knowledge distillation for CTC based speech recognition" (arXiv 2211.14644), select frames by the teacher's blank
  alone;
- shifted: each with the teacher's some frames before it, since a student with less look-ahead spikes later (Kurata and
  Audhkhasi, "Guiding CTC posterior spike timings", arXiv 1904.08311, guide the spikes instead). All frames of an
  utterance have one shift, up to `max_shift_frames`, the one that fits best. If each frame had its own shift, a student
  that never spikes would find a blank beside every spike and learn nothing.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from asr_kd.distill.losses.distillation_loss import DistillationLoss, ModelDims
from asr_kd.distill.losses.inputs import KDInputs
from asr_kd.targets.batch_targets import PaddedFrames
from asr_kd.train.loss_sum import LossSum
from asr_kd.train.losses import LossConfig, frame_losses

BLANK_CLASS = 0


@dataclass(frozen=True)
class KDConfig:
    """How posteriors are learned."""

    source: Literal["auto", "stored", "online"] = "auto"
    """Source of the posteriors: stored for the unlabelled audio, or of the online teacher on all audio; `auto` takes
    the stored ones where there are any."""
    temperature: float = LossConfig.temperature
    """As in `train.losses.LossConfig`."""
    residual: Literal["keep", "renormalise"] = LossConfig.residual
    """As in `train.losses.LossConfig`."""
    frame_matching: Literal["aligned", "non_blank", "shifted"] = "aligned"
    """Which frames are compared, see above; all but `aligned` are for CTC."""
    max_blank_prob: float = 0.95
    """`non_blank`: frames count where the blank is less likely than this."""
    max_shift_frames: int = 3
    """`shifted`: the student may be up to so many frames later."""

    def __post_init__(self) -> None:
        LossConfig(self.temperature, self.residual)
        if not 0 < self.max_blank_prob <= 1:
            raise ValueError(f"kd.max_blank_prob is {self.max_blank_prob}; it must lie in (0, 1]")
        if self.max_shift_frames < 1:
            raise ValueError(f"kd.max_shift_frames is {self.max_shift_frames}; it must be 1 or more")


class KDLoss(DistillationLoss):
    """KL from the teacher's posteriors to the student's, mean over the compared frames, in nats."""

    Config = KDConfig

    def __init__(self, config: KDConfig, dims: ModelDims) -> None:
        super().__init__(config, dims)
        self.is_online = self.needs_online_teacher(config, dims.stored)
        if self.is_online and dims.teacher is None:
            raise ValueError(
                "kd: there is no online teacher and there are no stored targets. Give --targets, or another --mode."
            )
        if not self.is_online and not dims.stored:
            raise ValueError("kd.source is stored, but there are no stored targets. Give --targets DIR.")
        self.loss = LossConfig(config.temperature, config.residual)

    @classmethod
    def needs_online_teacher(cls, config: KDConfig, stored: bool) -> bool:
        """Unless stored posteriors are the target."""
        return config.source == "online" or (config.source == "auto" and not stored)

    def forward(self, inputs: KDInputs) -> LossSum | None:
        """From the targets of the batch where a teacher stored them, else from the online teacher."""
        if self.is_online:
            if inputs.teacher is None:
                return None
            targets = dense(inputs.teacher.logits_BTC)
        elif inputs.batch.is_supervised or inputs.batch.targets.frames is None:
            return None
        else:
            targets = inputs.batch.targets.frames
        losses_BT = self._losses(inputs, targets)
        counts_BT = inputs.mask_BT
        if self.config.frame_matching == "non_blank":
            counts_BT = counts_BT & self._is_non_blank(inputs.student.logits_BTC, targets)
        return LossSum.over(losses_BT, counts_BT)

    def _losses(self, inputs: KDInputs, targets: PaddedFrames) -> Tensor:
        logits_BTC = inputs.student.logits_BTC
        losses_BT = frame_losses(logits_BTC, *targets, self.loss)
        if self.config.frame_matching != "shifted":
            return losses_BT
        by_delay = [losses_BT]
        for delay in range(1, min(self.config.max_shift_frames, logits_BTC.shape[1] - 1) + 1):
            late_BT = frame_losses(logits_BTC[:, delay:], *targets.first(logits_BTC.shape[1] - delay), self.loss)
            by_delay.append(torch.cat([losses_BT[:, :delay], late_BT], 1))  # the first frames have nothing before them
        losses_DBT = torch.stack(by_delay)
        best_B = torch.where(inputs.mask_BT, losses_DBT, 0).sum(-1).argmin(0)
        return losses_DBT[best_B, torch.arange(len(best_B), device=best_B.device)]

    def _is_non_blank(self, logits_BTC: Tensor, targets: PaddedFrames) -> Tensor:
        blank_BT = torch.where(targets.ids_BTK == BLANK_CLASS, targets.log_p_BTK.exp(), 0).sum(-1)
        own_BT = logits_BTC.detach().float().softmax(-1)[..., BLANK_CLASS]
        return (blank_BT < self.config.max_blank_prob) | (own_BT < self.config.max_blank_prob)


def dense(logits_BTC: Tensor) -> PaddedFrames:
    """All classes of a teacher in the form of stored targets; unsorted, without a residual."""
    log_p_BTC = logits_BTC.detach().float().log_softmax(-1)
    ids_C = torch.arange(log_p_BTC.shape[-1], device=log_p_BTC.device)
    return PaddedFrames(ids_C.expand_as(log_p_BTC), log_p_BTC, None)
