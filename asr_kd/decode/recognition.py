"""A recording of any length while it is recognised: its utterances as they end, and how long the work takes."""

import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy as np

from asr_kd.corpora.audio import SAMPLE_RATE
from asr_kd.decode.transcriber import Transcriber
from asr_kd.transcripts.formats import Recording
from asr_kd.transcripts.recognised import Transcript


class Recognition:
    """`recording` gives its utterances while the blocks of audio are read."""

    def __init__(
        self,
        transcriber: Transcriber,
        name: str,
        blocks: Iterable[np.ndarray],
        on_block: Callable[[float, list[str]], None] = lambda seconds, partial: None,
    ) -> None:
        """blocks: of 16 kHz mono float32.  on_block: called after each with its seconds and the words of the utterance
        that is not over."""
        self.recording = Recording(name, self._utterances(transcriber, blocks, on_block), 0.0)
        self.work_s = 0.0
        """Of the front end, the model and the search; waiting for audio is not counted."""

    @property
    def real_time_factor(self) -> float:
        """Seconds of work per second of audio so far."""
        return self.work_s / max(self.recording.seconds, 1e-9)

    def _utterances(
        self, transcriber: Transcriber, blocks: Iterable[np.ndarray], on_block: Callable[[float, list[str]], None]
    ) -> Iterator[Transcript]:
        stream = transcriber.stream()
        for wave_N in blocks:
            ended = self._timed(partial(stream.accept, wave_N))
            seconds = len(wave_N) / SAMPLE_RATE
            self.recording.seconds += seconds
            yield from ended
            on_block(seconds, stream.partial)
        yield from self._timed(stream.finish)

    def _timed(self, work: Callable[[], list[Transcript]]) -> list[Transcript]:
        began = time.perf_counter()
        ended = work()
        self.work_s += time.perf_counter() - began
        return ended
