"""A recording of any length while it is recognised: its utterances as they end, and how long the work takes."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np

from asr_kd.corpora.audio import SAMPLE_RATE
from asr_kd.corpora.pauses import PauseCutter
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
        on_block: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        """blocks: of 16 kHz mono float32, cut into utterances at pauses.  on_block: gets the seconds of each."""
        self.recording = Recording(name, self._utterances(transcriber, blocks, on_block), 0.0)
        self.work_s = 0.0
        """Of the front end, the model and the search; waiting for audio is not counted."""

    @property
    def real_time_factor(self) -> float:
        """Seconds of work per second of audio so far."""
        return self.work_s / max(self.recording.seconds, 1e-9)

    def _utterances(
        self, transcriber: Transcriber, blocks: Iterable[np.ndarray], on_block: Callable[[float], None]
    ) -> Iterator[Transcript]:
        cutter = PauseCutter()
        for wave_N in blocks:
            seconds = len(wave_N) / SAMPLE_RATE
            self.recording.seconds += seconds
            yield from self._recognised(transcriber, cutter.accept(wave_N))
            on_block(seconds)
        yield from self._recognised(transcriber, cutter.finish())

    def _recognised(self, transcriber: Transcriber, utterances: list[tuple[int, np.ndarray]]) -> Iterator[Transcript]:
        for start, wave_N in utterances:
            began = time.perf_counter()
            found = transcriber.transcribe(wave_N)
            self.work_s += time.perf_counter() - began
            yield _later(found, start / SAMPLE_RATE)


def _later(transcript: Transcript, seconds: float) -> Transcript:
    """The same words, so many seconds later."""
    words = [replace(w, start_s=w.start_s + seconds, end_s=w.end_s + seconds) for w in transcript.words]
    return replace(transcript, words=words)
