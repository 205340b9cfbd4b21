"""How far speech stands above the noise around it, from the levels of frames."""

import numpy as np

from asr_kd.cleaning.measure import ColumnValue
from asr_kd.corpora.audio import SAMPLE_RATE

COLUMNS = {
    "snr_db": "power of the frames above the noise against that of the quietest tenth, dB; too low "
    "for audio without pauses",
}
FRAME = round(0.020 * SAMPLE_RATE)
NOISE_SHARE = 0.1
"""The quietest frames, taken for noise."""
MIN_FRAMES = 10
SPEECH_ABOVE = 2.0
"""Frames of so many times the noise's power are speech."""
NO_SOUND = 1e-10
"""Power below -100 dB: digital silence, which is no noise of the room."""
HIGHEST_DB, LOWEST_DB = 80.0, -20.0


class Snr:
    """As `Measure` says, with COLUMNS; null for digital silence and for less than 0.2 s of sound."""

    def __call__(self, wave_N: np.ndarray) -> dict[str, ColumnValue]:
        """As `Measure` says."""
        frames_TN = wave_N[: len(wave_N) // FRAME * FRAME].reshape(-1, FRAME)
        power_T = np.sort(frames_TN.var(axis=1, dtype=np.float64))
        power_T = power_T[power_T > NO_SOUND]
        if len(power_T) < MIN_FRAMES:
            return {"snr_db": None}
        noise = float(power_T[: max(1, round(NOISE_SHARE * len(power_T)))].mean())
        loud_T = power_T[power_T > SPEECH_ABOVE * noise]
        speech = float(loud_T.mean()) - noise if len(loud_T) else 0.0
        snr_db = 10 * np.log10(max(speech, 1e-12) / noise)
        return {"snr_db": round(float(np.clip(snr_db, LOWEST_DB, HIGHEST_DB)), 2)}
