"""The interface of a teacher that listens: who it is in a mode of distillation, and how it changes."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from asr_kd.data.loader import Batch, TrainingSet
from asr_kd.distill.losses.distillation_loss import HiddenDims
from asr_kd.distill.losses.inputs import KDInputs
from asr_kd.frontend.fbank import FrontEndConfig
from asr_kd.models.acoustic import AcousticModel, ModelOutput
from asr_kd.train.config import TrainConfig


class OnlineTeacher(nn.Module, ABC):
    """Listens to what the student hears. Its own parameters, if any, are trained with the student's."""

    Config: ClassVar[type]
    """Dataclass of its options."""
    frontend: FrontEndConfig
    hidden_dims: HiddenDims

    @abstractmethod
    def outputs(self, batch: Batch) -> ModelOutput | None:
        """What it makes of `batch.teacher_x_BTF`, without gradient; None when it has nothing to say yet."""

    def losses(self, lesson: KDInputs) -> dict[str, Tensor]:
        """What it minimises itself, by name; empty for those that do not learn by gradients."""
        return {}

    def on_train_start(self, student: AcousticModel, labelled: TrainingSet, config: TrainConfig) -> None:
        """Called before the first step of a new run, when the student has its first weights."""

    def after_step(self, model: AcousticModel) -> None:
        """Called when the student's weights have been updated."""

    def after_sub_epoch(self, model: AcousticModel) -> None:
        """Called when a sub-epoch of the student has ended."""

    def save_with(self, out: Path) -> None:
        """Called when the student has been kept in `out` as the best so far."""

    def resume_signature(self) -> dict[str, Any]:
        """JSON values that must be the same for a run to go on."""
        return {}

