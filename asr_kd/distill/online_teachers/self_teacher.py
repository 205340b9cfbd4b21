"""Self-distillation over time: what all teachers have in common that are the student's own past."""

from abc import abstractmethod

import torch
from torch import Tensor

from asr_kd.data.loader import Batch, TrainingSet
from asr_kd.distill.online_teachers.online_teacher import OnlineTeacher
from asr_kd.models.acoustic import AcousticModel, ModelOutput
from asr_kd.train.config import TrainConfig


class SelfTeacher(OnlineTeacher):
    """A model made of the student's earlier weights, saved with the run; never trained itself."""

    sub_epochs: Tensor

    def __init__(self, student: AcousticModel, silent: int) -> None:
        """silent: sub-epochs before it has something to say."""
        super().__init__()
        self.frontend, self.hidden_dims, self._silent = student.frontend, student.layer_widths, silent
        self.register_buffer("sub_epochs", torch.zeros((), dtype=torch.int64))

    @property
    @abstractmethod
    def model(self) -> AcousticModel:
        """Who answers; in evaluation mode."""

    @torch.no_grad()
    def outputs(self, batch: Batch) -> ModelOutput | None:
        """Of what the student hears, without masks."""
        assert batch.teacher_features_BTF is not None
        if int(self.sub_epochs) < self._silent:
            return None
        return self.model.trace(batch.teacher_features_BTF, batch.frames_B)

    def on_train_start(self, student: AcousticModel, labelled: TrainingSet, config: TrainConfig) -> None:
        """The student's first weights, which may be those of a trained model, are where its past begins."""
        self.model.load_state_dict(student.state_dict())

    def after_sub_epoch(self, model: AcousticModel) -> None:
        """One more is done."""
        self.sub_epochs.add_(1)

