"""Self-distillation over time: the student as it was some sub-epochs ago teaches what it has become.

Source: Yang et al., "Snapshot distillation: teacher-student optimization in one generation" (arXiv 1812.00123).
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asr_kd.distill.online_teachers.self_teacher import SelfTeacher
from asr_kd.models.acoustic import AcousticModel


@dataclass(frozen=True)
class SnapshotTeacherConfig:
    """How often the teacher is renewed."""

    interval_sub_epochs: int = 4
    """Sub-epochs that a snapshot serves."""
    begin: int | None = None
    """It is silent until so many sub-epochs are done; null: until the first snapshot is taken. With --init, 0 will do:
    what the student begins as teaches first."""

    def __post_init__(self) -> None:
        if self.interval_sub_epochs < 1:
            raise ValueError(f"online_teacher.interval_sub_epochs is {self.interval_sub_epochs}; it must be 1 or more")
        if self.begin is not None and self.begin < 0:
            raise ValueError(f"online_teacher.start_after_sub_epochs is {self.begin}; it must not be negative")


class SnapshotTeacher(SelfTeacher):
    """A copy of the student's weights."""

    Config = SnapshotTeacherConfig

    def __init__(self, config: SnapshotTeacherConfig, student: AcousticModel, paths: Sequence[Path]) -> None:
        super().__init__(student, config.interval_sub_epochs if config.begin is None else config.begin)
        self._every = config.interval_sub_epochs
        self.snapshot = copy.deepcopy(student).eval().requires_grad_(False)

    @property
    def model(self) -> AcousticModel:
        """The copy."""
        return self.snapshot

    def after_sub_epoch(self, model: AcousticModel) -> None:
        """Take a new snapshot when the old one has served."""
        super().after_sub_epoch(model)
        if int(self.sub_epochs) % self._every == 0:
            self.snapshot.load_state_dict(model.state_dict())
