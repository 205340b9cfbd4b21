"""The server's side of its worker processes: streams are spread over them, and what they answer comes back.

All of it belongs to one event loop; two threads for each worker wait for its pipe, so that the loop never does.
"""

import asyncio
import itertools
import multiprocessing
import os
import queue
import threading
import time
from collections.abc import AsyncIterator, Sequence
from multiprocessing.connection import Connection
from typing import Literal

import numpy as np

from asr_kd.core.terminal import say
from asr_kd.serve.protocol import Refusal
from asr_kd.serve.worker import Ready, Reply, Request, ServedModel, work

PIECE_S = 0.25
"""Seconds of audio that a worker gets at once: how long a client that sends much keeps others waiting."""
MAX_PIECES_AHEAD = 2
"""Pieces of a stream that its worker has not answered; then no more of the client's audio is read."""


class WorkerStream:
    """One stream of audio."""

    def __init__(self, worker: "_Worker", number: int, rate: int) -> None:
        self._worker, self._number, self._rate = worker, number, rate
        self._free = asyncio.Semaphore(MAX_PIECES_AHEAD)
        self._replies: asyncio.Queue[Reply] = asyncio.Queue()
        self._is_over, self._failure = False, ""
        worker.send(Request(number, "open", rate=rate))

    async def accept(self, wave_N: np.ndarray) -> None:
        """Give samples; waits while the worker is behind. Refusal when the stream is over."""
        piece = max(1, round(PIECE_S * self._rate))
        for start in range(0, len(wave_N), piece):
            await self._free.acquire()
            if self._is_over:
                raise Refusal(500, self._failure or "the stream is over")
            self._ask("audio", wave_N[start : start + piece])

    def end(self) -> None:
        """No more samples come."""
        self._ask("end")

    async def replies(self) -> AsyncIterator[Reply]:
        """The answers, up to the last one. Refusal where the stream failed."""
        while True:
            reply = await self._replies.get()
            if reply.error is not None:
                raise Refusal(500, reply.error)
            yield reply
            if reply.is_last:
                return

    def close(self) -> None:
        """Forget the stream, whether or not it is over."""
        self._worker.streams.pop(self._number, None)
        if not self._is_over:
            self._ask("drop")
            self._is_over = True
            self._free.release()

    def answered(self, reply: Reply) -> None:
        """An answer has come."""
        self._is_over, self._failure = reply.is_last, reply.error or ""
        self._free.release()
        self._replies.put_nowait(reply)

    def _ask(self, kind: Literal["audio", "end", "drop"], wave_N: np.ndarray | None = None) -> None:
        if not self._is_over:
            self._worker.send(Request(self._number, kind, wave_N=wave_N, asked_at=time.monotonic()))


class _Worker:
    """One process; when it dies, its streams fail and it is started anew."""

    def __init__(self, model: ServedModel) -> None:
        self.model = model
        self.streams: dict[int, WorkerStream] = {}
        self.is_closing = False
        self._loop = asyncio.get_running_loop()
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["asr_kd.serve.worker"])
        self._pipe, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(self.model, theirs, dict(os.environ)), daemon=True)
        self.process.start()
        theirs.close()
        self.ready: asyncio.Future[Ready] = self._loop.create_future()
        self._requests: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        for target in (self._read, self._write):
            threading.Thread(target=target, args=(self._pipe, self._requests), daemon=True).start()

    @property
    def is_ready(self) -> bool:
        """Whether it takes streams."""
        return self.ready.done() and self.ready.result().error is None

    def send(self, request: Request) -> None:
        """Does not wait."""
        self._requests.put(request)

    def close(self) -> None:
        """End it at once."""
        self.is_closing = True
        self.process.kill()
        self.process.join()

    def _write(self, pipe: Connection, requests: queue.SimpleQueue[Request | None]) -> None:
        while (request := requests.get()) is not None:
            try:
                pipe.send(request)
            except OSError:  # it has died, which the reader sees too
                return

    def _read(self, pipe: Connection, requests: queue.SimpleQueue[Request | None]) -> None:
        try:
            while True:
                self._loop.call_soon_threadsafe(self._received, pipe.recv())
        except (EOFError, OSError):
            requests.put(None)
        except RuntimeError:  # the loop is closed
            return
        if not self.is_closing:
            self._loop.call_soon_threadsafe(self._died)

    def _received(self, message: Ready | Reply) -> None:
        if isinstance(message, Ready):
            self.ready.set_result(message)
        elif (stream := self.streams.get(message.stream)) is not None:
            stream.answered(message)

    def _died(self) -> None:
        if self.is_closing:
            return
        self.process.join()
        self._pipe.close()
        if not self.is_ready:
            if not self.ready.done():
                self.ready.set_result(Ready(error="a worker ended while it loaded the model. Is there enough memory?"))
            return
        for number, stream in list(self.streams.items()):
            stream.answered(Reply(number, error="the worker process ended. Try again.", is_last=True))
        say(f"serve: a worker of {self.model.name} ended with exit code {self.process.exitcode}; another one starts")
        self._start()


class Workers:
    """Worker processes of all models that are served."""

    def __init__(self, models: Sequence[tuple[ServedModel, int]]) -> None:
        """models: and how many workers each has. They load in parallel; `ready` waits for them."""
        self._workers = [_Worker(model) for model, count in models for _ in range(count)]
        self._numbers = itertools.count()
        self.is_live: dict[str, bool] = {}
        """Of each model: whether it answers while audio is coming in."""

    async def ready(self) -> None:
        """ValueError when a model cannot be loaded."""
        for worker in self._workers:
            found = await worker.ready
            if found.error is not None:
                raise ValueError(found.error)
            self.is_live[worker.model.name] = found.is_live

    @property
    def are_ready(self) -> bool:
        """Whether each model has a worker that takes streams."""
        return {w.model.name for w in self._workers if w.is_ready} == self.is_live.keys()

    def open(self, model: str | None, rate: int) -> WorkerStream:
        """A stream on the worker that has the fewest. model: None is the first. Refusal when there is none."""
        name = next(iter(self.is_live)) if model is None else model
        if name not in self.is_live:
            raise Refusal(404, f"model {name!r:.40} is not served; these are: {', '.join(self.is_live)}")
        ready = [worker for worker in self._workers if worker.model.name == name and worker.is_ready]
        if not ready:
            raise Refusal(503, f"model {name} is being loaded again. Try again in a moment.")
        worker, number = min(ready, key=lambda worker: len(worker.streams)), next(self._numbers)
        stream = worker.streams[number] = WorkerStream(worker, number, rate)
        return stream

    def close(self) -> None:
        """End them at once."""
        for worker in self._workers:
            worker.close()
