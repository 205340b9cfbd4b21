"""Audio with faults, for tests of what finds them."""

import numpy as np
import soxr

RATE = 16000


def upsampled(wave_N: np.ndarray) -> np.ndarray:
    """What 8 kHz leaves of it."""
    return soxr.resample(soxr.resample(wave_N, RATE, 8000), 8000, RATE)


def clipped(wave_N: np.ndarray) -> np.ndarray:
    """Recorded 9 dB too loud."""
    return np.clip(wave_N * 2.8 / np.abs(wave_N).max(), -0.99, 0.99).astype(np.float32)


def with_noise(wave_N: np.ndarray, snr_db: float, seed: int = 0) -> np.ndarray:
    """White noise against the mean power of the loud frames."""
    power_T = wave_N[: len(wave_N) // 320 * 320].reshape(-1, 320).var(axis=1)
    speech = power_T[power_T > 0.01 * np.percentile(power_T, 95)].mean()
    noise_N = np.random.default_rng(seed).standard_normal(len(wave_N)) * np.sqrt(speech / 10 ** (snr_db / 10))
    return (wave_N + noise_N).astype(np.float32)


def tune(seed: int) -> np.ndarray:
    """Chords of decaying harmonics, 12 of them."""
    rng, chords = np.random.default_rng(seed), []
    for _ in range(12):
        seconds_N = np.arange(int(RATE * rng.uniform(0.25, 0.6))) / RATE
        notes = 220 * 2 ** (rng.choice([0, 2, 4, 5, 7, 9, 11, 12], 3) / 12)
        tones = [np.sin(2 * np.pi * hz * h * seconds_N) / h for hz in notes for h in range(1, 6)]
        chords.append(0.05 * np.sum(tones, axis=0) * np.exp(-3 * seconds_N))
    return np.concatenate(chords).astype(np.float32)
