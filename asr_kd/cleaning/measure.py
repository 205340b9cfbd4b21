"""What a measure is: from the samples of an utterance to the values of its columns."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

ColumnValue = float | int | str | bool | None
"""None: it has no value for this utterance."""


class Measure(Protocol):
    """Says of an utterance what its columns hold. The same samples give the same values."""

    def __call__(self, wave_N: np.ndarray) -> dict[str, ColumnValue]:
        """The value of each of its columns.  wave_N: 16 kHz in [-1, 1), at least one sample."""
        ...


@dataclass(frozen=True)
class MeasureOptions:
    """What measures are made ready with, in plain values."""

    detector: str = "energy"
    """Of speech: silero or energy."""
    whisper: str | None = None
    """`whisper:FOLDER`, for the language."""
    device: str = "cpu"
