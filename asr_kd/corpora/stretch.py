"""A stretch of an audio file, of seconds or of hours, block by block."""

from collections.abc import Iterator

import numpy as np

from asr_kd.corpora.audio import SAMPLE_RATE, read_audio
from asr_kd.corpora.audio_file import SLACK_S
from asr_kd.corpora.audio_stream import file_blocks

MAX_SEEK_S = 1200.0
"""A stretch up to this length inside a file is read at once, by seeking; before a longer one the file is read."""


def stretch_blocks(audio_filepath: str, offset: float, duration: float) -> Iterator[np.ndarray]:
    """The samples of a stretch in blocks: (N,) float32, 16 kHz.

    offset, duration: seconds.  ValueError as of `read_audio`, which may come only at the end.
    """
    if offset > 0 and duration <= MAX_SEEK_S:
        yield read_audio(audio_filepath, offset, duration)
        return
    first, missing = round(offset * SAMPLE_RATE), round(duration * SAMPLE_RATE)
    for block_N in file_blocks(audio_filepath):
        skipped = min(first, len(block_N))
        first -= skipped
        wanted_N = block_N[skipped : skipped + missing]
        missing -= len(wanted_N)
        if len(wanted_N):
            yield wanted_N
        if not missing:
            return
    if missing > SLACK_S * SAMPLE_RATE:
        there = duration - missing / SAMPLE_RATE
        raise ValueError(
            f"{audio_filepath}: {there:.2f} s of audio from {offset:.2f} s on; {duration:.2f} s are needed"
        )
