"""Audio files that clients send: into a temporary file without a name, and block by block to a worker."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import BinaryIO

from aiohttp import web

from asr_kd.corpora.any_audio import measure_audio
from asr_kd.corpora.audio_stream import opened_blocks
from asr_kd.serve.metrics import Metrics
from asr_kd.serve.protocol import Refusal, plain_error
from asr_kd.serve.workers import WorkerStream
from asr_kd.transcripts.formats import Recording
from asr_kd.transcripts.recognised import Transcript

MAX_HOURS = 4.0
"""Of audio in one file: a small one may hold days of silence."""
NAME = "audio"
"""Of every file, in results and errors: a client's names are nowhere used."""


@asynccontextmanager
async def received(request: web.Request, max_mb: int, idle_s: float) -> AsyncIterator[BinaryIO]:
    """The body of a request as a file. Refusal when it is too large or stops coming."""
    left = max_mb << 20
    with tempfile.TemporaryFile() as file:
        while True:
            try:
                async with asyncio.timeout(idle_s):
                    data = await request.content.readany()
            except TimeoutError:
                raise Refusal(408, f"the file stopped coming for {idle_s:g} s") from None
            if not data:
                break
            left -= len(data)
            if left < 0:
                raise Refusal(413, f"the file is larger than {max_mb} MB. Send it in parts, or through /stream.")
            file.write(data)
        file.seek(0)
        yield file


async def recognise_file(
    file: BinaryIO, stream: WorkerStream, threads: ThreadPoolExecutor, metrics: Metrics
) -> Recording:
    """What is said in it. Refusal where it is no audio, or the stream fails."""
    loop = asyncio.get_running_loop()

    def feed() -> float:
        """In a thread: reading audio takes time. Ends early when the stream is closed."""
        try:
            measured = measure_audio(file, NAME, MAX_HOURS * 3600)
            if measured.seconds > MAX_HOURS * 3600:
                raise Refusal(
                    413, f"{measured.seconds / 3600:.1f} h of audio; at most {MAX_HOURS:g} h are taken at once"
                )
            for wave_N in opened_blocks(file, NAME, measured):
                asyncio.run_coroutine_threadsafe(stream.accept(wave_N), loop).result()
        except Refusal:
            raise
        except ValueError as e:
            raise Refusal(400, str(e)) from None
        loop.call_soon_threadsafe(stream.end)
        return measured.seconds

    async def in_thread() -> float:
        return await loop.run_in_executor(threads, feed)

    async def collect() -> list[Transcript]:
        found: list[Transcript] = []
        async for reply in stream.replies():
            metrics.work_seconds += reply.work_s
            found += reply.utterances
        return found

    try:
        async with asyncio.TaskGroup() as tasks:
            seconds = tasks.create_task(in_thread())
            utterances = tasks.create_task(collect())
    except BaseExceptionGroup as group:
        raise plain_error(group) from None
    metrics.audio_seconds += seconds.result()
    return Recording(NAME, utterances.result(), seconds.result())
