"""The interface of a kind of knowledge, and the checks that several share."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from asr_kd.distill.losses.inputs import KDInputs

HiddenDims = Mapping[str, int]
"""Name of each layer of a model, and the values in one of its frames (`AcousticModel.layer_widths`)."""


@dataclass(frozen=True)
class ModelDims:
    """Who learns from whom, as far as must be known before the first step."""

    student: HiddenDims
    teacher: HiddenDims | None
    """None: nobody listens, there are stored targets only."""
    classes: int
    stored: bool = True
    """Whether the unlabelled data carry a teacher's targets."""


class DistillationLoss(nn.Module, ABC):
    """One term of the loss. May own weights, such as projections, which are trained with the student's."""

    Config: ClassVar[type]
    """Dataclass of its options."""

    @classmethod
    def needs_online_teacher(cls, config: Any, stored: bool) -> bool:
        """Whether a teacher must hear each batch. stored: whether the unlabelled data carry targets."""
        return True

    def __init__(self, config: Any, sides: ModelDims) -> None:
        """ValueError naming both sides when layers or widths do not fit."""
        super().__init__()
        self.config = config

    @abstractmethod
    def forward(self, lesson: KDInputs) -> Tensor | None:
        """A scalar to be minimised; None when there is nothing to learn in this batch."""


def check_layer(layer: str, widths: HiddenDims, kind: str, whose: str) -> int:
    """Its width. ValueError when a model has no layer of that name."""
    if layer not in widths:
        raise ValueError(f"{kind}: the {whose} has no layer {layer}; it has {', '.join(widths)}")
    return widths[layer]


def layer_pairs(layers: Mapping[str, str], sides: ModelDims, kind: str) -> list[tuple[str, str]]:
    """Student's and teacher's layers that are compared; without `layers`, the last of both.

    ValueError when one of them does not exist, or there is no teacher to listen.
    """
    if sides.teacher is None:
        raise ValueError(f"{kind}: needs a teacher that listens. Give --online-teacher MODEL, or another mode.")
    pairs = list(layers.items()) or [(list(sides.student)[-1], list(sides.teacher)[-1])]
    for student, teacher in pairs:
        check_layer(student, sides.student, kind, "student")
        check_layer(teacher, sides.teacher, kind, "teacher")
    return pairs
