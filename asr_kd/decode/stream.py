"""Recognition of audio that is still coming in, for as long as it comes: partial results, and utterances as they end.

Audio is worked on in blocks of the size that the model wants, however it is fed, so the words are the same bits for
pieces of any size. An utterance ends at a pause (`EndPoints`). Each one begins with a new front end, model state and
search, shortly before its first word: models are trained on utterances, and miss what follows when they hear more
silence than those begin with.
Memory is that of one utterance.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from torch import Tensor

from asr_kd.corpora.audio import SAMPLE_RATE
from asr_kd.corpora.pauses import PauseCutter
from asr_kd.decode.utterance_search import UtteranceSearch
from asr_kd.frontend.streaming import StreamingFrontEnd
from asr_kd.inventory.inventory import Inventory
from asr_kd.inventory.tokens import Tokens
from asr_kd.models.streaming import FrameStream
from asr_kd.transcripts.recognised import Transcript


@dataclass(frozen=True)
class EndPoints:
    """Where an utterance is over; the idea is that of Kaldi's online decoder (OnlineEndpointConfig)."""

    silence_s: float = 0.8
    """After speech, so many seconds of silence end it."""
    long_s: float = 15.0
    """From this length on, `short_silence_s` are enough."""
    short_silence_s: float = 0.2
    """Seconds of silence that end a long utterance."""
    most_s: float = 30.0
    """No utterance is longer: without a pause it is cut, maybe in a word."""
    waiting_s: float = 0.2
    """So many seconds of silence before the first sound are not part of the utterance."""
    lead_s: float = 0.05
    """An utterance begins with up to so many seconds of the silence before it."""

    def __post_init__(self) -> None:
        if not 0 <= self.lead_s < min(self.waiting_s, self.silence_s) or self.most_s <= 0:
            raise ValueError(
                f"end points: lead_s {self.lead_s} must be below waiting_s {self.waiting_s} and silence_s "
                f"{self.silence_s}, and most_s {self.most_s} above 0"
            )

    def is_over(self, seconds: float, silence_s: float, has_speech: bool) -> bool:
        """seconds: since the utterance began. silence_s: at its end."""
        if not has_speech:
            needed_s = self.waiting_s
        else:
            needed_s = self.silence_s if seconds < self.long_s else self.short_silence_s
        return silence_s >= needed_s or seconds >= self.most_s


def default_end_points(inventory: Inventory) -> EndPoints:
    """Of a model with these classes: CTC says a token well behind the begin of its sound, so more must be heard."""
    return EndPoints(lead_s=0.3, waiting_s=0.4) if isinstance(inventory, Tokens) else EndPoints()


class Stream(Protocol):
    """One stream of audio, 16 kHz, mono."""

    @property
    def partial(self) -> list[str]:
        """Words of the utterance that is not over; later audio may change them."""
        ...

    def accept(self, wave_N: np.ndarray) -> list[Transcript]:
        """Utterances that ended. Times are in seconds from the begin of the stream.

        wave_N: float32 in [-1, 1), any number of samples. ValueError when they are not all numbers.
        """
        ...

    def finish(self) -> list[Transcript]:
        """The last utterance, if it has words; the stream is over."""
        ...


class LiveStream:
    """A model that answers while audio comes in."""

    def __init__(
        self,
        new_stream: Callable[[], tuple[StreamingFrontEnd, FrameStream]],
        search: UtteranceSearch,
        end_points: EndPoints | None,
    ) -> None:
        """end_points: None takes the whole stream for one utterance."""
        self._new_stream, self._search = new_stream, search
        self._end_points = end_points
        self._waiting_N = np.empty(0, np.float32)
        self._first_sample = 0
        self._begin()

    def _begin(self) -> None:
        """An utterance begins at `_first_sample`."""
        self._frontend, self._model = self._new_stream()
        self._search.start()
        self._audio: list[np.ndarray] = []
        self._frames = 0
        self.partial: list[str] = []

    def accept(self, wave_N: np.ndarray) -> list[Transcript]:
        """As in `Stream`."""
        self._waiting_N = np.concatenate([self._waiting_N, _checked(wave_N)])
        ended: list[Transcript] = []
        while len(self._waiting_N) >= (block := self._frontend.missing(self._model.wanted)):
            block_N, self._waiting_N = np.split(self._waiting_N, [block])
            ended += self._block(block_N)
        return ended

    def finish(self) -> list[Transcript]:
        """As in `Stream`."""
        self._frames_in(self._frontend.accept(self._waiting_N))
        self._search_in(self._model.finish().numpy())
        self.partial = []
        return self._found(self._end_points is None or self._search.partial().silent_frames < self._frames)

    def _block(self, wave_N: np.ndarray) -> list[Transcript]:
        if self._end_points is not None:
            self._audio.append(wave_N)
        self._frames_in(self._frontend.accept(wave_N))
        found, shift_s = self._search.partial(), self._frontend.frame_samples / SAMPLE_RATE
        self.partial = found.words
        if self._end_points is None:
            return []
        silence_s, length_s = found.silent_frames * shift_s, self._frames * shift_s
        has_speech = found.silent_frames < self._frames  # the words of a graph may come later than their sounds
        if not self._end_points.is_over(length_s, silence_s, has_speech):
            return []
        ended = self._found(has_speech)
        self._go_on(self._frames - min(found.silent_frames, int(self._end_points.lead_s / shift_s)))
        return ended

    def _frames_in(self, x_TF: Tensor) -> None:
        if len(x_TF):
            self._search_in(self._model.accept(x_TF).numpy())

    def _search_in(self, log_p_TC: np.ndarray) -> None:
        if len(log_p_TC):
            self._search.advance(log_p_TC)
            self._frames += len(log_p_TC)

    def _found(self, has_speech: bool) -> list[Transcript]:
        """Of silence alone, a graph without an empty sentence would make words."""
        if not has_speech:
            return []
        found = later(self._search.finish(), self._first_sample / SAMPLE_RATE)
        return [found] if found.words else []

    def _go_on(self, frame: int) -> None:
        """Begin the next utterance with this frame of the last one; the audio since then is recognised again."""
        first = frame * self._frontend.frame_samples
        self._waiting_N = np.concatenate([*self._audio, self._waiting_N])[first:]
        self._first_sample += first
        self._begin()


class CutStream:
    """A model that needs whole utterances: audio is cut at pauses, and each utterance recognised when it is over."""

    partial: list[str]

    def __init__(self, transcriber: "WaveTranscriber") -> None:
        self._transcriber = transcriber
        self._cutter = PauseCutter()
        self.partial = []

    def accept(self, wave_N: np.ndarray) -> list[Transcript]:
        """As in `Stream`."""
        return self._recognised(self._cutter.accept(_checked(wave_N)))

    def finish(self) -> list[Transcript]:
        """As in `Stream`."""
        return self._recognised(self._cutter.finish())

    def _recognised(self, utterances: list[tuple[int, np.ndarray]]) -> list[Transcript]:
        found = [later(self._transcriber.transcribe(wave_N), start / SAMPLE_RATE) for start, wave_N in utterances]
        return [transcript for transcript in found if transcript.words]


class WaveTranscriber(Protocol):
    """What recognises a whole utterance."""

    def transcribe(self, wave: np.ndarray) -> Transcript:
        """wave: 16 kHz, mono."""
        ...


def later(transcript: Transcript, seconds: float) -> Transcript:
    """The same words, so many seconds later."""
    words = [replace(w, start_s=w.start_s + seconds, end_s=w.end_s + seconds) for w in transcript.words]
    return replace(transcript, words=words)


def _checked(wave_N: np.ndarray) -> np.ndarray:
    wave_N = np.asarray(wave_N, dtype=np.float32)
    if wave_N.ndim != 1:
        raise ValueError(f"audio of shape {wave_N.shape}; samples of one channel, (N,), are needed")
    if not np.isfinite(wave_N).all():
        raise ValueError("audio holds samples that are not numbers")
    return wave_N
