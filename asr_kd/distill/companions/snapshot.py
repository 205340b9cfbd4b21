"""Self-distillation over time: the student as it was some sub-epochs ago teaches what it has become.

Source: Yang et al., "Snapshot distillation: teacher-student optimization in one generation" (arXiv 1812.00123).
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asr_kd.distill.companions.past import Past
from asr_kd.models.acoustic import AcousticModel


@dataclass(frozen=True)
class SnapshotConfig:
    """How often the teacher is renewed."""

    every: int = 4
    """Sub-epochs that a snapshot serves; before the first one nobody teaches."""

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"companion.every is {self.every}; it must be 1 or more")


class Snapshot(Past):
    """A copy of the student's weights."""

    Config = SnapshotConfig

    def __init__(self, config: SnapshotConfig, student: AcousticModel, paths: Sequence[Path]) -> None:
        super().__init__(student, config.every)
        self._every = config.every
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
