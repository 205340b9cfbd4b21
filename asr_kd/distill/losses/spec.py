"""Which distillation loss, how much of it, and its options: an entry of a config's `losses`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from asr_kd.core.config import DataclassInstance, load_config
from asr_kd.core.renames import renamed_value
from asr_kd.distill.losses.distillation_loss import DistillationLoss
from asr_kd.distill.losses.registry import KD_LOSSES


@dataclass(frozen=True)
class LossSpec:
    """One distillation loss. In a config file its options stand beside `kind` and `weight`."""

    kind: str
    """Its name in `registry.KD_LOSSES`."""
    weight: float = 1.0
    """What it is multiplied by in the sum of the losses."""
    options: DataclassInstance | None = None
    """Its `Config`; None becomes that of the defaults."""

    def __post_init__(self) -> None:
        needed = _loss(self.kind).Config
        if not 0 <= self.weight < float("inf"):
            raise ValueError(
                f"losses.{self.kind}.weight is {self.weight!r}; a finite number that is not negative is needed"
            )
        if self.options is None:
            object.__setattr__(self, "options", needed())
        elif not isinstance(self.options, needed):
            raise ValueError(f"losses.{self.kind}: options is {self.options!r}; {needed.__name__} is needed")

    @staticmethod
    def expand_config(data: Mapping[str, Any]) -> dict[str, Any]:
        """Fields of an entry `{kind: NAME, weight: 1, ...}` of a config file. ValueError names what is unknown."""
        own = {key: data[key] for key in ("kind", "weight") if key in data}
        config = _loss(own.get("kind")).Config
        try:
            options: DataclassInstance = load_config(
                config, {key: value for key, value in data.items() if key not in own}
            )
        except ValueError as e:
            raise ValueError(f"losses.{own['kind']}: {e}") from None
        return own | {"options": options}

    @staticmethod
    def contract_config(fields: dict[str, Any]) -> dict[str, Any]:
        """The entry of a config file that has these fields."""
        return {"kind": fields["kind"], "weight": fields["weight"], **fields["options"]}


def _loss(kind: Any) -> type[DistillationLoss]:
    if not isinstance(kind, str) or kind not in KD_LOSSES:
        raise ValueError(f"losses: kind is {kind}; known: {', '.join(KD_LOSSES)}{renamed_value('kind', kind)}")
    return KD_LOSSES[kind]
