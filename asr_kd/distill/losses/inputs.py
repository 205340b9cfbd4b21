"""Inputs of a distillation loss: a batch, the student's output on it, and the teacher's."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from asr_kd.data.loader import Batch
from asr_kd.models.acoustic import ModelOutput


@dataclass(frozen=True)
class KDInputs:
    """One batch of a run."""

    batch: Batch
    student: ModelOutput
    teacher: ModelOutput | None
    """Without gradient. None without an online teacher: then there are only the targets of the batch."""

    @cached_property
    def mask_BT(self) -> Tensor:
        """True within each utterance."""
        return self.batch.mask_BT

    def student_frames(self, layer: str) -> Tensor:
        """A student's layer in all frames of the batch, (N, width), float32."""
        return self._frames(self.student, layer)

    def teacher_frames(self, layer: str) -> Tensor:
        """The teacher's, (N, width), float32."""
        assert self.teacher is not None
        return self._frames(self.teacher, layer)

    def _frames(self, output: ModelOutput, layer: str) -> Tensor:
        return output.hidden_states[layer].flatten(0, 1)[self.batch.frame_rows_N].float()

    def sample_pairs(self, pair: tuple[str, str], level: str, max_items: int) -> tuple[Tensor, Tensor]:
        """Student's and teacher's layer at the same frames, or means over utterances: (N, H), N at most `max_items`.

        level: `frames` or `utterances`.  Where there are more, evenly spaced ones.
        """
        assert self.teacher is not None
        student, teacher = pair
        if level == "utterances":
            both = (
                self.mean_pool(self.student.hidden_states[student]),
                self.mean_pool(self.teacher.hidden_states[teacher]),
            )
        else:
            both = self.student_frames(student), self.teacher_frames(teacher)
        count = len(both[0])
        if count <= max_items:
            return both
        rows_N = torch.linspace(0, count - 1, max_items, device=both[0].device).long()
        return both[0][rows_N], both[1][rows_N]

    def mean_pool(self, layer_BTH: Tensor) -> Tensor:
        """Mean of each utterance's frames, (B, H), float32."""
        mask_BT1 = self.mask_BT[..., None]
        total_BH = torch.where(mask_BT1, layer_BTH.float(), 0).sum(1)
        return total_BH / self.batch.frames_B[:, None].clamp(min=1)
