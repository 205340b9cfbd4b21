"""A real `asr-kd serve` and clients of it."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
import numpy as np

from asr_kd.corpora.audio_stream import file_blocks
from asr_kd.decode.recognition import Recognition
from asr_kd.transcripts.formats import formatted


@contextmanager
def serving(*args: object) -> Iterator[str]:
    """A server on a free port: its URL, with a slash at the end. It must end by SIGTERM with exit code 0."""
    words = [sys.executable, "-m", "asr_kd.cli", "serve", *map(str, args), "--port", "0"]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert process.stderr is not None
    try:
        said = ""
        while not (found := re.search(r"serve: (http\S+)", said)):
            line = process.stderr.readline()
            assert line, said
            said += line
        yield found[1]
    finally:
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 0, said
    assert "Traceback" not in said, said


async def say_it(
    session: aiohttp.ClientSession, url: str, wave_N: np.ndarray, piece: int = 1600, **start: object
) -> list[dict]:
    """What the server answers to the samples in pieces, up to its last message."""
    async with session.ws_connect(f"{url}stream") as ws:
        await ws.send_json(start)
        for begin in range(0, len(wave_N), piece):
            await ws.send_bytes(wave_N[begin : begin + piece].tobytes())
        await ws.send_json({"end": True})
        return [json.loads(message.data) async for message in ws]


def words_of(messages: list[dict]) -> list[dict]:
    """The words of the final results."""
    return [word for message in messages if message["type"] == "final" for word in message["words"]]


def transcribed(transcriber, path) -> list[dict]:
    """The words that `asr-kd transcribe --format json` writes."""
    whole = json.loads(formatted("json", Recognition(transcriber, "talk", file_blocks(path)).recording))
    return [word for utterance in whole["utterances"] for word in utterance["words"]]
