"""How good people would find the sound of an utterance: DNSMOS (extra `quality`). Of its package, the model is read.

Sources: Reddy et al., "DNSMOS P.835: A non-intrusive perceptual objective speech quality metric" (ICASSP 2022); window
and polynomials as in speechmos 0.0.1.1 (MIT). That begins a window every second, this every half window: a fifth of the
time, and values that differ by less than 0.1 (12 utterances).
"""

import numpy as np

from asr_kd.cleaning.measure import ColumnValue
from asr_kd.core.extras import how_to_install
from asr_kd.core.packaged_network import open_network, packaged_file
from asr_kd.corpora.audio import SAMPLE_RATE

COLUMNS = {
    "dnsmos": "overall quality by DNSMOS P.835, 1 (bad) to 5",
    "dnsmos_speech": "of the speech, 1 to 5",
    "dnsmos_background": "of the background, 1 (very intrusive) to 5",
}
PACKAGE, MODEL = "speechmos", "speechmos/dnsmos_models/sig_bak_ovr.onnx"
WINDOW = int(9.01 * SAMPLE_RATE)
POLYNOMIALS = {
    "dnsmos_speech": (-0.08397278, 1.22083953, 0.0052439),
    "dnsmos_background": (-0.13166888, 1.60915514, -0.39604546),
    "dnsmos": (-0.06766283, 1.11546468, 0.04602535),
}
"""From what the network gives, in its order, to the scale of listeners; the highest power first."""


class Dnsmos:
    """As `Measure` says, with COLUMNS. Shorter utterances than 9 s are repeated to that length. One thread."""

    def __init__(self) -> None:
        """ValueError when its packages are not installed."""
        path = packaged_file(PACKAGE, MODEL)
        if path is None:
            needed = f"{PACKAGE} and onnxruntime are not installed"
            raise ValueError(f"--dnsmos: {needed}. {how_to_install('quality')}")
        self._session = open_network(path)

    def __call__(self, wave_N: np.ndarray) -> dict[str, ColumnValue]:
        """As `Measure` says."""
        wave_N = np.clip(wave_N, -1, 1).astype(np.float32)
        if len(wave_N) < WINDOW:
            wave_N = np.resize(wave_N, WINDOW)
        starts = [*range(0, len(wave_N) - WINDOW, WINDOW // 2), len(wave_N) - WINDOW]
        raw = [self._session.run(None, {"input_1": wave_N[None, s : s + WINDOW]})[0][0] for s in starts]
        return {
            column: round(float(np.mean([np.polyval(polynomial, r[n]) for r in raw])), 3)
            for n, (column, polynomial) in enumerate(POLYNOMIALS.items())
        }
