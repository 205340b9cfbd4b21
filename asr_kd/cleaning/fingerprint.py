"""Fingerprints of recordings that copies share whatever their codec, level and begin: landmarks of spectral peaks.

A landmark is three peaks of the spectrogram that follow each other: their frequencies and the times between them. A
codec moves a few peaks, a gain none, and a cut at the begin only the time of all of them. Of each recording, those
landmarks are kept whose mixed hash is smallest: copies keep mostly the same ones.
Source: Wang, "An industrial-strength audio search algorithm" (ISMIR 2003), with triplets in place of pairs, so that
millions of recordings share few landmarks by chance.
"""

import numpy as np
from scipy.ndimage import maximum_filter
from scipy.signal import stft

from asr_kd.corpora.audio import SAMPLE_RATE

WINDOW, HOP = 1024, 256
LOW_HZ, HIGH_HZ = 200.0, 3600.0
"""Band of the peaks: what a telephone lets through."""
PEAK_BINS, PEAK_FRAMES = 9, 5
"""A peak is the largest of so many bins and frames on each side."""
MAX_BELOW_DB = 45.0
"""Peaks so far below the loudest are noise of the codec."""
BINS_PER_STEP, FRAMES_PER_STEP = 2, 2
"""Frequencies and times are rounded: peaks move a little."""
TARGETS = 5
"""Peaks after a landmark's first among which its other two are."""
MIN_AHEAD, MAX_AHEAD = 2, 63
"""Frames from the first peak to the others."""
KEPT, KEPT_PER_S = 120, 10
"""Landmarks of a recording: at least as many as there are up to the first, and the second times its seconds."""
TIME_BITS = 16
"""Of a landmark's number, the lowest are the frame of its first peak."""
FRAMES_MAX = 1 << TIME_BITS
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def landmarks(wave_N: np.ndarray) -> np.ndarray:
    """(L,) uint64: the hash of each kept landmark in the upper 48 bits, its frame below. wave_N: 16 kHz, to 17 min."""
    found = _triplets(*_peaks(wave_N))  # by rising hash, then time
    _, first = np.unique(found >> np.uint64(TIME_BITS), return_index=True)  # what hum repeats counts once
    return found[first][: max(KEPT, round(KEPT_PER_S * len(wave_N) / SAMPLE_RATE))]


def _peaks(wave_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frames and bins of the peaks, by rising frame, then bin."""
    if len(wave_N) < 2 * WINDOW or not np.any(wave_N):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    hz_F, _, spectrum_FT = stft(wave_N, SAMPLE_RATE, "hann", WINDOW, WINDOW - HOP, boundary=None, padded=False)
    inside = (hz_F >= LOW_HZ) & (hz_F <= HIGH_HZ)
    level_FT = 20 * np.log10(np.abs(spectrum_FT[inside]) + 1e-9)
    largest_FT = maximum_filter(level_FT, (2 * PEAK_BINS + 1, 2 * PEAK_FRAMES + 1), mode="constant", cval=-np.inf)
    peaks_FT = (level_FT == largest_FT) & (level_FT > level_FT.max() - MAX_BELOW_DB)
    peak_t, peak_f = np.nonzero(peaks_FT.T)
    return peak_t, peak_f


def _triplets(peak_t: np.ndarray, peak_f: np.ndarray) -> np.ndarray:
    """All landmarks of peaks, as `landmarks` packs them, each hash and frame once."""
    count = len(peak_t)
    found = [np.zeros(0, np.uint64)]
    for one in range(1, TARGETS):
        for two in range(one + 1, TARGETS + 1):
            a = np.arange(max(0, count - two))
            b, c = a + one, a + two
            ahead_b, ahead_c = peak_t[b] - peak_t[a], peak_t[c] - peak_t[a]
            near = (ahead_b >= MIN_AHEAD) & (ahead_c <= MAX_AHEAD)
            a, b, c, ahead_b, ahead_c = a[near], b[near], c[near], ahead_b[near], ahead_c[near]
            fields = [peak_f[a] // BINS_PER_STEP, peak_f[b] // BINS_PER_STEP, peak_f[c] // BINS_PER_STEP]
            fields += [ahead_b // FRAMES_PER_STEP, ahead_c // FRAMES_PER_STEP]
            code = np.zeros(len(a), np.uint64)
            for field in fields:
                code = (code << np.uint64(8)) | field.astype(np.uint64)
            found.append(_mixed(code) << np.uint64(TIME_BITS) | (peak_t[a] % FRAMES_MAX).astype(np.uint64))
    return np.unique(np.concatenate(found))


def _mixed(code: np.ndarray) -> np.ndarray:
    """48 bits that look random: the smallest are a fair sample of all. Source: the finaliser of SplitMix64."""
    code = (code ^ (code >> np.uint64(30))) * _MIX_1
    code = (code ^ (code >> np.uint64(27))) * _MIX_2
    return (code ^ (code >> np.uint64(31))) >> np.uint64(TIME_BITS)
