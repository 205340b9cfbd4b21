"""How sure a detector is, frame by frame, that somebody speaks in a recording; and the detectors by name."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

DetectorName = Literal["silero", "energy"]
SMALLEST_POWER = 1e-10
"""So that digital silence has a level."""


@dataclass(frozen=True)
class SpeechActivity:
    """Of a whole recording; ten hours are 10 MB."""

    frame_s: float
    """Seconds of a frame; the first begins with the recording."""
    speech_T: np.ndarray
    """Probability of speech, float32."""
    level_db_T: np.ndarray
    """Level of the frame in dB of full scale, float32."""

    def __post_init__(self) -> None:
        assert self.speech_T.shape == self.level_db_T.shape and self.speech_T.ndim == 1


class SpeechDetector(Protocol):
    """Finds speech in recordings of any length. Of a recording it finds the same, however the blocks are cut."""

    def __call__(self, blocks: Iterable[np.ndarray]) -> SpeechActivity:
        """blocks: the recording's samples in order, (N,) float32, 16 kHz, blocks of any size."""
        ...


def load_detector(name: DetectorName) -> SpeechDetector:
    """A detector, ready. ValueError when its package is not installed."""
    detectors: dict[DetectorName, Callable[[], SpeechDetector]] = {"silero": _silero, "energy": _energy}
    return detectors[name]()


def best_detector() -> DetectorName:
    """silero where its package is installed, else energy."""
    from asr_kd.corpora.silero import model_file

    return "energy" if model_file() is None else "silero"


def level_db(wave_TN: np.ndarray) -> np.ndarray:
    """Level of each row of samples in dB of full scale, without the constant offset that sound cards add: (T,)."""
    return 10 * np.log10(wave_TN.var(axis=1, dtype=np.float64) + SMALLEST_POWER)


def _silero() -> SpeechDetector:
    from asr_kd.corpora.silero import SileroDetector  # an extra

    return SileroDetector()


def _energy() -> SpeechDetector:
    from asr_kd.corpora.energy_detector import EnergyDetector

    return EnergyDetector()
