"""Mutual learning: a second model is trained beside the student, and each learns from the other.

With a larger model and `peer_kd_weight` 0 it is a teacher that is trained at the same time.
Source: Zhang et al., "Deep mutual learning" (arXiv 1706.00384).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from asr_kd.core.config import load_config, to_dict
from asr_kd.data.sampler import TrainingSet
from asr_kd.distill.losses.distillation_loss import ModelDims
from asr_kd.distill.losses.inputs import KDInputs
from asr_kd.distill.losses.kd import KDConfig, KDLoss
from asr_kd.distill.online_teachers.online_teacher import OnlineTeacher
from asr_kd.frontend.fbank import FrontEndConfig
from asr_kd.models.acoustic import AcousticModel, ModelOutput, build_model
from asr_kd.models.checkpoint import init_from_checkpoint, save_model
from asr_kd.models.config import ModelConfig
from asr_kd.train.cmvn import feature_statistics
from asr_kd.train.config import TrainConfig
from asr_kd.train.loss_sum import LossSum
from asr_kd.train.objective import batch_loss

FOLDER = "peer"
"""In the run's folder: the peer as it was when the student was best."""


@dataclass(frozen=True)
class PeerTeacherConfig:
    """The model that is trained beside the student."""

    model: ModelConfig | None = None
    """`preset: NAME` and changes to it; null is one like the student with other random weights."""
    frontend: FrontEndConfig | None = None
    """The peer's; null is the student's."""
    peer_kd_weight: float = 1.0
    """Weight of its KD loss from the student; 0 for a teacher that only learns from the data."""
    temperature: float = 1.0
    """Temperature of its KD loss from the student."""

    def __post_init__(self) -> None:
        if self.peer_kd_weight < 0:
            raise ValueError(f"online_teacher.peer_kd_weight is {self.peer_kd_weight}; it must not be negative")


class PeerTeacher(OnlineTeacher):
    """Trained by the same optimiser on its own loss; only its outputs reach the student."""

    Config = PeerTeacherConfig

    def __init__(self, config: PeerTeacherConfig, student: AcousticModel, paths: Sequence[Path]) -> None:
        """paths: at most one checkpoint to initialise it from. ValueError when the architecture differs."""
        super().__init__()
        self.config = config
        made = config.model or student.config
        frontend = config.frontend or student.frontend
        self.model = build_model(made, student.inventory, frontend)
        self.frontend, self.hidden_dims = frontend, self.model.hidden_dims
        if len(paths) > 1:
            raise ValueError(f"mode mutual: {len(paths)} models to initialise the peer from; give one or none")
        if paths:
            init_from_checkpoint(self.model, paths[0])
        self.is_initialised = bool(paths)
        widths = student.hidden_dims
        learnt = load_config(KDConfig, {"temperature": config.temperature})
        self._kd = KDLoss(learnt, ModelDims(widths, widths, student.inventory.num_classes, stored=False))

    def outputs(self, teacher_features_BTF: Tensor, frames_B: Tensor) -> ModelOutput:
        """Its output, with gradient."""
        return self.model(teacher_features_BTF, frames_B, return_hidden=True)

    def losses(self, inputs: KDInputs, output: ModelOutput) -> dict[str, LossSum]:
        """Its loss on the targets of the batch, and its KD loss from the student."""
        batch = inputs.batch
        terms = {}
        if batch.targets:
            terms["peer"] = batch_loss(output.logits_BTC, batch)
        if self.config.peer_kd_weight:
            peer_kd = self._kd(KDInputs(batch, output, ModelOutput(inputs.student.logits_BTC.detach(), {})))
            assert peer_kd is not None
            terms["peer_kd"] = peer_kd.times(self.config.peer_kd_weight)
        return terms

    def on_train_start(self, student: AcousticModel, labelled: TrainingSet, config: TrainConfig) -> None:
        """Take the normalisation of the labelled audio, unless it was initialised from a checkpoint."""
        if not self.is_initialised:
            self.model.set_normalisation(*feature_statistics(labelled, self.frontend, config.seed, config.num_workers))

    def save_with(self, out: Path) -> None:
        """Write OUT/peer/model.safetensors."""
        save_model(out / FOLDER, self.model, {"peer of": "the student in the folder above"})

    def resume_signature(self) -> dict[str, Any]:
        """Its configuration."""
        return {"peer": to_dict(self.model.config)}
