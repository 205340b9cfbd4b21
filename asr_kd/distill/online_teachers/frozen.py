"""Offline: a trained teacher is run on the student's batches, augmentation included."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from asr_kd.core.runtime import autocast
from asr_kd.distill.online_teachers.online_teacher import OnlineTeacher
from asr_kd.frontend.fbank import FrontEndConfig
from asr_kd.models.acoustic import AcousticModel, ModelOutput
from asr_kd.teachers.ensemble import Ensemble
from asr_kd.teachers.onnx_model import OnnxModel
from asr_kd.teachers.registry import load_models, models_fingerprint, posterior_kind
from asr_kd.teachers.wav2vec2 import Wav2Vec2Teacher


@dataclass(frozen=True)
class FrozenTeacherConfig:
    """How the teacher of --online-teacher is run."""

    precision: Literal["auto", "bf16", "float32"] = "auto"
    """Of its forward pass. `auto` is bf16 where it is fast, as in labelling."""


class FrozenTeacher(OnlineTeacher):
    """The model, or the mean of several, at the given paths; it is not saved with the run."""

    Config = FrozenTeacherConfig

    def __init__(self, config: FrozenTeacherConfig, student: AcousticModel, paths: Sequence[Path]) -> None:
        """ValueError when its inventory is not the student's."""
        super().__init__()
        if not paths:
            raise ValueError("mode offline: give the teacher with --online-teacher MODEL")
        for path in paths:
            posterior_kind(path, "features")  # else it is refused
        teacher = load_models(paths).eval().requires_grad_(False)
        assert not isinstance(teacher, Wav2Vec2Teacher | OnnxModel) and isinstance(teacher.frontend, FrontEndConfig)
        check_inventory(teacher, str(paths[0]), student)
        self._teacher = [teacher]  # in a list: its weights are in its own file, not in the run's state
        self._fingerprint, self._precision = models_fingerprint(paths), config.precision
        self.frontend, self.hidden_dims = teacher.frontend, teacher.hidden_dims

    @torch.no_grad()
    def outputs(self, teacher_features_BTF: Tensor, frames_B: Tensor) -> ModelOutput:
        """In evaluation mode; float32 whatever it was computed in."""
        on = teacher_features_BTF.device
        with autocast(on, self._precision):
            output = self._teacher[0].to(on)(teacher_features_BTF, frames_B, return_hidden=True)
        return ModelOutput(
            output.logits_BTC.float(), {name: layer.float() for name, layer in output.hidden_states.items()}
        )

    def resume_signature(self) -> dict[str, Any]:
        """The teacher's fingerprint."""
        return {"teacher": self._fingerprint}


def check_inventory(teacher: AcousticModel | Ensemble, whose: str, student: AcousticModel) -> None:
    """ValueError naming both sides when posteriors of one mean nothing to the other."""
    theirs, ours = teacher.inventory, student.inventory
    if theirs.frame_shift_s != ours.frame_shift_s:
        raise ValueError(
            f"{whose}: one frame every {theirs.frame_shift_s * 1000:g} ms, the student has "
            f"{ours.frame_shift_s * 1000:g} ms. An online teacher must have the student's frames; "
            "others label with `asr-kd label`."
        )
    if theirs.fingerprint != ours.fingerprint:
        raise ValueError(
            f"{whose}: {theirs.num_classes} classes of inventory {theirs.fingerprint[:8]}, the student has "
            f"{ours.num_classes} of {ours.fingerprint[:8]}. Give a teacher of the student's inventory."
        )
