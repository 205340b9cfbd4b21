"""Where the voices speak: simulated rooms, noises and levels. Waves are float64 (N,), 16 kHz."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.fft import next_fast_len
from scipy.signal import fftconvolve

SAMPLE_RATE = 16_000
ACTIVE_RANGE_DB = 30.0
"""Speech is measured over the frames that are at most this far below the loudest one."""
SENSOR_SNR_DB = 50.0
"""A clean recording still has a microphone's own noise, this far below the speech."""
PEAK = 0.95
DIRECT_TO_FIRST_REFLECTION_S = (0.002, 0.010)


@dataclass(frozen=True)
class Scene:
    """The conditions of one recording."""

    snr: float | None
    """Speech over noise in dB, both broadband, speech measured where it is active; None = clean."""
    noise: str | None
    """A key of NOISES or `babble`; None when clean."""
    rt60: float
    """Reverberation time in seconds; 0 = no room."""
    drr_db: float | None
    """Direct sound over reverberation, in dB; None without a room."""
    level_db: float
    """RMS of the active speech, dB below full scale (negative)."""


@dataclass(frozen=True)
class SceneMix:
    """How often which conditions occur."""

    snr_shares: dict[float | None, float]
    """SNR in dB (None = clean) to its share."""
    near_share: float
    """Share of recordings without a room: a microphone close to the mouth."""
    rt60: tuple[float, float] = (0.2, 0.6)
    drr_db: tuple[float, float] = (0.0, 12.0)
    level_db: tuple[float, float] = (-34.0, -20.0)

    def draw(self, rng: np.random.Generator) -> Scene:
        """Draw the conditions of one recording."""
        snrs = list(self.snr_shares)
        return self.draw_at(snrs[rng.choice(len(snrs), p=list(self.snr_shares.values()))], rng)

    def draw_at(self, snr: float | None, rng: np.random.Generator) -> Scene:
        """Draw the conditions other than `snr`."""
        noise = str(rng.choice([*NOISES, "babble"]))
        near = rng.random() < self.near_share
        rt60, drr_db, level_db = (round(float(rng.uniform(*r)), 2) for r in (self.rt60, self.drr_db, self.level_db))
        return Scene(snr, None if snr is None else noise, 0.0 if near else rt60, None if near else drr_db, level_db)


def record(speech_N: np.ndarray, noise_N: np.ndarray | None, scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """`speech_N` as a microphone in `scene` gets it: int16 (N,), as long as `speech_N`.

    noise_N: noise of at least that length at any level, None when the scene is clean.
    """
    if scene.drr_db is not None:
        impulse = room_impulse(scene.rt60, scene.drr_db, rng)
        speech_N = fftconvolve(speech_N, impulse)[: len(speech_N)]
    speech_N = speech_N * 10 ** (scene.level_db / 20) / np.sqrt(active_power(speech_N))
    if scene.snr is None or noise_N is None:
        noise_N, snr = rng.standard_normal(len(speech_N)), SENSOR_SNR_DB
    else:
        noise_N, snr = noise_N[: len(speech_N)], scene.snr
    noise_power = 10 ** ((scene.level_db - snr) / 10)
    wave_N = speech_N + noise_N * np.sqrt(noise_power / np.mean(noise_N**2))
    wave_N *= min(1.0, PEAK / np.abs(wave_N).max())
    return np.round(wave_N * 32767).astype(np.int16)


def active_power(wave_N: np.ndarray) -> float:
    """Mean square over the 20 ms frames within ACTIVE_RANGE_DB of the loudest frame."""
    frame = SAMPLE_RATE // 50
    powers = np.mean(wave_N[: len(wave_N) // frame * frame].reshape(-1, frame) ** 2, axis=1)
    return float(powers[powers > powers.max() * 10 ** (-ACTIVE_RANGE_DB / 10)].mean())


def room_impulse(rt60: float, drr_db: float, rng: np.random.Generator) -> np.ndarray:
    """Polack's model of a room: the direct sound (1 at sample 0), then white noise that decays by 60 dB in `rt60` s.

    Returns (N,); the energy of the decaying part is `drr_db` below the direct sound's.
    """
    start = int(rng.uniform(*DIRECT_TO_FIRST_REFLECTION_S) * SAMPLE_RATE)
    t_N = np.arange(int(rt60 * SAMPLE_RATE)) / SAMPLE_RATE
    tail_N = rng.standard_normal(len(t_N)) * 10 ** (-3 * t_N / rt60)
    tail_N *= np.sqrt(10 ** (-drr_db / 10) / np.sum(tail_N**2))
    return np.concatenate([[1.0], np.zeros(start), tail_N])


def coloured_noise(samples: int, rng: np.random.Generator) -> np.ndarray:
    """Noise whose power falls as 1/f^a, a drawn between white (0) and somewhat steeper than pink (1.2)."""
    return _shaped(samples, lambda f: np.maximum(f, 20.0) ** (-rng.uniform(0, 1.2) / 2), rng)


def hum(samples: int, rng: np.random.Generator) -> np.ndarray:
    """Mains hum: 50 or 60 Hz and its harmonics up to 2 kHz, over a little pink noise."""
    mains = float(rng.choice([50.0, 60.0])) * rng.uniform(0.998, 1.002)
    tones_N = _harmonics(samples, mains, int(2000 / mains), 0.7, rng)
    pink_N = _shaped(samples, lambda f: np.maximum(f, 20.0) ** -0.5, rng)
    return tones_N / tones_N.std() + 0.4 * pink_N / pink_N.std()


def appliance(samples: int, rng: np.random.Generator) -> np.ndarray:
    """A motor and its air: band noise that swells with the rotation, and the motor's tones."""
    centre, width = rng.uniform(300, 2500), rng.uniform(1.0, 2.0)
    air_N = _shaped(samples, lambda f: np.exp(-0.5 * (np.log2(np.maximum(f, 20.0) / centre) / width) ** 2), rng)
    t_N = np.arange(samples) / SAMPLE_RATE
    swell_N = 1 + rng.uniform(0.1, 0.6) * np.sin(2 * np.pi * (rng.uniform(1, 12) * t_N + rng.random()))
    motor_N = _harmonics(samples, rng.uniform(80, 350), 8, 1.0, rng)
    return swell_N * air_N / air_N.std() + rng.uniform(0.1, 0.6) * motor_N / motor_N.std()


NOISES: dict[str, Callable[[int, np.random.Generator], np.ndarray]] = {
    "coloured": coloured_noise,
    "hum": hum,
    "appliance": appliance,
}
"""Noises that are made from a number of samples and a generator."""


def _shaped(samples: int, amplitude: Callable[[np.ndarray], np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """White noise filtered to `amplitude` over frequencies in Hz."""
    fast = next_fast_len(samples, real=True)
    spectrum = np.fft.rfft(rng.standard_normal(fast))
    return np.fft.irfft(spectrum * amplitude(np.fft.rfftfreq(fast, 1 / SAMPLE_RATE)), fast)[:samples]


def _harmonics(samples: int, base_hz: float, count: int, slope: float, rng: np.random.Generator) -> np.ndarray:
    """`count` harmonics of `base_hz`, of random phase, their amplitudes around 1/k^slope."""
    k_K = np.arange(1, count + 1)
    weights_K = rng.uniform(0.3, 1, count) / k_K**slope * np.exp(2j * np.pi * rng.random(count))
    base_N = np.exp(2j * np.pi * base_hz / SAMPLE_RATE * np.arange(samples))
    return np.polyval([*weights_K[::-1], 0], base_N).real
