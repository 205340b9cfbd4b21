"""Hostile clients, dead workers and silence: others' streams go on, and the server stays."""

import asyncio
import json
import os
import signal

import aiohttp
import pytest
import serve_attack
import soundfile
from serving import say_it, serving, transcribed, words_of

import asr_kd


@pytest.fixture(scope="module")
def talk(tone_utterances):
    return tone_utterances[0].audio_filepath


@pytest.fixture(scope="module")
def words(trained, talk):
    return transcribed(asr_kd.load(trained / "model", trained / "graph", device="cpu"), talk)


def test_hostile_messages_change_nothing_for_an_honest_stream(trained, talk, capsys):
    options = ["--graph", trained / "graph", "--count", 55, "--connections", 300]
    assert serve_attack.main([str(word) for word in (trained / "model", talk, *options)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert sum(found["sent"].values()) == 55 and len(found["sent"]) == len(serve_attack.KINDS)
    assert found["honest"] >= 1 and found["wrong"] == []


def test_a_dead_worker_costs_its_streams_only_and_another_one_starts(trained, talk, words):
    """Clients of which nothing comes are let go, and files that are too large refused."""
    samples_N = soundfile.read(talk, dtype="int16")[0]
    more = ["--device", "cpu", "--workers", 1, "--idle-s", 4, "--max-upload-mb", 1]

    async def killed(server):
        async with aiohttp.ClientSession() as session:
            async with session.ws_connect(f"{server.url}stream") as ws:
                await ws.send_json({"format": "int16"})
                await ws.send_bytes(samples_N.tobytes())
                await ws.receive()  # a result: the worker has the stream
                (worker,) = server.workers()
                os.kill(worker, signal.SIGKILL)
                told = [json.loads(m.data) async for m in ws][-1]
            while (await session.get(f"{server.url}health")).status != 200:
                await asyncio.sleep(0.1)
            return told, await say_it(session, server.url, samples_N, format="int16")

    async def silent(server):
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{server.url}stream") as ws:
            await ws.send_json({})
            return [json.loads(m.data) async for m in ws], ws.close_code

    async def too_large(server):
        where, body = f"{server.url}transcribe", bytes(2 << 20)
        async with aiohttp.ClientSession() as session, session.post(where, data=body) as response:
            return response.status, (await response.json())["error"]

    with serving(trained / "model", "--graph", trained / "graph", *more) as server:
        told, after = asyncio.run(killed(server))
        assert told == {"type": "error", "message": "the worker process ended. Try again."}
        assert words_of(after) == words
        status, refused = asyncio.run(too_large(server))
        assert status == 413 and refused.startswith("the file is larger than 1 MB")
        assert asyncio.run(silent(server)) == ([{"type": "error", "message": "audio did not come for 4 s"}], 1008)
