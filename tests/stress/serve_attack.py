#!/usr/bin/env python3
"""Send hostile messages to `asr-kd serve` while an honest client streams:

    python tests/stress/serve_attack.py MODEL AUDIO --graph GRAPH [--count 1000] [--connections 1000] [--seed 0]

First `--connections` connections are opened that say nothing, then `--count` messages of the kinds of `hostile.py` are
sent, some at a time. Wrong is: an honest stream with other words than `asr-kd transcribe`, a server that ends or prints
a traceback, an answer with status 500 or with a line of /etc/passwd, streams that stay open. Prints one line of JSON:
messages by kind, honest streams, what was wrong, and the resident MB of the server's own process before and after;
exit code 1 when something was wrong.
"""

import argparse
import asyncio
import json
import random
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "helpers"))
from hostile import KINDS, Hostile, Messages, Raw
from serving import Server, say_it, serving, transcribed, words_of

import asr_kd
from asr_kd.corpora.audio import read_audio

AT_A_TIME = 8
ANSWER_S = 3.0
"""How long a client waits for an answer to bytes that may have none."""
SECRET = b"root:"
HELD_S = 60.0


class Attack:
    """What was sent, and what was wrong."""

    def __init__(self, server: Server) -> None:
        self.server, self.sent, self.wrong = server, Counter[str](), list[str]()
        self._session = aiohttp.ClientSession()

    async def send(self, kind: str, hostile: Hostile) -> None:
        """One message, or a few that belong together."""
        self.sent[kind] += 1
        try:
            async with asyncio.timeout(HELD_S):
                if isinstance(hostile, Raw):
                    answer = await self._raw(hostile)
                elif isinstance(hostile, Messages):
                    answer = await self._messages(hostile)
                else:
                    url, more = f"{self.server.url}transcribe", {"params": hostile.query, "headers": hostile.headers}
                    async with self._session.post(url, data=hostile.body, **more) as response:
                        answer = b"%d " % response.status + await response.read()
        except (OSError, aiohttp.ClientError):
            return  # the server let it go
        except TimeoutError:
            self.wrong.append(f"{kind}: no answer in {HELD_S:g} s: {hostile!r:.200}")
            return
        if SECRET in answer or answer.startswith(b"500") or b" 500 " in answer[:20] or b"recognition failed" in answer:
            self.wrong.append(f"{kind}: {hostile!r:.200} -> {answer!r:.200}")

    async def _raw(self, raw: Raw) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        try:
            writer.write(raw.data)
            await writer.drain()
            if not raw.waits:
                return b""
            try:
                async with asyncio.timeout(ANSWER_S):
                    return await reader.read(1 << 16)
            except TimeoutError:
                return b""
        finally:
            writer.close()

    async def _messages(self, hostile: Messages) -> bytes:
        async with self._session.ws_connect(f"{self.server.url}stream") as ws:
            for message in hostile.messages:
                if ws.closed:
                    break
                await (ws.send_str(message) if isinstance(message, str) else ws.send_bytes(message))
            return b"".join([str(m.data).encode(errors="replace") async for m in ws])

    async def streams(self) -> int:
        """That the server has open now."""
        async with self._session.get(f"{self.server.url}metrics") as response:
            line = next(x for x in (await response.text()).split("\n") if x.startswith("asr_kd_streams "))
            return int(line.split()[1])

    async def close(self) -> None:
        """Of the client."""
        await self._session.close()


async def attack(server: Server, wave_N: np.ndarray, words: list[dict], options: argparse.Namespace) -> dict:
    """All of it."""
    random_, it, honest, is_over = random.Random(options.seed), Attack(server), 0, asyncio.Event()

    async def stream_on() -> None:
        nonlocal honest
        while honest == 0 or not is_over.is_set():
            async with aiohttp.ClientSession() as session:
                answers = await say_it(session, server.url, wave_N)
            if words_of(answers) != words:
                it.wrong.append(f"honest stream: {answers!r:.500}")
            honest += 1

    async def send_all(messages: list[tuple[str, Hostile]]) -> None:
        while messages:
            await it.send(*messages.pop())

    before = server.resident_mb()
    honestly = asyncio.create_task(stream_on())
    silent = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(options.connections)]
    messages = [(kind.__name__, kind(random_)) for n in range(options.count) for kind in [KINDS[n % len(KINDS)]]]
    await asyncio.gather(*(send_all(messages) for _ in range(AT_A_TIME)))
    is_over.set()
    await honestly
    for _, writer in silent:
        writer.close()
    async with asyncio.timeout(HELD_S):
        while await it.streams():
            await asyncio.sleep(0.1)
    await it.close()
    memory = [before, server.resident_mb()]
    return {"sent": dict(it.sent), "silent": len(silent), "honest": honest, "wrong": it.wrong, "resident_mb": memory}


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("audio")
    parser.add_argument("--graph", required=True)
    for name, default in (("count", 1000), ("connections", 1000), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args(argv)
    words = transcribed(asr_kd.load(options.model, options.graph, device="cpu"), options.audio)
    more = ["--graph", options.graph, "--device", "cpu", "--idle-s", 5, "--max-streams", 2 * AT_A_TIME + 2]
    with serving(options.model, *more) as server:
        found = asyncio.run(attack(server, read_audio(options.audio), words, options))
    print(json.dumps(found))
    return 1 if found["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
