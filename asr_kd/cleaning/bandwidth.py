"""Up to which frequency an utterance has energy: 8 kHz audio that was upsampled ends at 4 kHz."""

import numpy as np
from scipy.signal import welch

from asr_kd.cleaning.measure import ColumnValue
from asr_kd.corpora.audio import SAMPLE_RATE

COLUMNS = {
    "bandwidth_hz": "highest frequency whose mean power is within 65 dB of the strongest; below 4500 it was "
    "recorded at 8 kHz, or through a telephone",
}
WINDOW = 512
BELOW_STRONGEST_DB = 65.0
"""Filters of rate conversion fall by more, speech up to 8 kHz by less."""


class Bandwidth:
    """As `Measure` says, with COLUMNS; null for digital silence and for less than 32 ms."""

    def __call__(self, wave_N: np.ndarray) -> dict[str, ColumnValue]:
        """As `Measure` says."""
        if len(wave_N) < WINDOW:
            return {"bandwidth_hz": None}
        hz_F, power_F = welch(wave_N.astype(np.float64), SAMPLE_RATE, "hann", WINDOW, detrend="constant")
        strongest = power_F.max()
        if strongest <= 0:
            return {"bandwidth_hz": None}
        inside_F = power_F >= strongest * 10 ** (-BELOW_STRONGEST_DB / 10)
        return {"bandwidth_hz": round(float(hz_F[np.flatnonzero(inside_F)[-1]]))}
