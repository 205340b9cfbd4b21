"""Self-distillation over time: the base of teachers made of the student's earlier weights."""

from abc import abstractmethod

import torch
from torch import Tensor

from asr_kd.data.sampler import TrainingSet
from asr_kd.distill.online_teachers.online_teacher import OnlineTeacher
from asr_kd.models.acoustic import AcousticModel, ModelOutput
from asr_kd.train.config import TrainConfig


class SelfTeacher(OnlineTeacher):
    """A model made of the student's earlier weights, saved with the run; never trained itself."""

    def __init__(self, student: AcousticModel, start_after: int) -> None:
        """start_after: sub-epochs before it teaches."""
        super().__init__()
        self.frontend, self.hidden_dims, self._start_after = student.frontend, student.hidden_dims, start_after
        self.sub_epochs = 0

    @property
    @abstractmethod
    def model(self) -> AcousticModel:
        """The model that teaches; in evaluation mode."""

    @torch.no_grad()
    def outputs(self, teacher_features_BTF: Tensor, frames_B: Tensor) -> ModelOutput | None:
        """Of the earlier weights, once they teach."""
        if self.sub_epochs < self._start_after:
            return None
        return self.model(teacher_features_BTF, frames_B, return_hidden=True)

    def on_train_start(self, student: AcousticModel, labelled: TrainingSet, config: TrainConfig) -> None:
        """It starts from the student's initial weights."""
        self.model.load_state_dict(student.state_dict())

    def after_sub_epoch(self, model: AcousticModel) -> None:
        """Count it."""
        self.sub_epochs += 1

    def get_extra_state(self) -> int:
        """What the state of a run holds besides weights."""
        return self.sub_epochs

    def set_extra_state(self, state: int) -> None:
        """As `get_extra_state` gave it."""
        self.sub_epochs = state
