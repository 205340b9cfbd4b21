"""One client on the WebSocket: its audio goes to a worker, and what the worker answers goes to the client."""

import asyncio
import time
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from asr_kd.corpora.text import joined
from asr_kd.serve.metrics import Metrics
from asr_kd.serve.protocol import Refusal, SampleFormat, Start, check_end, parse_samples, parse_start, plain_error
from asr_kd.serve.workers import WorkerStream
from asr_kd.transcripts.formats import utterance_object
from asr_kd.transcripts.recognised import TIME_DIGITS

START_S = 10.0
"""Seconds until the first message has to be there."""


async def read_start(ws: web.WebSocketResponse) -> Start:
    """The first message. Refusal where it is another or does not come."""
    message = await _receive(ws, START_S, "the first message")
    if message.type is not WSMsgType.TEXT:
        raise Refusal(400, "start: the first message is JSON text, such as {}; samples follow as binary messages")
    return parse_start(message.data)


class Session:
    """A stream that has started."""

    def __init__(
        self, ws: web.WebSocketResponse, stream: WorkerStream, start: Start, idle_s: float, metrics: Metrics
    ) -> None:
        """idle_s: without a message from the client, or with one that it does not take, so many seconds end it."""
        self._ws, self._stream, self._idle_s, self._metrics = ws, stream, idle_s, metrics
        self._rate, self._format = start.rate, start.format
        self._audio_s = self._work_s = 0.0
        self._partial: tuple[str, ...] = ()
        self._reading: asyncio.Task[None] | None = None
        self._close_code = WSCloseCode.OK

    async def run(self) -> None:
        """Until the last result is sent. Refusal for the client's faults; ConnectionError when it has gone."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._reading = tasks.create_task(self._read(self._format))
                tasks.create_task(self._send())
        except BaseExceptionGroup as group:
            raise plain_error(group) from None
        await self._ws.close(code=self._close_code)

    def stop(self) -> None:
        """Take no more audio; what was recognised until now is sent."""
        if self._reading is not None and not self._reading.done():
            self._reading.cancel()
            self._close_code = WSCloseCode.GOING_AWAY
            self._stream.end()

    async def _read(self, format: SampleFormat) -> None:
        while True:
            message = await _receive(self._ws, self._idle_s, "audio")
            if message.type is WSMsgType.TEXT:
                check_end(message.data)
                self._stream.end()
                return
            wave_N = parse_samples(message.data, format)
            await self._stream.accept(wave_N)
            self._audio_s += len(wave_N) / self._rate
            self._metrics.audio_seconds += len(wave_N) / self._rate

    async def _send(self) -> None:
        async for reply in self._stream.replies():
            self._work_s += reply.work_s
            self._metrics.work_seconds += reply.work_s
            for utterance in reply.utterances:
                await self._say("final", utterance_object(utterance))
            if reply.utterances or reply.is_last:
                self._metrics.add_final(time.monotonic() - reply.asked_at)
            if reply.partial != self._partial:
                self._partial = reply.partial
                await self._say("partial", {"text": joined(reply.partial)})
        await self._say("end", {})

    async def _say(self, kind: str, what: dict[str, Any]) -> None:
        so_far = {"seconds": round(self._audio_s, TIME_DIGITS), "work_s": round(self._work_s, TIME_DIGITS)}
        try:
            async with asyncio.timeout(self._idle_s):
                await self._ws.send_json({"type": kind, **what, **so_far})
        except TimeoutError:
            raise ConnectionResetError from None  # it does not take its results


async def _receive(ws: web.WebSocketResponse, seconds: float, what: str) -> Any:
    """The next message that holds data."""
    try:
        async with asyncio.timeout(seconds):
            message = await ws.receive()
    except TimeoutError:
        raise Refusal(408, f"{what} did not come for {seconds:g} s") from None
    if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):  # closed, by the client or for a frame that is none
        raise ConnectionResetError
    return message
