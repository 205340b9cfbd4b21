"""Audio files of any corpus as the one form used here: 16 kHz, mono, float32 in [-1, 1)."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np

from asr_kd.core.errors import is_system_error
from asr_kd.corpora.audio_file import SLACK_S, Measured, measure_audio, opened_audio, read_opened, read_samples

SAMPLE_RATE = 16_000
SUFFIXES = (
    *(".flac", ".wav", ".WAV", ".sph", ".opus", ".ogg", ".mp3", ".raw"),
    *(".aif", ".aifc", ".aiff", ".au", ".caf", ".mp2", ".nist", ".oga", ".rf64", ".snd", ".voc", ".w64", ".wave"),
)
"""Known audio files, in the order in which they are looked for; `.raw` is headerless 16-bit mono at 16 kHz."""
MAX_CLIPPED = 0.005
"""Share of samples beyond [-1, 1] up to which they are clipped, as lossy codecs make them; more is a wrong scale."""
INT16_SCALE, MIN_INT16_PEAK = 32768.0, 128.0
"""Floats that reach so far are 16-bit integers written as floats, as scientific libraries do."""
MIN_MIXED_ENERGY = 0.1
"""Channels whose mean has less than this share of the energy of independent ones cancel each other."""
RAW_BYTES_PER_SAMPLE = 2


def find_audio(stem: Path) -> Path | None:
    """The audio file called `stem` plus one of SUFFIXES, or None. `stem` is a path without suffix."""
    for suffix in SUFFIXES:
        path = stem.with_name(stem.name + suffix)
        if path.is_file():
            return path
    return None


def audio_seconds(path: Path) -> float:
    """Length in seconds, as counted. ValueError when the file is not readable audio, is empty, or is not as long as its
    header says. OSError when the system fails (`asr_kd.core.errors`)."""
    with opened_file(path) as file:
        return _measured(path, file).seconds


def read_audio(path: str | Path, offset: float = 0.0, duration: float | None = None) -> np.ndarray:
    """A stretch of an audio file, shape (N,), float32, 16 kHz; channels are averaged.

    offset, duration: seconds; None reads to the end. ValueError names the file when it cannot be read, is not as long
    as its header says, ends before the stretch does (beyond rounding), or holds samples that are not numbers. OSError
    when the system fails.
    """
    path = Path(path)
    with opened_file(path) as file:
        measured = _measured(path, file)
        if path.suffix != ".raw":
            wave_NC = read_samples(file, str(path), measured, offset, duration)
        else:
            start, count = measured.stretch(str(path), offset, duration)
            wave_NC = _read_raw(file)[start : start + count, None]
    return to_16k_mono(wave_NC, measured.rate, str(path))


def decode_audio(data: bytes, name: str, seconds: float) -> np.ndarray:
    """The samples of an audio file in memory, as `read_audio` gives them. ValueError when they are not `seconds` long.

    A header that agrees with `seconds` is enough here: more is counted while reading.
    """
    file = io.BytesIO(data)
    with opened_audio(file, name) as f:
        measured = Measured(f.samplerate, f.channels, f.frames)
        agree = abs(measured.seconds - seconds) <= SLACK_S
        wave_NC = read_opened(f, name, measured) if agree else None
        is_pcm = f.subtype.startswith("PCM_")
    if wave_NC is None:
        measured = measure_audio(file, name)
        if abs(measured.seconds - seconds) > SLACK_S:
            raise ValueError(f"{name}: {measured.seconds:.2f} s of audio, its index says {seconds:.2f} s")
        wave_NC = read_samples(file, name, measured)
    return to_16k_mono(wave_NC, measured.rate, name, is_pcm)


@contextmanager
def opened_file(path: Path) -> Iterator[BinaryIO]:
    """The file for reading. ValueError when there is none; OSError when the system fails."""
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed below
    except OSError as e:
        if is_system_error(e):
            raise
        raise ValueError(f"{path}: {_why_not_opened(path, e)}") from None
    with file:
        yield file


def _why_not_opened(path: Path, error: OSError) -> str:
    if isinstance(error, IsADirectoryError):
        return "a folder, not a file"
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return (
            f"does not exist: a link to {os.readlink(path)}, which is gone" if path.is_symlink() else "does not exist"
        )
    return f"not readable as audio ({error.strerror})"


def _measured(path: Path, file: BinaryIO) -> Measured:
    state = os.fstat(file.fileno())
    return _measured_once(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=64)
def _measured_once(path: Path, size: int, mtime_ns: int) -> Measured:
    """Many utterances of a long recording name the same file."""
    if path.suffix == ".raw":
        measured = Measured(SAMPLE_RATE, 1, size // RAW_BYTES_PER_SAMPLE)
        return measured.checked(str(path))
    with opened_file(path) as file:
        return measure_audio(file, str(path))


def to_16k_mono(wave_NC: np.ndarray, rate: int, name: str, is_pcm: bool = False) -> np.ndarray:
    """One channel of (N, C) float samples, at 16 kHz: (N',) float32. Channels are averaged. `name` is for errors.

    Where they cancel each other, as of opposite phase, the loudest is taken. Floats with the values of 16-bit integers
    are scaled. ValueError where samples are not finite, or so many lie beyond [-1, 1] that nobody knows their scale.
    is_pcm: they were integers, and cannot be either.
    """
    if not is_pcm and not np.isfinite(wave_NC).all():
        raise ValueError(f"{name}: holds samples that are not finite numbers")
    wave_N = wave_NC[:, 0] if wave_NC.shape[1] == 1 else _mixed(wave_NC)
    if not is_pcm:
        wave_N = _scaled(wave_N, name)
    if rate != SAMPLE_RATE:
        import librosa  # slow to import, and most corpora are at 16 kHz

        wave_N = librosa.resample(wave_N, orig_sr=rate, target_sr=SAMPLE_RATE, res_type="soxr_hq")
    return np.ascontiguousarray(wave_N, dtype=np.float32)


def _scaled(wave_N: np.ndarray, name: str) -> np.ndarray:
    """Samples in [-1, 1] but for a few that a lossy codec made larger."""
    peak = float(np.abs(wave_N).max(initial=0.0))
    if peak <= 1 or np.mean(np.abs(wave_N) > 1) <= MAX_CLIPPED:
        return wave_N
    if MIN_INT16_PEAK <= peak <= INT16_SCALE:
        return wave_N / np.float32(INT16_SCALE)
    raise ValueError(f"{name}: samples reach {peak:g} and must lie in [-1, 1]. Scale the audio and write it again.")


def _mixed(wave_NC: np.ndarray) -> np.ndarray:
    """(N,): the mean of the channels, or the loudest where the mean has lost nearly all of their energy."""
    wave_N = wave_NC.mean(axis=1)
    energy_C = np.square(wave_NC, dtype=np.float64).sum(axis=0)
    independent = energy_C.sum() / wave_NC.shape[1] ** 2  # of the mean of independent channels
    if np.square(wave_N, dtype=np.float64).sum() < MIN_MIXED_ENERGY * independent:
        return wave_NC[:, int(energy_C.argmax())]
    return wave_N


def _read_raw(file: BinaryIO) -> np.ndarray:
    """Headerless 16-bit samples. Both byte orders are in circulation (AN4 has either): in the wrong one,
    neighbouring samples of speech jump about, so the smoother reading is the right one."""
    samples = file.read()
    samples = samples[: len(samples) // RAW_BYTES_PER_SAMPLE * RAW_BYTES_PER_SAMPLE]
    readings = [np.frombuffer(samples, dtype=order).astype(np.float32) / INT16_SCALE for order in ("<i2", ">i2")]
    return min(readings, key=lambda wave_N: float(np.abs(np.diff(wave_N)).mean()) if len(wave_N) > 1 else 0.0)
