"""The interface of a distillation loss, and checks that several share."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from asr_kd.distill.losses.inputs import KDInputs
from asr_kd.train.loss_sum import LossSum

HiddenDims = Mapping[str, int]
"""Name of each layer of a model, and the size of its output (`AcousticModel.hidden_dims`)."""


@dataclass(frozen=True)
class ModelDims:
    """Layer sizes of student and teacher, to check a loss before the first step."""

    student: HiddenDims
    teacher: HiddenDims | None
    """None: no online teacher, only stored targets."""
    classes: int
    stored: bool = True
    """Whether the unlabelled data carry a teacher's targets."""


class DistillationLoss(nn.Module, ABC):
    """One term of the training loss. It may own weights, such as projections; they are trained with the student's."""

    Config: ClassVar[type]
    """Dataclass of its options."""

    @classmethod
    def needs_online_teacher(cls, config: Any, stored: bool) -> bool:
        """Whether the loss needs a teacher that is run on each batch. stored: whether there are stored targets."""
        return True

    def __init__(self, config: Any, dims: ModelDims) -> None:
        """ValueError naming both sides when layers or sizes do not fit."""
        super().__init__()
        self.config = config

    @abstractmethod
    def forward(self, inputs: KDInputs) -> LossSum | None:
        """A sum to minimise over what it counts; None when this batch has no target for it."""


def check_layer(layer: str, widths: HiddenDims, kind: str, whose: str) -> int:
    """Output size of a layer. ValueError when the model has no layer of that name."""
    if layer not in widths:
        raise ValueError(f"{kind}: the {whose} has no layer {layer}; it has {', '.join(widths)}")
    return widths[layer]


def layer_pairs(layers: Mapping[str, str], dims: ModelDims, kind: str) -> list[tuple[str, str]]:
    """Pairs of student layer and teacher layer to compare; without `layers`, the last of both.

    ValueError when a layer does not exist, or there is no online teacher.
    """
    if dims.teacher is None:
        raise ValueError(f"{kind}: needs an online teacher. Give --online-teacher MODEL, or another --mode.")
    pairs = list(layers.items()) or [(list(dims.student)[-1], list(dims.teacher)[-1])]
    for student, teacher in pairs:
        check_layer(student, dims.student, kind, "student")
        check_layer(teacher, dims.teacher, kind, "teacher")
    return pairs
