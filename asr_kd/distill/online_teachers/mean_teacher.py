"""Self-distillation over time: the running average of the student's weights teaches the student.

Source: Tarvainen and Valpola, "Mean teachers are better role models" (arXiv 1703.01780).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from asr_kd.distill.online_teachers.self_teacher import SelfTeacher
from asr_kd.models.acoustic import AcousticModel
from asr_kd.train.optim import EmaModel


@dataclass(frozen=True)
class MeanTeacherConfig:
    """How slowly the average follows the student."""

    decay: float = 0.999
    """Share of itself that the average keeps in a step; early on it spans a tenth of the steps done."""
    start_after_sub_epochs: int = 1
    """It teaches after so many sub-epochs. With --init, 0 is enough."""

    def __post_init__(self) -> None:
        if not 0 < self.decay < 1:
            raise ValueError(f"online_teacher.decay is {self.decay}; it must lie in (0, 1)")
        if self.start_after_sub_epochs < 0:
            raise ValueError(
                f"online_teacher.start_after_sub_epochs is {self.start_after_sub_epochs}; it must not be negative"
            )


class MeanTeacher(SelfTeacher):
    """A float32 exponential average."""

    Config = MeanTeacherConfig

    def __init__(self, config: MeanTeacherConfig, student: AcousticModel, paths: Sequence[Path]) -> None:
        super().__init__(student, config.start_after_sub_epochs)
        self.average = EmaModel(student, config.decay).eval().requires_grad_(False)

    @property
    def model(self) -> AcousticModel:
        """The average."""
        return cast(AcousticModel, self.average.module)

    def after_step(self, model: AcousticModel) -> None:
        """Follow the student."""
        self.average.follow(model)
