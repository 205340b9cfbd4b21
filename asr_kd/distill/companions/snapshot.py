"""Self-distillation over time: the student as it was some sub-epochs ago teaches what it has become.

Source: Yang et al., "Snapshot distillation: teacher-student optimization in one generation" (arXiv 1812.00123).
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from asr_kd.distill.companions.companion import Companion
from asr_kd.models.acoustic import AcousticModel, Trace
from asr_kd.train.data import Batch


@dataclass(frozen=True)
class SnapshotConfig:
    """How often the teacher is renewed."""

    every: int = 4
    """Sub-epochs that a snapshot serves; before the first one nobody teaches."""

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"companion.every is {self.every}; it must be 1 or more")


class Snapshot(Companion):
    """A copy of the student's weights, saved with the run."""

    sub_epochs: Tensor
    Config = SnapshotConfig

    def __init__(self, config: SnapshotConfig, student: AcousticModel, paths: Sequence[Path]) -> None:
        super().__init__()
        self.config = config
        self.frontend, self.classes, self.layer_widths = student.frontend, student.inventory.size, student.layer_widths
        self.snapshot = copy.deepcopy(student).eval().requires_grad_(False)
        self.register_buffer("sub_epochs", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def trace(self, batch: Batch) -> Trace | None:
        """In evaluation mode, of what the student hears without masks."""
        assert batch.teacher_x_BTF is not None
        if int(self.sub_epochs) < self.config.every:
            return None
        return self.snapshot.trace(batch.teacher_x_BTF, batch.frames_B)

    def train(self, mode: bool = True) -> "Snapshot":
        """Stays in evaluation mode."""
        return super().train(False)

    def after_sub_epoch(self, model: AcousticModel) -> None:
        """Take a new snapshot when the old one has served."""
        self.sub_epochs.add_(1)
        if int(self.sub_epochs) % self.config.every == 0:
            self.snapshot.load_state_dict(model.state_dict())
