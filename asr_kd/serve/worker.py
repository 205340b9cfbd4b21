"""A worker process of the server: one model, any number of streams, pieces of audio in the order in which they come."""

import os
import signal
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Literal

import numpy as np

from asr_kd.core.processes import end_with
from asr_kd.core.runtime import set_threads
from asr_kd.core.signal_stack import enable_sigaltstack
from asr_kd.corpora.audio_stream import To16k
from asr_kd.decode.transcriber import Transcriber, load
from asr_kd.transcripts.recognised import Transcript


@dataclass(frozen=True)
class ServedModel:
    """A model as clients may ask for it."""

    name: str
    path: str
    graph: str | None
    scales: str | None
    device: str

    def load(self) -> Transcriber:
        """ValueError when model, graph and scales do not belong together."""
        set_threads(1)
        return load(self.path, self.graph, self.scales, self.device)


@dataclass(frozen=True)
class Request:
    """What a worker is asked to do for a stream."""

    stream: int
    kind: Literal["open", "audio", "end", "drop"]
    rate: int = 0
    """With `open`: of the audio, in Hz."""
    wave_N: np.ndarray | None = None
    """With `audio`: float32, one channel."""
    asked_at: float = 0.0
    """By the clock of the one who asks."""


@dataclass(frozen=True)
class Reply:
    """The answer to `audio` or `end`."""

    stream: int
    utterances: tuple[Transcript, ...] = ()
    """Those that ended."""
    partial: tuple[str, ...] = ()
    """Words of the one that is not over."""
    work_s: float = 0.0
    """Seconds that this took."""
    asked_at: float = 0.0
    """As in the request."""
    is_last: bool = False
    error: str | None = None
    """The stream failed and is closed."""


@dataclass(frozen=True)
class Ready:
    """The first message of a worker."""

    is_live: bool = False
    error: str | None = None
    """The model cannot be loaded."""


class Streams:
    """The streams of a worker."""

    def __init__(self, transcriber: Transcriber) -> None:
        self._transcriber = transcriber
        self._open: dict[int, _Stream] = {}

    def handle(self, request: Request) -> Reply | None:
        """Do what is asked; None where that has no answer. Whatever goes wrong in a stream is that stream's."""
        if request.kind == "drop":
            self._open.pop(request.stream, None)
            return None
        began = time.perf_counter()
        try:
            if request.kind == "open":
                self._open[request.stream] = _Stream(self._transcriber, request.rate)
                return None
            stream = self._open.get(request.stream)
            if stream is None:  # it failed, and its client has not noticed yet
                return None
            utterances, partial = stream.accept(request.wave_N) if request.wave_N is not None else stream.finish()
        except Exception as e:
            self._open.pop(request.stream, None)
            return Reply(request.stream, error=f"recognition failed: {' '.join(str(e).split())}", is_last=True)
        is_last = request.kind == "end"
        if is_last:
            del self._open[request.stream]
        work_s = time.perf_counter() - began
        return Reply(request.stream, tuple(utterances), tuple(partial), work_s, request.asked_at, is_last)


class _Stream:
    def __init__(self, transcriber: Transcriber, rate: int) -> None:
        self._stream, self._to_16k = transcriber.stream(), To16k(rate)

    def accept(self, wave_N: np.ndarray) -> tuple[list[Transcript], list[str]]:
        ended = self._stream.accept(self._to_16k.accept(wave_N))
        return ended, self._stream.partial

    def finish(self) -> tuple[list[Transcript], list[str]]:
        ended = self._stream.accept(self._to_16k.finish())
        return ended + self._stream.finish(), []


def work(model: ServedModel, pipe: Connection, environment: dict[str, str]) -> None:
    """The life of a worker. environment: of the one who started it; the fork server may have an older one."""
    end_with(os.getppid())  # the fork server, which ends with the server
    os.environ.clear()
    os.environ.update(environment)
    enable_sigaltstack()
    for which in (signal.SIGINT, signal.SIGTERM):  # they are for the server, which ends us when its streams are done
        signal.signal(which, signal.SIG_IGN)
    try:
        transcriber = model.load()
    except Exception as e:
        pipe.send(Ready(error=str(e)))
        return
    pipe.send(Ready(transcriber.is_live))
    streams = Streams(transcriber)
    try:
        while True:
            reply = streams.handle(pipe.recv())
            if reply is not None:
                pipe.send(reply)
    except (EOFError, BrokenPipeError, ConnectionResetError):  # the server has ended
        os._exit(0)
