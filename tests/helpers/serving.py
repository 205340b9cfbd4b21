"""A real `asr-kd serve` and clients of it."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import aiohttp
import numpy as np

from asr_kd.corpora.audio_stream import file_blocks
from asr_kd.decode.recognition import Recognition
from asr_kd.transcripts.formats import formatted


@dataclass(frozen=True)
class Server:
    """One that runs."""

    url: str
    """With a slash at the end."""
    pid: int

    @property
    def port(self) -> int:
        """On which it listens."""
        return int(self.url.rstrip("/").rpartition(":")[2])

    def workers(self) -> list[int]:
        """Processes that recognise: children of the fork server, which is a child of the server."""
        return [worker for helper in _children(self.pid) for worker in _children(helper)]

    def cpu_s(self) -> float:
        """Processor time of the server and its workers since they started."""
        return sum(_cpu_s(pid) for pid in (self.pid, *self.workers()))

    def resident_mb(self) -> int:
        """Memory of its own process, without the workers."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) // 1024


@contextmanager
def serving(*args: object) -> Iterator[Server]:
    """A server on a free port. It must end by SIGTERM with exit code 0, without a traceback."""
    words = [sys.executable, "-m", "asr_kd.cli", "serve", *map(str, args), "--port", "0"]
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(words, stderr=said, env={**os.environ, "OMP_NUM_THREADS": "1"})
        try:
            while not (found := re.search(r"serve: (http\S+)\n", _text(said))):
                assert process.poll() is None, _text(said)
                time.sleep(0.05)
            yield Server(found[1], process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)
        assert process.returncode == 0, _text(said)
        assert "Traceback" not in _text(said), _text(said)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _text(file: TextIO) -> str:
    file.seek(0)
    return file.read()


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
