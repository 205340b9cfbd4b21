"""Tones that stand still, as instruments, signals and hum make them. The pitch of a voice glides.

Peaks of the spectrum that stay in their bin of 8 Hz for a quarter of a second are steady tones.
"""

import numpy as np
from scipy.signal import stft

from asr_kd.cleaning.measure import ColumnValue
from asr_kd.corpora.audio import SAMPLE_RATE

COLUMNS = {
    "steady_tones": "share of the energy above 300 Hz in tones that stay at one pitch for 0.25 s, in [0, 1]; high for "
    "instruments, signals and hum",
}
WINDOW, HOP = 2048, 512
LOW_HZ = 300.0
"""Below, the harmonics of a voice move by less than a bin."""
MAX_BELOW_DB = 30.0
"""Weaker peaks of a frame, against its strongest, do not count."""
MIN_FRAMES = 5
"""Of a tone, for it to be steady: 5 windows of 128 ms that overlap are 0.26 s."""
HALF_WIDTH = 2
"""Bins on each side of a peak that are the same tone."""


class SteadyTones:
    """As `Measure` says, with COLUMNS; null for digital silence and for less than 0.3 s."""

    def __call__(self, wave_N: np.ndarray) -> dict[str, ColumnValue]:
        """As `Measure` says."""
        if len(wave_N) < WINDOW + MIN_FRAMES * HOP:
            return {"steady_tones": None}
        hz_F, _, spectrum_FT = stft(wave_N, SAMPLE_RATE, "hann", WINDOW, WINDOW - HOP, boundary=None, padded=False)
        power_FT = np.square(np.abs(spectrum_FT[hz_F >= LOW_HZ])).astype(np.float64)
        whole = power_FT.sum()
        if whole <= 0:
            return {"steady_tones": None}
        steady_FT = _steady(_peaks(power_FT))
        around_FT = np.zeros_like(steady_FT)
        for shift in range(-HALF_WIDTH, HALF_WIDTH + 1):
            around_FT |= np.roll(steady_FT, shift, axis=0)
        return {"steady_tones": round(float(power_FT[around_FT].sum() / whole), 4)}


def _peaks(power_FT: np.ndarray) -> np.ndarray:
    """Which bins are larger than their neighbours and not far below the strongest of their frame."""
    strong_FT = power_FT > power_FT.max(axis=0, keepdims=True) * 10 ** (-MAX_BELOW_DB / 10)
    inner = power_FT[1:-1]
    peaks_FT = np.zeros(power_FT.shape, bool)
    peaks_FT[1:-1] = (inner > power_FT[:-2]) & (inner >= power_FT[2:]) & strong_FT[1:-1]
    return peaks_FT


def _steady(peaks_FT: np.ndarray) -> np.ndarray:
    """Which of them are part of MIN_FRAMES in a row."""
    padded = np.pad(peaks_FT, ((0, 0), (MIN_FRAMES, MIN_FRAMES)))
    counts = np.cumsum(padded, axis=1)
    whole_runs = counts[:, MIN_FRAMES:] - counts[:, :-MIN_FRAMES] == MIN_FRAMES  # that end at each frame
    steady = np.zeros(peaks_FT.shape, bool)
    for back in range(MIN_FRAMES):
        steady |= whole_runs[:, back : back + peaks_FT.shape[1]]
    return steady
