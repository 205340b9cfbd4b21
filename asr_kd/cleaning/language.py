"""The language that is spoken, by Whisper."""

import numpy as np

from asr_kd.cleaning.measure import ColumnValue
from asr_kd.core.runtime import device as find_device
from asr_kd.teachers.whisper import PREFIX, Whisper


class Language:
    """As `Measure` says, with the columns of the measure `language`."""

    def __init__(self, model: str | None, device: str) -> None:
        """model: `whisper:FOLDER` or `whisper:NAME`. ValueError when there is none, or it knows English only."""
        if model is None or not model.startswith(PREFIX):
            raise ValueError(f"--measures language: give --whisper {PREFIX}FOLDER, a model of several languages")
        self._whisper = Whisper(model, find_device(device))
        self._whisper.check_languages()

    def __call__(self, wave_N: np.ndarray) -> dict[str, ColumnValue]:
        """As `Measure` says."""
        language, probability = self._whisper.language_of(wave_N)
        return {"language": language, "language_probability": round(probability, 4)}
