"""Self-distillation over time: the running average of the student's weights teaches the student.

Source: Tarvainen and Valpola, "Mean teachers are better role models" (arXiv 1703.01780).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from asr_kd.distill.companions.companion import Companion
from asr_kd.models.acoustic import AcousticModel, Trace
from asr_kd.train.data import Batch
from asr_kd.train.optim import averaged


@dataclass(frozen=True)
class AverageConfig:
    """How slowly the teacher follows."""

    decay: float = 0.999
    """Share of itself that the average keeps in a step; early on it spans a tenth of the steps done."""
    begin: int = 1
    """It is silent until so many sub-epochs are done: before, it knows no more than the student."""

    def __post_init__(self) -> None:
        if not 0 < self.decay < 1:
            raise ValueError(f"companion.decay is {self.decay}; it must lie in (0, 1)")
        if self.begin < 0:
            raise ValueError(f"companion.begin is {self.begin}; it must not be negative")


class Average(Companion):
    """A float32 exponential average, saved with the run."""

    sub_epochs: Tensor
    Config = AverageConfig

    def __init__(self, config: AverageConfig, student: AcousticModel, paths: Sequence[Path]) -> None:
        super().__init__()
        self.config = config
        self.frontend, self.classes, self.layer_widths = student.frontend, student.inventory.size, student.layer_widths
        self.average = averaged(student, config.decay).eval().requires_grad_(False)
        self.register_buffer("sub_epochs", torch.zeros((), dtype=torch.int64))

    @property
    def _model(self) -> AcousticModel:
        return cast(AcousticModel, self.average.module)

    @torch.no_grad()
    def trace(self, batch: Batch) -> Trace | None:
        """In evaluation mode, of what the student hears without masks."""
        assert batch.teacher_x_BTF is not None
        if int(self.sub_epochs) < self.config.begin:
            return None
        return self._model.trace(batch.teacher_x_BTF, batch.frames_B)

    def train(self, mode: bool = True) -> "Average":
        """Stays in evaluation mode."""
        return super().train(False)

    def after_step(self, model: AcousticModel) -> None:
        """Follow the student; its normalisation is taken as it is."""
        self.average.update_parameters(model)
        for ours, theirs in zip(self._model.buffers(), model.buffers(), strict=True):
            ours.copy_(theirs)

    def after_sub_epoch(self, model: AcousticModel) -> None:
        """One more is done."""
        self.sub_epochs.add_(1)
