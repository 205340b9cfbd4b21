"""The interface of a teacher that is run on each training batch, and how it changes in training."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from asr_kd.data.sampler import TrainingSet
from asr_kd.distill.losses.distillation_loss import HiddenDims
from asr_kd.distill.losses.inputs import KDInputs
from asr_kd.frontend.fbank import FrontEndConfig
from asr_kd.models.acoustic import AcousticModel, ModelOutput
from asr_kd.train.config import TrainConfig
from asr_kd.train.loss_sum import LossSum


class OnlineTeacher(nn.Module, ABC):
    """A teacher that gets the student's batches. Its trainable parameters, if any, are trained with the student's."""

    Config: ClassVar[type]
    """Dataclass of its options."""
    frontend: FrontEndConfig
    hidden_dims: HiddenDims

    @abstractmethod
    def outputs(self, teacher_features_BTF: Tensor, frames_B: Tensor) -> ModelOutput | None:
        """Its output on a batch; None while it does not teach yet. The student's losses get it without gradient.

        teacher_features_BTF: of its own front end, without SpecAugment masks.
        """

    def losses(self, inputs: KDInputs, output: ModelOutput) -> dict[str, LossSum]:
        """Its own losses by name; empty for a teacher that is not trained by gradients.

        output: what `outputs` returned for this batch, with gradient; `inputs.teacher` is the same without.
        """
        return {}

    def on_train_start(self, student: AcousticModel, labelled: TrainingSet, config: TrainConfig) -> None:
        """Called before the first step of a new run, after the student's weights were initialised."""

    def after_step(self, model: AcousticModel) -> None:
        """Called after each update of the student's weights."""

    def after_sub_epoch(self, model: AcousticModel) -> None:
        """Called after each sub-epoch."""

    def save_with(self, out: Path) -> None:
        """Called when the student was saved in `out` as the best so far."""

    def resume_signature(self) -> dict[str, Any]:
        """JSON values that must be the same for a run to go on."""
        return {}
