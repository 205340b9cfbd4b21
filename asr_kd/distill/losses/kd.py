"""Response-based knowledge: the teacher's posteriors, stored in sidecars or made while it listens.

Source: Hinton et al., "Distilling the knowledge in a neural network" (arXiv 1503.02531).
CTC models say the same thing at different times, and mostly nothing (blank). Which frames are compared, `match`:

- frames: each with the teacher's at the same time;
- selected: only those where the teacher's blank is less likely than `blank_most`, or the student's is, so that neither
  learns silence only (Tian et al., "Knowledge distillation for CTC based speech recognition", arXiv 2211.14644, select
  frames by the teacher's blank; both sides here);
- delayed: each with the teacher's some frames before it, since a student that hears less of what follows spikes later
  (Kurata and Audhkhasi, "Guiding CTC posterior spike timings", arXiv 1904.08311, guide the spikes instead). All frames
  of an utterance have one delay, up to `delays`, the one that fits best: if each chose its own, a student that never
  spikes would find a blank beside every spike and learn nothing.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from asr_kd.distill.losses.distillation_loss import DistillationLoss, ModelDims
from asr_kd.distill.losses.inputs import KDInputs
from asr_kd.train.losses import LossConfig, frame_losses

BLANK_CLASS = 0


@dataclass(frozen=True)
class KDConfig:
    """How posteriors are learned."""

    source: Literal["auto", "stored", "companion"] = "auto"
    """Whose posteriors: those stored for the unlabelled audio, or those of who listens, on all audio; `auto` takes the
    stored ones where there are any."""
    temperature: float = LossConfig.temperature
    """As in `train.losses.LossConfig`."""
    residual: Literal["residual", "renormalise"] = LossConfig.tail
    """As in `train.losses.LossConfig`."""
    frame_matching: Literal["frames", "selected", "delayed"] = "frames"
    """Which frames are compared, see above; all but `frames` are for CTC."""
    max_blank_prob: float = 0.95
    """`selected`: frames count where the blank is less likely than this."""
    max_shift_frames: int = 3
    """`delayed`: the student may say it up to so many frames later."""

    def __post_init__(self) -> None:
        LossConfig(self.temperature, self.residual)
        if not 0 < self.max_blank_prob <= 1:
            raise ValueError(f"response.max_blank_prob is {self.max_blank_prob}; it must lie in (0, 1]")
        if self.max_shift_frames < 1:
            raise ValueError(f"response.max_shift_frames is {self.max_shift_frames}; it must be 1 or more")


class KDLoss(DistillationLoss):
    """KL from the teacher's posteriors to the student's, mean over the frames that count, in nats."""

    Config = KDConfig

    def __init__(self, config: KDConfig, sides: ModelDims) -> None:
        super().__init__(config, sides)
        self.live = self.needs_online_teacher(config, sides.stored)
        if self.live and sides.teacher is None:
            raise ValueError("response: nobody listens, and there are no stored targets. Give --targets, or a mode.")
        if not self.live and not sides.stored:
            raise ValueError("response.source is stored, but there are no stored targets. Give --targets DIR.")
        self.loss = LossConfig(config.temperature, config.residual)

    @classmethod
    def needs_online_teacher(cls, config: KDConfig, stored: bool) -> bool:
        """Unless stored posteriors are what is learned."""
        return config.source == "companion" or (config.source == "auto" and not stored)

    def forward(self, lesson: KDInputs) -> Tensor | None:
        """From the batch's own targets where a teacher stored them, else from who listens."""
        if self.live:
            if lesson.teacher is None:
                return None
            targets = _dense(lesson.teacher.logits_BTC)
        elif lesson.batch.is_supervised:
            return None
        else:
            targets = (lesson.batch.ids_BTK, lesson.batch.log_p_BTK, lesson.batch.log_tail_BT)
        losses_BT = self._losses(lesson, targets)
        counts_BT = lesson.mask_BT
        if self.config.match == "selected":
            counts_BT = counts_BT & self._speaks(lesson.student.logits_BTC, targets)
        return torch.where(counts_BT, losses_BT, 0).sum() / counts_BT.sum().clamp(min=1)

    def _losses(self, lesson: KDInputs, targets: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        logits_BTC = lesson.student.logits_BTC
        losses_BT = frame_losses(logits_BTC, *targets, self.loss)
        if self.config.match != "delayed":
            return losses_BT
        by_delay = [losses_BT]
        for delay in range(1, min(self.config.delays, logits_BTC.shape[1] - 1) + 1):
            ids_BTK, log_p_BTK, log_tail_BT = (t[:, :-delay] for t in targets)
            late_BT = frame_losses(logits_BTC[:, delay:], ids_BTK, log_p_BTK, log_tail_BT, self.loss)
            by_delay.append(torch.cat([losses_BT[:, :delay], late_BT], 1))  # the first frames have nothing before them
        losses_DBT = torch.stack(by_delay)
        best_B = torch.where(lesson.mask_BT, losses_DBT, 0).sum(-1).argmin(0)
        return losses_DBT[best_B, torch.arange(len(best_B), device=best_B.device)]

    def _speaks(self, logits_BTC: Tensor, targets: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        ids_BTK, log_p_BTK, _ = targets
        blank_BT = torch.where(ids_BTK == BLANK_CLASS, log_p_BTK.exp(), 0).sum(-1)
        own_BT = logits_BTC.detach().float().softmax(-1)[..., BLANK_CLASS]
        return (blank_BT < self.config.blank_most) | (own_BT < self.config.blank_most)


def _dense(logits_BTC: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """All classes of a listening teacher in the form of stored targets: likeliest first is not needed, no tail."""
    log_p_BTC = logits_BTC.detach().float().log_softmax(-1)
    ids_BTC = torch.arange(log_p_BTC.shape[-1], device=log_p_BTC.device).expand_as(log_p_BTC)
    return ids_BTC, log_p_BTC, torch.full_like(log_p_BTC[..., 0], -torch.inf)
