"""Audio files of any length, block by block: `asr_kd.corpora.audio` in memory that does not grow with the file."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from asr_kd.corpora.any_audio import read_blocks
from asr_kd.corpora.audio import RAW_HEAD_BYTES, SAMPLE_RATE, Levels, measured_file, opened_file, raw_order, raw_samples
from asr_kd.corpora.audio_file import Measured, check_float_peak

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
    levels = Levels(measured.channels, measured.kind)
    if not levels.is_decided:
        peak = 0.0
        for wave_NC in read_blocks(file, name, measured, BLOCK_FRAMES):
            levels.add(wave_NC, name)
            peak = max(peak, float(np.abs(wave_NC).max()))
        if measured.kind == "float":
            check_float_peak(name, peak)
    blocks = read_blocks(file, name, measured, BLOCK_FRAMES)
    yield from at_16k((levels.to_mono(wave_NC, name) for wave_NC in blocks), measured.rate)


class To16k:
    """Resamples audio that comes in pieces: the same samples however it is cut."""

    def __init__(self, rate: int) -> None:
        import soxr

        form: dict[str, Any] = {"num_channels": 1, "dtype": "float32", "quality": "HQ"}
        self._resampler = None if rate == SAMPLE_RATE else soxr.ResampleStream(rate, SAMPLE_RATE, **form)

    def accept(self, wave_N: np.ndarray, is_last: bool = False) -> np.ndarray:
        """(N',) float32, 16 kHz."""
        wave_N = np.ascontiguousarray(wave_N, dtype=np.float32)
        return wave_N if self._resampler is None else self._resampler.resample_chunk(wave_N, last=is_last)

    def finish(self) -> np.ndarray:
        """The rest."""
        return self.accept(np.zeros(0, dtype=np.float32), is_last=True)


def at_16k(blocks: Iterable[np.ndarray], rate: int) -> Iterator[np.ndarray]:
    """Blocks of samples at `rate`, resampled as if they were one."""
    to_16k = To16k(rate)
    yield from map(to_16k.accept, blocks)
    yield to_16k.finish()


def _raw_blocks(file: BinaryIO) -> Iterator[np.ndarray]:
    order = raw_order(file.read(RAW_HEAD_BYTES))
    file.seek(0)
    while data := file.read(2 * BLOCK_FRAMES):
        yield raw_samples(data, order)
