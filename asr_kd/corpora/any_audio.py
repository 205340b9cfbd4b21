"""One audio file, whatever decodes it: libsndfile where it knows the format, else FFmpeg (extra `formats`)."""

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from asr_kd.corpora import audio_file, ffmpeg_file
from asr_kd.corpora.audio_file import MAX_FILE_S, Measured, UnknownFormat, opened_audio
from asr_kd.corpora.ffmpeg_container import opened_container
from asr_kd.corpora.ffmpeg_file import FFmpegMeasured, measure_ffmpeg


def measure_audio(file: BinaryIO, name: str, max_s: float = MAX_FILE_S) -> Measured:
    """Rate, channels and length, as counted; what has to be decoded for it is not counted far beyond `max_s`.

    ValueError when the file is not readable audio, holds no samples, is out of bounds, or is longer or shorter than its
    header says.
    """
    try:
        return audio_file.measure_audio(file, name)
    except UnknownFormat:
        pass
    return measure_ffmpeg(file, name, max_s)


def is_audio(file: BinaryIO, name: str) -> bool:
    """Whether the content begins as audio does, damaged or not. Without FFmpeg, what it would know is none."""
    try:
        with opened_audio(file, name):
            return True
    except UnknownFormat:
        pass
    except ValueError:
        return True
    try:
        with opened_container(file, name):
            return True
    except ValueError:
        return False


def read_samples(
    file: BinaryIO, name: str, measured: Measured, offset: float = 0.0, duration: float | None = None
) -> np.ndarray:
    """Samples from `offset` on, `duration` seconds or to the end: (N, channels) float32.

    ValueError when there are fewer (beyond rounding), too many for memory, or some do not decode.
    """
    if isinstance(measured, FFmpegMeasured):
        return ffmpeg_file.read_ffmpeg(file, name, measured, offset, duration)
    return audio_file.read_samples(file, name, measured, offset, duration)


def read_blocks(file: BinaryIO, name: str, measured: Measured, frames: int) -> Iterator[np.ndarray]:
    """All samples, at most `frames` of each channel at once: (N, channels) float32. ValueError as of `read_samples`."""
    if isinstance(measured, FFmpegMeasured):
        return ffmpeg_file.ffmpeg_blocks(file, name, measured, frames)
    return audio_file.read_blocks(file, name, measured, frames)
