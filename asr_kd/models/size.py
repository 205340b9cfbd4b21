"""How large a model is, in values and in bytes."""

import os
from dataclasses import dataclass

from asr_kd.models.checkpoint import load_model, model_file


@dataclass(frozen=True)
class ModelSize:
    """Of a model on disk."""

    parameters: int
    """Trained values; as many when each takes one byte instead of four."""
    bytes: int
    """Of its file: weights, normalisation, priors and description."""


def model_size(path: str | os.PathLike[str]) -> ModelSize:
    """Size of the model at `path`, its file or folder. ValueError as for `load_model`."""
    return ModelSize(load_model(path).parameter_count, model_file(path).stat().st_size)
