"""Self-distillation over time: the student of some sub-epochs ago is the teacher.

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
    """When snapshots are taken."""

    interval_sub_epochs: int = 4
    """Sub-epochs between snapshots."""
    start_after_sub_epochs: int | None = None
    """It teaches after so many sub-epochs; null: after the first snapshot. With --init, 0 is enough: the initial
    weights teach first."""

    def __post_init__(self) -> None:
        if self.interval_sub_epochs < 1:
            raise ValueError(f"online_teacher.interval_sub_epochs is {self.interval_sub_epochs}; it must be 1 or more")
        if self.start_after_sub_epochs is not None and self.start_after_sub_epochs < 0:
            raise ValueError(
                f"online_teacher.start_after_sub_epochs is {self.start_after_sub_epochs}; it must not be negative"
            )


class SnapshotTeacher(SelfTeacher):
    """A copy of the student's weights."""

    Config = SnapshotTeacherConfig

    def __init__(self, config: SnapshotTeacherConfig, student: AcousticModel, paths: Sequence[Path]) -> None:
        super().__init__(
            student,
            config.interval_sub_epochs if config.start_after_sub_epochs is None else config.start_after_sub_epochs,
        )
        self._every = config.interval_sub_epochs
        self.snapshot = copy.deepcopy(student).eval().requires_grad_(False)

    @property
    def model(self) -> AcousticModel:
        """The copy."""
        return self.snapshot

    def after_sub_epoch(self, model: AcousticModel) -> None:
        """Take a new snapshot when it is due."""
        super().after_sub_epoch(model)
        if self.sub_epochs % self._every == 0:
            self.snapshot.load_state_dict(model.state_dict())
