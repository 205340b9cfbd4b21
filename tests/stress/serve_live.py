#!/usr/bin/env python3
"""Live streams at once through `asr-kd serve`: how long after its end is the last word there?

    python tests/stress/serve_live.py MODEL AUDIO... [--graph GRAPH] [--scales DIR] [--streams 20] [--seconds 60]

Each stream sends a recording in pieces of 100 ms as they would be spoken, says that it is over, and begins with another
one; streams start at moments of their own. Final latency is from the moment at which the last piece was sent to
the last result; what waits between, network included, counts. The server runs on `--cores` (default: all), the clients
where the system puts them. Prints one line of JSON: median and 95% of the final latency in ms, how late the clients
themselves were, the processor time of server and workers per second of audio, and the time that their work took: more
where the machine does other things too.
"""

import argparse
import asyncio
import json
import os
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "helpers"))
from serving import Server, serving

from asr_kd.corpora.audio import SAMPLE_RATE, read_audio

PIECE_S = 0.1


class Clients:
    """Streams at once."""

    def __init__(self, server: Server, waves: list[np.ndarray], seconds: float) -> None:
        self._server, self._waves, self._seconds = server, waves, seconds
        self.latencies: list[float] = []
        self.behind: list[float] = []
        """How late each piece was sent: the clients' own fault, or that of a server that does not read."""
        self.audio_s = self.work_s = 0.0

    async def run(self, streams: int) -> None:
        """Until the time is over, and every stream has come to its end."""
        async with aiohttp.ClientSession() as session:
            await asyncio.gather(*(self._client(session, random.Random(n)) for n in range(streams)))

    async def _client(self, session: aiohttp.ClientSession, r: random.Random) -> None:
        end = time.monotonic() + self._seconds
        await asyncio.sleep(r.uniform(0, 3))
        while time.monotonic() < end:
            await self._stream(session, r.choice(self._waves))

    async def _stream(self, session: aiohttp.ClientSession, wave_N: np.ndarray) -> None:
        async with session.ws_connect(f"{self._server.url}stream") as ws:
            await ws.send_json({"format": "int16"})
            taking = asyncio.create_task(_last(ws))
            began, piece = time.monotonic(), round(PIECE_S * SAMPLE_RATE)
            for number, start in enumerate(range(0, len(wave_N), piece)):
                due = began + (number + 1) * PIECE_S  # a piece can be sent when it is spoken
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                self.behind.append(time.monotonic() - due)
                await ws.send_bytes(wave_N[start : start + piece].tobytes())
            await ws.send_json({"end": True})
            ended = time.monotonic()
            result, came = await taking
        assert result["type"] == "end", result
        self.latencies.append(came - ended)
        self.audio_s += result["seconds"]
        self.work_s += result["work_s"]


async def _last(ws: aiohttp.ClientWebSocketResponse) -> tuple[dict, float]:
    """The last message, and when it came."""
    result, came = {}, 0.0
    async for message in ws:
        result, came = json.loads(message.data), time.monotonic()
    return result, came


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("audio", nargs="+", type=Path)
    parser.add_argument("--graph")
    parser.add_argument("--scales")
    parser.add_argument("--streams", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--cores", type=int, nargs="+", default=sorted(os.sched_getaffinity(0)))
    options = parser.parse_args(argv)
    more = ["--device", "cpu", "--workers", len(options.cores), "--max-streams", options.streams]
    more += ["--graph", options.graph] if options.graph else []
    more += ["--decoding-scales", options.scales] if options.scales else []
    waves = [np.round(read_audio(path) * 32768).clip(-32768, 32767).astype("<i2") for path in options.audio]
    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, options.cores)  # the server's, which inherits it
    with serving(options.model, *more) as server:
        os.sched_setaffinity(0, everywhere)
        clients = Clients(server, waves, options.seconds)
        used = server.cpu_s()
        asyncio.run(clients.run(options.streams))
        used = server.cpu_s() - used
    found = {
        "streams": options.streams,
        "cores": len(options.cores),
        "utterances": len(clients.latencies),
        "final_latency_ms": {q: round(1000 * float(np.quantile(clients.latencies, q))) for q in (0.5, 0.95, 1.0)},
        "clients_behind_ms": {q: round(1000 * float(np.quantile(clients.behind, q))) for q in (0.5, 0.95, 1.0)},
        "cpu_s_per_audio_s": round(used / clients.audio_s, 4),
        "work_s_per_audio_s": round(clients.work_s / clients.audio_s, 4),
    }
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
