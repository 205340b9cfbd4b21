"""How much of an utterance is speech, by the detectors that cut recordings."""

from typing import cast

import numpy as np

from asr_kd.cleaning.measure import ColumnValue
from asr_kd.corpora.audio import SAMPLE_RATE
from asr_kd.corpora.speech_activity import DetectorName, load_detector

COLUMNS = {
    "speech_s": "seconds of speech; with --detector energy, of all that is louder than the room",
    "speech_share": "the same as a share of the utterance, in [0, 1]; low for silence, noise and music",
}
SPEECH_FROM = 0.5
"""Probability of a frame."""


class Speech:
    """As `Measure` says, with COLUMNS."""

    def __init__(self, detector: str) -> None:
        """detector: silero or energy. ValueError when its package is not installed."""
        self._detector = load_detector(cast(DetectorName, detector))

    def __call__(self, wave_N: np.ndarray) -> dict[str, ColumnValue]:
        """As `Measure` says."""
        speech_T = self._detector([wave_N]).speech_T
        share = float((speech_T >= SPEECH_FROM).mean()) if len(speech_T) else 0.0
        return {"speech_s": round(share * len(wave_N) / SAMPLE_RATE, 3), "speech_share": round(share, 4)}
