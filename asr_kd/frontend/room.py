"""A simulated room: Polack's model, the direct sound followed by noise that decays exponentially."""

import numpy as np
import scipy.fft

FIRST_REFLECTION_S = 0.0025  # about one metre of detour
DECAY_60_DB = 3 * np.log(10)  # amplitude falls by 10^3 within t60


def polack_response(t60_s: float, drr_db: float, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """An impulse response: 1 at sample 0 (the direct sound), then Gaussian noise that falls by 60 dB in `t60_s`.

    drr_db: energy of the direct sound over that of all reflections.
    Source: Polack, "La transmission de l'energie sonore dans les salles" (1988).
    """
    time_N = np.arange(max(2, round(t60_s * sample_rate)), dtype=np.float32) / np.float32(sample_rate)
    response_N = rng.standard_normal(len(time_N), dtype=np.float32) * np.exp(-DECAY_60_DB / t60_s * time_N)
    response_N[time_N < FIRST_REFLECTION_S] = 0
    energy = float(np.dot(response_N, response_N))
    if energy:
        response_N *= np.sqrt(10 ** (-drr_db / 10) / energy)
    response_N[0] = 1
    return response_N.astype(np.float32)


def reverberate(wave_N: np.ndarray, response_N: np.ndarray) -> np.ndarray:
    """The wave in the room, as long as before: direct sound stays where it was, the tail behind the end is cut."""
    if not len(wave_N):
        return wave_N
    size = scipy.fft.next_fast_len(len(wave_N) + len(response_N) - 1, real=True)
    product_S = scipy.fft.rfft(wave_N, n=size) * scipy.fft.rfft(response_N, n=size)
    return scipy.fft.irfft(product_S, n=size)[: len(wave_N)].astype(np.float32)
