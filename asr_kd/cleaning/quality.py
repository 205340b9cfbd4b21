"""How good people would find the sound of an utterance: DNSMOS (extra `quality`).

Source: Reddy et al., "DNSMOS P.835: A non-intrusive perceptual objective speech quality metric" (ICASSP 2022).
"""

import numpy as np

from asr_kd.cleaning.measure import ColumnValue
from asr_kd.core.extras import how_to_install
from asr_kd.corpora.audio import SAMPLE_RATE

COLUMNS = {
    "dnsmos": "overall quality by DNSMOS P.835, 1 (bad) to 5",
    "dnsmos_speech": "of the speech, 1 to 5",
    "dnsmos_background": "of the background, 1 (very intrusive) to 5",
}


class Dnsmos:
    """As `Measure` says, with COLUMNS. Shorter utterances than 9 s are repeated to that length."""

    def __init__(self) -> None:
        """ValueError when its packages are not installed."""
        try:
            from speechmos import dnsmos
        except ImportError:
            raise ValueError(f"--measures dnsmos: speechmos is not installed. {how_to_install('quality')}") from None
        self._run = dnsmos.run

    def __call__(self, wave_N: np.ndarray) -> dict[str, ColumnValue]:
        """As `Measure` says."""
        found = self._run(np.clip(wave_N, -1, 1), SAMPLE_RATE)
        names = {"dnsmos": "ovrl_mos", "dnsmos_speech": "sig_mos", "dnsmos_background": "bak_mos"}
        return {column: round(float(found[name]), 3) for column, name in names.items()}
