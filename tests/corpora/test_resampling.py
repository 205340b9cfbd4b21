"""Audio of any rate at 16 kHz: the samples that librosa makes of it."""

import librosa
import numpy as np
import pytest

from asr_kd.corpora.audio import to_16k_mono


@pytest.mark.parametrize("rate", [7999, 8000, 11025, 22050, 32000, 44100, 48000])
def test_samples_are_those_of_librosa(rate: int):
    for count in (1, 10, 999, rate, 3 * rate + 17):
        wave_N = np.random.default_rng(count).uniform(-0.5, 0.5, count).astype(np.float32)
        theirs = librosa.resample(wave_N, orig_sr=rate, target_sr=16000, res_type="soxr_hq")
        assert np.array_equal(to_16k_mono(wave_N[:, None], rate, "x"), theirs)
