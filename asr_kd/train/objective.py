"""The interface of what a run minimises."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from asr_kd.data.loader import Batch
from asr_kd.frontend.fbank import FrontEndConfig
from asr_kd.models.acoustic import AcousticModel
from asr_kd.train.ctc import ctc_loss
from asr_kd.train.loss_sum import LossSum
from asr_kd.train.losses import LossConfig, frame_losses


class Objective(nn.Module, ABC):
    """Named terms whose sum is minimised, and what they need besides the model.

    Parameters of the objective are trained with the model's and saved in the run's state, not in the model. What is
    rebuilt from its own file, such as a fixed teacher, is kept out of the modules.
    """

    teacher_frontend: FrontEndConfig | None = None
    """Batches also bring the features of this front end, unmasked, for an online teacher."""

    @abstractmethod
    def losses(self, model: AcousticModel, batch: Batch) -> dict[str, LossSum]:
        """Weighted terms of a batch by name: nats per frame, or without unit. Not empty. Nothing is read from a GPU."""

    def after_step(self, model: AcousticModel) -> None:
        """Called when the weights have been updated."""

    def after_sub_epoch(self, model: AcousticModel) -> None:
        """Called when a sub-epoch has ended and was tested; `model` has the weights that training goes on with."""

    def save_with(self, out: Path) -> None:
        """Called when the model has been kept in `out` as the best so far: keep what belongs to it."""

    def resume_signature(self) -> dict[str, Any]:
        """JSON values that must be the same for a run to go on."""
        return {}


def batch_loss(logits_BTC: Tensor, batch: Batch) -> LossSum:
    """The loss of the targets that a batch carries, nats per frame: of its frames where it has them, else CTC; 0 where
    it has neither."""
    frames, tokens_BU = batch.targets.frames, batch.targets.tokens_BU
    if frames is not None:
        return LossSum.over(frame_losses(logits_BTC, *frames, LossConfig()), batch.mask_BT)
    if tokens_BU is not None:
        return ctc_loss(logits_BTC, batch.frames_B, tokens_BU)
    return LossSum(0.0 * logits_BTC.float().sum(), batch.frames_B.sum())


class FrameObjective(Objective):
    """The targets that batches carry, of frames (hard or soft) or tokens: one term."""

    def losses(self, model: AcousticModel, batch: Batch) -> dict[str, LossSum]:
        """`batch_loss` of the batch under the name of its stream."""
        return {batch.stream: batch_loss(model(batch.x_BTF, batch.frames_B), batch)}
