"""Noise to add to speech: coloured noise, babble out of other utterances, recordings from a folder."""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.fft
import torch
from torchaudio.functional import resample

from asr_kd.corpora.audio import opened_file
from asr_kd.corpora.audio_file import MAX_SAMPLES, opened_audio
from asr_kd.corpora.walk import files_below

NOISE_SUFFIXES = (".flac", ".mp3", ".ogg", ".opus", ".wav")
CACHE_BYTES = 128 << 20
READ_BLOCK = 1600  # samples; at most so many are lost before a place that does not decode
MAX_SLOPE = 2.0  # 0 is white, 1 pink, 2 brown
BABBLE_VOICES = (3, 7)
QUIET_SAMPLES = 1600  # 0.1 s
ROUNDING = 2**-15 / np.sqrt(12)
"""RMS of what rounding to 16 bits adds."""


def mix(speech_N: np.ndarray, noise_N: np.ndarray, snr_db: float) -> np.ndarray:
    """Speech plus noise at `snr_db`, power of all speech samples to power of all noise samples; speech keeps its level.

    Where either is digital silence no ratio exists, and the speech comes back as it was.
    """
    speech_power, noise_power = _power(speech_N), _power(noise_N)
    if not speech_power or not noise_power:
        return speech_N
    gain = np.sqrt(speech_power / noise_power / 10 ** (snr_db / 10))
    return (speech_N + noise_N * np.float32(gain)).astype(np.float32)


def coloured(samples: int, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise whose power falls as frequency^-slope, the slope drawn between white and brown."""
    size = scipy.fft.next_fast_len(max(samples, 2), real=True)
    slope = rng.uniform(0, MAX_SLOPE)
    bins = size // 2 + 1
    spectrum_S = rng.standard_normal(2 * bins, dtype=np.float32).view(np.complex64)
    spectrum_S *= np.arange(1, bins + 1, dtype=np.float32) ** np.float32(-slope / 2)
    spectrum_S[0] = 0  # no constant part
    return scipy.fft.irfft(spectrum_S, n=size)[:samples]


def babble(waves: Sequence[np.ndarray], row: int, rng: np.random.Generator) -> np.ndarray:
    """A few other utterances of the batch, at equal power, as long as `waves[row]`. At least two waves are needed."""
    samples = len(waves[row])
    others = [w for i, w in enumerate(waves) if i != row and len(w)]
    assert others, "babble needs another utterance"
    noise_N = np.zeros(samples, np.float32)
    for voice in rng.integers(len(others), size=rng.integers(*BABBLE_VOICES, endpoint=True)):
        wave = others[voice]
        noise_N += fit(wave, samples, rng) / np.float32(np.sqrt(_power(wave)) or 1)
    return noise_N


def room_tone(wave_N: np.ndarray, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise with the spectrum and level of the quietest 0.1 s of a wave, and the noise of 16-bit samples: no
    microphone is as silent as zeros."""
    quiet_N = quietest(wave_N)
    size = scipy.fft.next_fast_len(samples + len(quiet_N), real=True)
    spectrum_S = scipy.fft.rfft(rng.standard_normal(size, dtype=np.float32))
    spectrum_S *= scipy.fft.rfft(quiet_N / np.float32(np.sqrt(max(len(quiet_N), 1))), n=size)
    tone_N = scipy.fft.irfft(spectrum_S, n=size)[:samples]
    return tone_N + np.float32(ROUNDING) * rng.standard_normal(samples, dtype=np.float32)


def quietest(wave_N: np.ndarray) -> np.ndarray:
    """The stretch of 0.1 s with the least energy; of a short wave, a quarter."""
    samples = min(QUIET_SAMPLES, len(wave_N) // 4)
    energy_N = np.concatenate([[0.0], np.square(wave_N, dtype=np.float64).cumsum()])
    start = int((energy_N[samples:] - energy_N[: len(energy_N) - samples]).argmin())
    return wave_N[start : start + samples]


def fit(clip_N: np.ndarray, samples: int, rng: np.random.Generator) -> np.ndarray:
    """`samples` samples of the clip from a random one on, the clip repeated as often as needed."""
    start = rng.integers(len(clip_N))
    if start + samples <= len(clip_N):
        return clip_N[start : start + samples]
    return np.resize(np.roll(clip_N, -start), samples)


def _power(wave_N: np.ndarray) -> float:
    return float(np.dot(wave_N, wave_N)) / max(len(wave_N), 1)


class NoiseFiles:
    """The recordings of a folder and all below it; each is read when first drawn, the latest are kept in memory."""

    def __init__(self, folder: str | Path, sample_rate: int, cache_bytes: int = CACHE_BYTES) -> None:
        """ValueError when the folder holds no recordings."""
        self.sample_rate = sample_rate
        self.cache_bytes = cache_bytes
        self.paths = [path for path in files_below(Path(folder)) if path.suffix.lower() in NOISE_SUFFIXES]
        if not self.paths:
            raise ValueError(
                f"{folder}: no recordings ({', '.join(NOISE_SUFFIXES)}). Point augment.noise_dir elsewhere."
            )
        self._cache: OrderedDict[Path, np.ndarray] = OrderedDict()
        self.cached_bytes = 0

    def draw(self, samples: int, rng: np.random.Generator) -> np.ndarray:
        """`samples` samples from a random place of a random recording."""
        return fit(self._load(self.paths[rng.integers(len(self.paths))]), samples, rng)

    def _load(self, path: Path) -> np.ndarray:
        if path in self._cache:
            self._cache.move_to_end(path)
            return self._cache[path]
        clip_N, rate = _read_what_decodes(path)
        if rate != self.sample_rate:
            clip_N = resample(torch.from_numpy(clip_N), rate, self.sample_rate).numpy()
        self._cache[path] = clip_N
        self.cached_bytes += clip_N.nbytes
        while self.cached_bytes > self.cache_bytes and len(self._cache) > 1:
            self.cached_bytes -= self._cache.popitem(last=False)[1].nbytes
        return clip_N


def _read_what_decodes(path: Path) -> tuple[np.ndarray, int]:
    """Samples (N,), channels averaged, and the sample rate.

    libsndfile fails within some Opus files that other decoders play (python-soundfile issue 252; 48 of the 400 in
    ESC-10). What comes before is as good a noise as the whole, so it is kept. ValueError when there is nothing.
    """
    blocks: list[np.ndarray] = []
    try:
        with opened_file(path) as file, opened_audio(file, str(path)) as f:
            rate = f.samplerate
            while len(block_NC := f.read(READ_BLOCK, dtype="float32", always_2d=True)):
                blocks.append(block_NC.mean(axis=1))
                if len(blocks) * READ_BLOCK > MAX_SAMPLES:
                    break
    except ValueError as e:
        if not blocks:
            raise ValueError(f"{e}. Take it out of augment.noise_dir.") from None
    if not blocks:
        raise ValueError(f"{path}: holds no sound. Take it out of augment.noise_dir.")
    clip_N = np.concatenate(blocks)
    if not np.isfinite(clip_N).all():
        raise ValueError(f"{path}: holds samples that are not finite numbers. Take it out of augment.noise_dir.")
    return clip_N, rate
