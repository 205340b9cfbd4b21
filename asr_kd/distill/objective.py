"""What a student learns from: ground truth, any weighted sum of kinds of knowledge, and who listens beside it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from asr_kd.core.config import load_config, to_dict
from asr_kd.data.loader import Batch
from asr_kd.distill.losses.distillation_loss import DistillationLoss, ModelDims
from asr_kd.distill.losses.inputs import KDInputs
from asr_kd.distill.losses.registry import KD_LOSSES
from asr_kd.distill.online_teachers.online_teacher import OnlineTeacher
from asr_kd.distill.online_teachers.registry import ONLINE_TEACHERS
from asr_kd.models.acoustic import AcousticModel
from asr_kd.train.objective import Objective, batch_loss


class DistillObjective(Objective):
    """Ground truth where a batch has it, plus each kind of knowledge times its weight."""

    def __init__(
        self,
        student: AcousticModel,
        knowledge: Sequence[Mapping[str, Any]],
        truth: float = 1.0,
        companion: OnlineTeacher | None = None,
        stored: bool = True,
    ) -> None:
        """knowledge: `kind`, `weight` and the kind's own options of each.  truth: weight of the ground truth.

        stored: whether the unlabelled data carry targets.  ValueError names what does not exist or does not fit.
        """
        super().__init__()
        self.truth = truth
        self.online_teacher = companion
        self.teacher_frontend = None if companion is None else companion.frontend
        sides = ModelDims(
            student.layer_widths, None if companion is None else companion.layer_widths, student.inventory.num_classes, stored
        )
        self.kinds = nn.ModuleDict()
        self.weights: dict[str, float] = {}
        self._identity: dict[str, Any] = {"truth": truth}
        for entry in knowledge:
            kind, weight, options = parse_loss_spec(entry)
            name = kind if kind not in self.kinds else f"{kind}{len(self.kinds)}"
            self.kinds[name] = KD_LOSSES[kind](options, sides)
            self.weights[name] = weight
            self._identity[name] = to_dict(options) | {"weight": weight}

    def losses(self, model: AcousticModel, batch: Batch) -> dict[str, Tensor]:
        """By the names in the config, `truth` for the ground truth; a batch that teaches nothing has `truth` 0."""
        student = model.trace(batch.x_BTF, batch.frames_B)
        lesson = KDInputs(batch, student, None if self.online_teacher is None else self.online_teacher.trace(batch))
        terms = {}
        # Sums over many frames are made in float32, also where the models are not.
        with torch.autocast(batch.x_BTF.device.type, enabled=False):
            if batch.is_supervised and self.truth:
                terms["truth"] = self.truth * batch_loss(student.logits_BTC, batch)
            for name, kind in self.kinds.items():
                assert isinstance(kind, DistillationLoss)
                value = kind(lesson)
                if value is not None:
                    terms[name] = self.weights[name] * value
            if self.online_teacher is not None:
                terms |= self.online_teacher.terms(lesson)
        return terms or {"truth": 0.0 * student.logits_BTC.float().sum()}

    def after_step(self, model: AcousticModel) -> None:
        """Pass on."""
        if self.online_teacher is not None:
            self.online_teacher.after_step(model)

    def after_sub_epoch(self, model: AcousticModel) -> None:
        """Pass on."""
        if self.online_teacher is not None:
            self.online_teacher.after_sub_epoch(model)

    def save_with(self, out: Path) -> None:
        """Pass on."""
        if self.online_teacher is not None:
            self.online_teacher.keep(out)

    def resume_signature(self) -> dict[str, Any]:
        """Kinds, weights and options, and who listens."""
        listening = {} if self.online_teacher is None else self.online_teacher.identity()
        return {"objective": self._identity | listening}


def parse_loss_spec(entry: Mapping[str, Any]) -> tuple[str, float, Any]:
    """Kind, weight and options of one entry of a config's `knowledge`. ValueError names what is unknown."""
    options = dict(entry)
    kind, weight = options.pop("kind", None), options.pop("weight", 1.0)
    if kind not in KD_LOSSES:
        raise ValueError(f"knowledge: kind is {kind}; known: {', '.join(KD_LOSSES)}")
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight < float("inf"):
        raise ValueError(f"knowledge.{kind}.weight is {weight!r}; a finite number that is not negative is needed")
    try:
        return kind, float(weight), load_config(KD_LOSSES[kind].Config, options)
    except ValueError as e:
        raise ValueError(f"knowledge.{kind}: {e}") from None


def needs_online_teacher(knowledge: Sequence[Mapping[str, Any]], stored: bool) -> bool:
    """Whether some entry needs a teacher that hears each batch."""
    return any(KD_LOSSES[kind].needs_listener(options, stored) for kind, _, options in map(parse_loss_spec, knowledge))


def build_online_teacher(
    mode: str, options: Mapping[str, Any], student: AcousticModel, teachers: Sequence[Path]
) -> OnlineTeacher:
    """Who listens in a mode. teachers: of --teacher. ValueError names an unknown mode or option."""
    if mode not in ONLINE_TEACHERS:
        raise ValueError(f"mode is {mode}; known: {', '.join(ONLINE_TEACHERS)}")
    kind = ONLINE_TEACHERS[mode]
    return kind(load_config(kind.Config, dict(options)), student, teachers)  # type: ignore[call-arg]
