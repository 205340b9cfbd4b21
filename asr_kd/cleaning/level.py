"""How loud an utterance is, and what is wrong with its samples: clipped, or none recorded."""

import numpy as np

from asr_kd.cleaning.measure import ColumnValue
from asr_kd.corpora.audio import SAMPLE_RATE

COLUMNS = {
    "level_db": "level of the whole utterance, dB of full scale; -100 is digital silence",
    "clipping": "share of the samples that lie on a plateau at the peak, in [0, 1]",
    "digital_silence": "share of the samples in stretches of 10 ms and more without any change, in [0, 1]",
}
LOWEST_DB = -100.0
CLIPPED_SHARE_OF_PEAK = 0.985
"""Samples from so much of the peak on, two and more in a row, are a plateau. Codecs and rate changes ripple it."""
MIN_CLIPPED_PEAK = 0.05
"""Of quieter utterances nobody can tell clipping from steps of the converter."""
SILENT_RUN = round(0.010 * SAMPLE_RATE)
SMALLEST_STEP = 2.0**-20
"""Changes below it are rounding."""


class Level:
    """As `Measure` says, with COLUMNS."""

    def __call__(self, wave_N: np.ndarray) -> dict[str, ColumnValue]:
        """As `Measure` says."""
        power = float(np.var(wave_N, dtype=np.float64))
        level_db = max(LOWEST_DB, 10 * np.log10(power + 1e-12))
        return {
            "level_db": round(float(level_db), 2),
            "clipping": round(clipped_share(wave_N), 5),
            "digital_silence": round(_unchanging_share(wave_N), 4),
        }


def clipped_share(wave_N: np.ndarray) -> float:
    """Share of samples that lie next to another at the same, largest, size. wave_N: at least one sample."""
    size_N = np.abs(wave_N)
    peak = float(size_N.max())
    if peak < MIN_CLIPPED_PEAK:
        return 0.0
    top_N = size_N >= CLIPPED_SHARE_OF_PEAK * peak
    same_side_N = wave_N[1:] * wave_N[:-1] > 0
    beside_N = top_N[1:] & top_N[:-1] & same_side_N
    in_plateau_N = np.zeros(len(wave_N), bool)
    in_plateau_N[1:] |= beside_N
    in_plateau_N[:-1] |= beside_N
    return float(in_plateau_N.mean())


def _unchanging_share(wave_N: np.ndarray) -> float:
    changes_N = np.flatnonzero(np.abs(np.diff(wave_N)) > SMALLEST_STEP)
    edges_N = np.concatenate([[-1], changes_N, [len(wave_N) - 1]])
    runs = np.diff(edges_N)
    return float(runs[runs >= min(SILENT_RUN, len(wave_N))].sum() / len(wave_N))
