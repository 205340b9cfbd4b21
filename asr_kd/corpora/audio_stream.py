"""Audio files of any length, block by block: `asr_kd.corpora.audio` in memory that does not grow with the file."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from asr_kd.corpora.audio import RAW_HEAD_BYTES, SAMPLE_RATE, Levels, measured_file, opened_file, raw_order, raw_samples
from asr_kd.corpora.audio_file import FLOAT_SUBTYPES, Measured, check_float_peak, opened_audio, read_blocks

BLOCK_FRAMES = 1 << 16
"""Samples of each channel that are in memory at once."""


def file_blocks(path: str | Path) -> Iterator[np.ndarray]:
    """All samples of an audio file as `read_audio` gives them, in blocks: (N,) float32, 16 kHz.

    Where the scale or the mix of channels is not known from the header, the file is read twice.
    ValueError as of `read_audio`; that the file is shorter than its header says may show only at the end.
    """
    path = Path(path)
    with opened_file(path) as file:
        if path.suffix == ".raw":
            measured_file(path, file)  # refuses an empty one
            yield from _raw_blocks(file)
        else:
            yield from opened_blocks(file, str(path), measured_file(path, file))


def opened_blocks(file: BinaryIO, name: str, measured: Measured) -> Iterator[np.ndarray]:
    """As `file_blocks`, of a file that was opened and measured; it must be seekable."""
    with opened_audio(file, name) as f:
        subtype = f.subtype
    levels = Levels(measured.channels, subtype.startswith("PCM_"))
    if not levels.is_decided:
        peak = 0.0
        for wave_NC in read_blocks(file, name, measured, BLOCK_FRAMES):
            levels.add(wave_NC, name)
            peak = max(peak, float(np.abs(wave_NC).max()))
        if subtype in FLOAT_SUBTYPES:
            check_float_peak(name, peak)
    blocks = read_blocks(file, name, measured, BLOCK_FRAMES)
    yield from at_16k((levels.to_mono(wave_NC, name) for wave_NC in blocks), measured.rate)


def at_16k(blocks: Iterable[np.ndarray], rate: int) -> Iterator[np.ndarray]:
    """Blocks of samples at `rate`, resampled as if they were one: the same samples however they are cut."""
    if rate == SAMPLE_RATE:
        yield from (np.ascontiguousarray(wave_N, dtype=np.float32) for wave_N in blocks)
        return
    import soxr

    resampler = soxr.ResampleStream(rate, SAMPLE_RATE, num_channels=1, dtype="float32", quality="HQ")
    for wave_N in blocks:
        yield resampler.resample_chunk(np.ascontiguousarray(wave_N, dtype=np.float32))
    yield resampler.resample_chunk(np.zeros(0, dtype=np.float32), last=True)


def _raw_blocks(file: BinaryIO) -> Iterator[np.ndarray]:
    order = raw_order(file.read(RAW_HEAD_BYTES))
    file.seek(0)
    while data := file.read(2 * BLOCK_FRAMES):
        yield raw_samples(data, order)
