"""Audio files of any corpus as the one form used here: 16 kHz, mono, float32 in [-1, 1).

A path may name audio inside another file, `CONTAINER::MEMBER` (`asr_kd.corpora.containers`).
"""

import io
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np

from asr_kd.core.errors import is_system_error
from asr_kd.corpora.any_audio import measure_audio, read_samples
from asr_kd.corpora.audio_file import SLACK_S, Measured, SampleKind, opened_audio, read_opened, stated
from asr_kd.corpora.containers.names import source_file, split_name
from asr_kd.corpora.containers.opened import opened_member
from asr_kd.corpora.ogg import check_ogg

SAMPLE_RATE = 16_000
FFMPEG_SUFFIXES = (
    *(".m4a", ".aac", ".mp4", ".webm", ".wma", ".amr", ".3gp", ".ac3", ".adts", ".ape", ".asf", ".avi", ".awb"),
    *(".dsf", ".dts", ".eac3", ".flv", ".m4b", ".m4v", ".mka", ".mkv", ".mov", ".mpc", ".mpeg", ".mpg"),
    *(".qcp", ".ra", ".rm", ".spx", ".tak", ".tta", ".weba", ".wmv", ".wv"),
)
"""Audio, and films with sound, that FFmpeg decodes (extra `formats`)."""
SUFFIXES = (
    *(".flac", ".wav", ".WAV", ".sph", ".opus", ".ogg", ".mp3", ".raw"),
    *(".aif", ".aifc", ".aiff", ".au", ".caf", ".mp2", ".nist", ".oga", ".rf64", ".snd", ".voc", ".w64", ".wave"),
    *FFMPEG_SUFFIXES,
)
"""Known audio files, in the order in which they are looked for; `.raw` is headerless 16-bit mono at 16 kHz."""
MAX_CLIPPED = 0.005
"""Share of samples beyond [-1, 1] up to which they are clipped, as lossy codecs make them; more is a wrong scale."""
MAX_OVERSHOOT = 8.0
"""What lossy codecs may make of samples at full scale: Opus makes 3.6 of a recording that was clipped at an eighth."""
INT16_SCALE, MIN_INT16_PEAK = 32768.0, 128.0
"""Floats that reach so far are 16-bit integers written as floats, as scientific libraries do."""
MIN_MIXED_ENERGY = 0.1
"""Channels whose mean has less than this share of the energy of independent ones cancel each other."""
RAW_BYTES_PER_SAMPLE = 2
RAW_HEAD_BYTES = 1 << 22
"""Two minutes are enough to tell their byte order."""


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
        return measured_file(path, file).seconds


def read_audio(path: str | Path, offset: float = 0.0, duration: float | None = None) -> np.ndarray:
    """A stretch of an audio file, shape (N,), float32, 16 kHz; channels are averaged.

    offset, duration: seconds; None reads to the end. ValueError names the file when it cannot be read, is not as long
    as its header says, ends before the stretch does (beyond rounding), or holds samples that are not numbers. OSError
    when the system fails.
    """
    path = Path(path)
    with opened_file(path) as file:
        measured = measured_file(path, file)
        if path.suffix != ".raw":
            wave_NC = read_samples(file, str(path), measured, offset, duration)
        else:
            start, count = measured.stretch(str(path), offset, duration)
            wave_NC = _read_raw(file)[start : start + count, None]
    return to_16k_mono(wave_NC, measured.rate, str(path), measured.kind)


def decode_audio(data: bytes, name: str, seconds: float) -> np.ndarray:
    """The samples of an audio file in memory, as `read_audio` gives them. ValueError when they are not `seconds` long.

    A header that agrees with `seconds` is enough here: more is counted while reading.
    """
    file = io.BytesIO(data)
    wave_NC: np.ndarray | None = None
    with suppress(ValueError), opened_audio(file, name) as f:  # what is wrong is said below, or FFmpeg reads it
        measured = stated(f)
        is_whole = f.format != "OGG" or check_ogg(file, name, len(data))
        agree = is_whole and abs(measured.seconds - seconds) <= SLACK_S
        wave_NC = read_opened(f, name, measured) if agree else None
    if wave_NC is None:
        measured = measure_audio(file, name)
        if abs(measured.seconds - seconds) > SLACK_S:
            raise ValueError(f"{name}: {measured.seconds:.2f} s of audio, its index says {seconds:.2f} s")
        wave_NC = read_samples(file, name, measured)
    return to_16k_mono(wave_NC, measured.rate, name, measured.kind)


@contextmanager
def opened_file(path: Path) -> Iterator[BinaryIO]:
    """The file, or the member of a container, for reading. ValueError when there is none; OSError when the system
    fails."""
    inside = split_name(path)
    if inside is not None:
        with opened_member(inside) as member:
            yield member
        return
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


def measured_file(path: Path, file: BinaryIO) -> Measured:
    """What the file at `path`, opened, holds. ValueError as of `measure_audio`."""
    source = source_file(path)
    state = os.fstat(file.fileno()) if source == str(path) else os.stat(source)
    return _measured_once(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=64)
def _measured_once(path: Path, size: int, mtime_ns: int) -> Measured:
    """Many utterances of a long recording name the same file."""
    with opened_file(path) as file:
        if path.suffix != ".raw":
            return measure_audio(file, str(path))
        samples = file.seek(0, os.SEEK_END) // RAW_BYTES_PER_SAMPLE
        return Measured(SAMPLE_RATE, 1, samples, kind="integer").checked(str(path))


def to_16k_mono(wave_NC: np.ndarray, rate: int, name: str, kind: SampleKind = "float") -> np.ndarray:
    """One channel of (N, C) float samples, at 16 kHz: (N',) float32. Channels are averaged. `name` is for errors.

    Where they cancel each other, as of opposite phase, the loudest is taken. Floats with the values of 16-bit integers
    are scaled. ValueError where samples are not finite, or so many lie beyond [-1, 1] that nobody knows their scale.
    kind: integers cannot be either; what a lossy codec makes may be larger than 1 wherever the recording is loud.
    """
    levels = Levels(wave_NC.shape[1], kind)
    levels.add(wave_NC, name)
    wave_N = levels.to_mono(wave_NC, name)
    if rate != SAMPLE_RATE:
        wave_N = _resampled(wave_N, rate)
    return np.ascontiguousarray(wave_N, dtype=np.float32)


def _resampled(wave_N: np.ndarray, rate: int) -> np.ndarray:
    """At 16 kHz: the samples of `librosa.resample(..., res_type="soxr_hq")`, without its two seconds of importing."""
    import soxr

    count = math.ceil(len(wave_N) * (float(SAMPLE_RATE) / rate))
    resampled_N = soxr.resample(wave_N, rate, SAMPLE_RATE, quality="soxr_hq")[:count]
    return np.pad(resampled_N, (0, count - len(resampled_N)))


class Levels:
    """What all samples of a recording together decide: how its channels are mixed, and on which scale they are."""

    def __init__(self, channels: int, kind: SampleKind) -> None:
        """kind: of integers, the scale is known."""
        self._channels, self._kind = channels, kind
        self._samples = 0
        mixes = 1 if channels == 1 else channels + 1  # the mean, then each alone
        self._energy_M = np.zeros(mixes)
        self._peak_M = np.zeros(mixes)
        self._beyond_M = np.zeros(mixes, dtype=np.int64)

    @property
    def is_decided(self) -> bool:
        """Whether no sample can change anything."""
        return self._kind == "integer" and self._channels == 1

    def add(self, wave_NC: np.ndarray, name: str) -> None:
        """Look at samples. ValueError where they are not finite."""
        if self.is_decided:
            return
        self._samples += len(wave_NC)
        for mix, wave_N in enumerate([wave_NC[:, 0]] if self._channels == 1 else [wave_NC.mean(axis=1), *wave_NC.T]):
            if self._channels > 1:
                self._energy_M[mix] += np.square(wave_N, dtype=np.float64).sum()
            if self._kind != "integer":
                size_N = np.abs(wave_N)
                peak = float(size_N.max(initial=0.0))  # NaN where one sample is
                if not math.isfinite(peak):
                    raise ValueError(f"{name}: holds samples that are not finite numbers")
                self._peak_M[mix] = max(self._peak_M[mix], peak)
                if peak > 1:
                    self._beyond_M[mix] += np.count_nonzero(size_N > 1)

    def to_mono(self, wave_NC: np.ndarray, name: str) -> np.ndarray:
        """(N,) samples in [-1, 1], but for a few that a lossy codec made larger. ValueError as of `to_16k_mono`."""
        mix = self._mix()
        wave_N = wave_NC[:, 0] if self._channels == 1 else wave_NC.mean(axis=1) if mix == 0 else wave_NC[:, mix - 1]
        peak = self._peak_M[mix]
        if (
            peak <= (MAX_OVERSHOOT if self._kind == "codec" else 1)
            or self._beyond_M[mix] <= MAX_CLIPPED * self._samples
        ):
            return wave_N
        if MIN_INT16_PEAK <= peak <= INT16_SCALE:
            return wave_N / np.float32(INT16_SCALE)
        raise ValueError(f"{name}: samples reach {peak:g} and must lie in [-1, 1]. Scale the audio and write it again.")

    def _mix(self) -> int:
        """The mean, or the loudest channel where the mean has lost nearly all of their energy."""
        if self._channels == 1:
            return 0
        energy_C = self._energy_M[1:]
        independent = energy_C.sum() / self._channels**2  # of the mean of independent channels
        return int(energy_C.argmax()) + 1 if self._energy_M[0] < MIN_MIXED_ENERGY * independent else 0


def raw_order(head: bytes) -> str:
    """The byte order of headerless 16-bit samples, as numpy names it. Both are in circulation (AN4 has either): in the
    wrong one, neighbouring samples of speech jump about, so the smoother reading is the right one."""
    head = head[: min(len(head), RAW_HEAD_BYTES) // RAW_BYTES_PER_SAMPLE * RAW_BYTES_PER_SAMPLE]
    if len(head) <= RAW_BYTES_PER_SAMPLE:
        return "<i2"
    return min(
        ("<i2", ">i2"), key=lambda order: float(np.abs(np.diff(np.frombuffer(head, order).astype(np.float32))).mean())
    )


def raw_samples(data: bytes, order: str) -> np.ndarray:
    """(N,) float32 of headerless 16-bit samples; half of one at the end is left out."""
    whole = data[: len(data) // RAW_BYTES_PER_SAMPLE * RAW_BYTES_PER_SAMPLE]
    return np.frombuffer(whole, order).astype(np.float32) / np.float32(INT16_SCALE)


def _read_raw(file: BinaryIO) -> np.ndarray:
    data = file.read()
    return raw_samples(data, raw_order(data))
