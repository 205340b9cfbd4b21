"""What a student minimises: ground truth, and any weighted sum of distillation losses."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from asr_kd.core.config import DataclassInstance, to_dict
from asr_kd.core.renames import renamed_value
from asr_kd.data.loader import Batch
from asr_kd.distill.losses.distillation_loss import DistillationLoss, ModelDims
from asr_kd.distill.losses.inputs import KDInputs
from asr_kd.distill.losses.registry import KD_LOSSES
from asr_kd.distill.losses.spec import LossSpec
from asr_kd.distill.online_teachers.online_teacher import OnlineTeacher
from asr_kd.distill.online_teachers.registry import ONLINE_TEACHERS
from asr_kd.models.acoustic import AcousticModel
from asr_kd.train.loss_sum import LossSum
from asr_kd.train.objective import Objective, batch_loss


class DistillObjective(Objective):
    """Loss of the ground truth where a batch has it, plus each distillation loss times its weight."""

    def __init__(
        self,
        student: AcousticModel,
        losses: Sequence[LossSpec],
        label_weight: float = 1.0,
        online_teacher: OnlineTeacher | None = None,
        stored: bool = True,
    ) -> None:
        """label_weight: of the ground truth's loss.  stored: whether the unlabelled data carry targets.

        ValueError names what does not fit.
        """
        super().__init__()
        self.label_weight = label_weight
        self.online_teacher = online_teacher
        self.teacher_frontend = None if online_teacher is None else online_teacher.frontend
        teacher_dims = None if online_teacher is None else online_teacher.hidden_dims
        dims = ModelDims(student.hidden_dims, teacher_dims, student.inventory.num_classes, stored)
        self.kd_losses = nn.ModuleDict()
        self.weights: dict[str, float] = {}
        self._signature: dict[str, Any] = {"label_weight": label_weight}
        for spec in losses:
            name = spec.kind if spec.kind not in self.kd_losses else f"{spec.kind}{len(self.kd_losses)}"
            self.kd_losses[name] = KD_LOSSES[spec.kind](spec.options, dims)
            self.weights[name] = spec.weight
            self._signature[name] = to_dict(spec.options) | {"weight": spec.weight}

    def losses(self, model: AcousticModel, batch: Batch) -> dict[str, LossSum]:
        """By the names in the config, `label` for the ground truth; a batch without any target has `label` 0."""
        student = model(batch.x_BTF, batch.frames_B, return_hidden=True)
        output = None
        if self.online_teacher is not None:
            assert batch.teacher_features_BTF is not None
            output = self.online_teacher.outputs(batch.teacher_features_BTF, batch.frames_B)
        inputs = KDInputs(batch, student, None if output is None else output.detach())
        losses: dict[str, LossSum] = {}
        # Sums over many frames are made in float32, also where the models are not.
        with torch.autocast(batch.x_BTF.device.type, enabled=False):
            if batch.is_supervised and self.label_weight:
                losses["label"] = batch_loss(student.logits_BTC, batch).times(self.label_weight)
            for name, kd_loss in self.kd_losses.items():
                assert isinstance(kd_loss, DistillationLoss)
                value = kd_loss(inputs)
                if value is not None:
                    losses[name] = value.times(self.weights[name])
            if self.online_teacher is not None and output is not None:
                losses |= self.online_teacher.losses(inputs, output)
        return losses or {"label": batch_loss(student.logits_BTC, batch).times(0.0)}

    def after_step(self, model: AcousticModel) -> None:
        """As `OnlineTeacher` says."""
        if self.online_teacher is not None:
            self.online_teacher.after_step(model)

    def after_sub_epoch(self, model: AcousticModel) -> None:
        """As `OnlineTeacher` says."""
        if self.online_teacher is not None:
            self.online_teacher.after_sub_epoch(model)

    def save_with(self, out: Path) -> None:
        """As `OnlineTeacher` says."""
        if self.online_teacher is not None:
            self.online_teacher.save_with(out)

    def resume_signature(self) -> dict[str, Any]:
        """Losses, weights and options, and the online teacher's signature."""
        teacher = {} if self.online_teacher is None else self.online_teacher.resume_signature()
        return {"objective": self._signature | teacher}


def needs_online_teacher(losses: Sequence[LossSpec], stored: bool) -> bool:
    """Whether some loss needs a teacher that is run on each batch."""
    return any(KD_LOSSES[spec.kind].needs_online_teacher(spec.options, stored) for spec in losses)


def build_online_teacher(
    mode: str, options: DataclassInstance | None, student: AcousticModel, paths: Sequence[Path]
) -> OnlineTeacher:
    """The online teacher of a mode. options: its `Config`, None for the defaults. paths: models of --online-teacher.

    ValueError as for `check_mode`, and when the models do not fit.
    """
    check_mode(mode, options)
    kind = ONLINE_TEACHERS[mode]
    return kind(kind.Config() if options is None else options, student, paths)


def check_mode(mode: str, options: DataclassInstance | None) -> None:
    """ValueError when there is no such mode, or its online teacher has other options."""
    if mode not in ONLINE_TEACHERS:
        raise ValueError(f"mode is {mode}; known: {', '.join(ONLINE_TEACHERS)}{renamed_value('mode', mode)}")
    if options is not None and not isinstance(options, needed := ONLINE_TEACHERS[mode].Config):
        raise ValueError(f"online_teacher_options is {options!r}; mode {mode} needs {needed.__name__}")
