"""The interface of what a run minimises."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from asr_kd.data.loader import Batch
from asr_kd.frontend.fbank import FrontEndConfig
from asr_kd.models.acoustic import AcousticModel
from asr_kd.train.ctc import mean_ctc_loss
from asr_kd.train.losses import LossConfig, mean_loss


class Objective(nn.Module, ABC):
    """Named terms whose sum is minimised, and what they need besides the model.

    Parameters of the objective are trained with the model's and saved in the run's state, not in the model. What is
    rebuilt from its own file, such as a fixed teacher, is kept out of the modules.
    """

    teacher_frontend: FrontEndConfig | None = None
    """Batches also bring the features of this front end, unmasked, for an online teacher."""

    @abstractmethod
    def losses(self, model: AcousticModel, batch: Batch) -> dict[str, Tensor]:
        """Weighted terms of a batch by name, each a scalar: nats per frame, or without unit. Not empty."""

    def after_step(self, model: AcousticModel) -> None:
        """Called when the weights have been updated."""

    def after_sub_epoch(self, model: AcousticModel) -> None:
        """Called when a sub-epoch has ended and was tested; `model` has the weights that training goes on with."""

    def save_with(self, out: Path) -> None:
        """Called when the model has been kept in `out` as the best so far: keep what belongs to it."""

    def resume_signature(self) -> dict[str, Any]:
        """JSON values that must be the same for a run to go on."""
        return {}


def batch_loss(logits_BTC: Tensor, batch: Batch) -> Tensor:
    """The loss of the targets that a batch carries, nats per frame: `mean_loss` of frames, CTC of tokens."""
    if batch.tokens_BU is not None:
        return mean_ctc_loss(logits_BTC, batch.frames_B, batch.tokens_BU)
    targets = batch.ids_BTK, batch.log_p_BTK, batch.log_tail_BT
    return mean_loss(logits_BTC, batch.frames_B, *targets, LossConfig())


class FrameObjective(Objective):
    """The targets that batches carry, of frames (hard or soft) or tokens: one term."""

    def losses(self, model: AcousticModel, batch: Batch) -> dict[str, Tensor]:
        """`batch_loss` of the batch under the name of its stream."""
        return {batch.stream: batch_loss(model(batch.x_BTF, batch.frames_B), batch)}
