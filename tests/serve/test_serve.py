"""`asr-kd serve`: clients in parallel get the words of `transcribe`, and what the server refuses it says."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import aiohttp
import numpy as np
import pytest
import soundfile
from decoding import run
from encoding import encoded
from serving import say_it, serving, transcribed, words_of

import asr_kd

RATE = 16000


@pytest.fixture(scope="module")
def talk(tone_utterances, tmp_path_factory):
    """A file of several utterances with pauses between them, and its samples."""
    path = tmp_path_factory.mktemp("talk") / "talk.wav"
    pause_N = np.zeros(RATE, np.float32)
    waves = [soundfile.read(u.audio_filepath, dtype="float32")[0] for u in tone_utterances[:4]]
    soundfile.write(path, np.concatenate([part for wave in waves for part in (wave, pause_N)]), RATE, subtype="PCM_16")
    return path, soundfile.read(path, dtype="int16")[0]


@pytest.fixture(scope="module")
def words(trained, talk):
    """What `transcribe` finds in it, by its JSON."""
    found = transcribed(asr_kd.load(trained / "model", trained / "graph", device="cpu"), talk[0])
    assert len(found) > 4
    return found


@pytest.fixture(scope="module")
def url(trained):
    more = ["--teacher", trained / "model", "--device", "cpu", "--workers", 2, "--max-streams", 6, "--idle-s", 20]
    with serving(trained / "model", "--graph", trained / "graph", *more) as server:
        yield server.url


def _float(samples_N):
    return samples_N.astype(np.float32) / 32768


def test_many_clients_at_once_get_the_words_of_transcribe(url, talk, words):
    async def all_of_them():
        async with aiohttp.ClientSession() as session:
            return await asyncio.gather(
                say_it(session, url, talk[1], format="int16"),
                say_it(session, url, talk[1], 77, format="int16", rate=RATE),
                say_it(session, url, _float(talk[1]), 12_345),
                say_it(session, url, _float(talk[1]), model="model"),
                say_it(session, url, _float(talk[1]), model="teacher"),
            )

    for messages in asyncio.run(all_of_them()):
        assert words_of(messages) == words
        assert messages[-1]["type"] == "end" and messages[-1]["seconds"] == round(len(talk[1]) / RATE, 3)
        assert messages[-1]["work_s"] > 0
        shown = [m["text"].split() for m in messages if m["type"] == "partial"]
        assert any(shown) and {word for text in shown for word in text} <= {"AH", "EE", "OH"}


def test_audio_at_other_rates_is_resampled_as_files_are(url, talk, trained, tmp_path):
    twice_N = np.repeat(talk[1], 2)
    soundfile.write(tmp_path / "twice.wav", twice_N, 2 * RATE, subtype="PCM_16")

    async def said():
        async with aiohttp.ClientSession() as session:
            return await say_it(session, url, twice_N, rate=2 * RATE, format="int16")

    transcriber = asr_kd.load(trained / "model", trained / "graph", device="cpu")
    assert words_of(asyncio.run(said())) == transcribed(transcriber, tmp_path / "twice.wav") != []


def test_a_file_is_transcribed_in_every_format(url, talk, words, capsys, trained):
    async def posted(body=None, **query):
        body = body or talk[0].read_bytes()
        async with aiohttp.ClientSession() as s, s.post(f"{url}transcribe", params=query, data=body) as response:
            assert response.status == 200
            return await response.text()

    whole = json.loads(asyncio.run(posted()))
    assert [word for u in whole["utterances"] for word in u["words"]] == words
    m4a = json.loads(asyncio.run(posted(encoded("ipod", "alac", talk[1] / np.float32(32768), RATE))))
    assert [word for u in m4a["utterances"] for word in u["words"]] == words
    assert run("transcribe", trained / "model", talk[0], "--graph", trained / "graph", "--format", "srt") == 0
    assert asyncio.run(posted(format="srt", model="teacher")).split() == capsys.readouterr().out.split()


@pytest.mark.parametrize(
    ("messages", "told", "code"),
    [
        (["[]"], "a JSON object is needed", 1007),
        (["{"], "not valid JSON", 1007),
        ([b"1234"], "the first message is JSON text", 1007),
        (['{"rate": 1}'], "rate is 1", 1007),
        (['{"rate": 1e4}'], "rate is 10000.0", 1007),
        (['{"format": ["float32"]}'], "format is", 1007),
        (['{"colour": 1}'], "'colour' is not known", 1007),
        (['{"model": "/etc/passwd"}'], "'/etc/passwd' is not served; these are: model, teacher", 1008),
        (["{}", b"123"], "3 bytes are not whole samples", 1007),
        (["{}", np.full(9, np.nan, "<f4").tobytes()], "samples reach nan", 1007),
        (["{}", np.full(9, 1000, "<f4").tobytes()], "samples reach 1000", 1007),
        (["{}", "what"], "not valid JSON", 1007),
        (["{}", '{"end": 1}'], "", None),
        (["{}", "{}"], "after the start come samples", 1007),
    ],
)
def test_a_wrong_message_is_answered_with_what_is_wrong(url, messages, told, code):
    async def said():
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{url}stream") as ws:
            for message in messages:
                await (ws.send_str(message) if isinstance(message, str) else ws.send_bytes(message))
            return [json.loads(m.data) async for m in ws], ws.close_code

    answers, closed = asyncio.run(said())
    if code is not None:
        assert answers[-1]["type"] == "error" and told in answers[-1]["message"]
        assert closed == code


def test_files_that_are_no_audio_and_unknown_paths_are_refused(url):
    async def asked():
        async with aiohttp.ClientSession() as session:
            async with session.post(f"{url}transcribe", data=b"not audio at all") as response:
                yield response.status, await response.json()
            async with session.post(f"{url}transcribe?format=exe", data=b"") as response:
                yield response.status, await response.json()
            async with session.get(f"{url}../../etc/passwd") as response:
                yield response.status, await response.json()
            async with session.get(f"{url}page/..%2f..%2fserve.py") as response:
                yield response.status, await response.json()

    async def all_of_them():
        return [answer async for answer in asked()]

    audio, form, path, page = asyncio.run(all_of_them())
    assert audio[0] == 400 and audio[1]["error"].startswith("audio: ")
    assert form[0] == 400 and "'exe' is not known" in form[1]["error"]
    assert path[0] == page[0] == 404


def test_more_streams_than_allowed_are_refused_and_a_place_that_is_free_again_is_given(url, talk, words):
    async def crowded():
        async with aiohttp.ClientSession() as session:
            held = [await session.ws_connect(f"{url}stream") for _ in range(6)]
            for ws in held:
                await ws.send_json({})
                await ws.send_bytes(np.zeros(RATE, "<f4").tobytes())
            while "asr_kd_streams 6" not in await (await session.get(f"{url}metrics")).text():
                pass
            refused = await say_it(session, url, talk[1][:0])
            for ws in held:
                await ws.close()
            while "asr_kd_streams 0" not in await (await session.get(f"{url}metrics")).text():
                pass
            return refused, await say_it(session, url, talk[1], format="int16")

    refused, served = asyncio.run(crowded())
    assert [m["type"] for m in refused] == ["error"] and "the server has its 6 streams" in refused[0]["message"]
    assert words_of(served) == words


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:1"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "evil.example", "Origin": "http://evil.example"}, 403),
        ({"Host": "localhost:1", "Origin": "http://localhost:1"}, 200),
    ],
)
def test_pages_of_other_sites_may_not_use_a_server_of_this_machine(url, headers, status):
    async def asked():
        async with aiohttp.ClientSession(headers=headers) as session:
            async with session.get(f"{url}models") as response:
                seen = response.status
            try:
                async with session.ws_connect(f"{url}stream"):
                    return seen, 200
            except aiohttp.WSServerHandshakeError as e:
                return seen, e.status

    assert asyncio.run(asked()) == (status, status)


def test_the_client_of_the_page_in_docs_works(url, talk, words, tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "serve.md").read_text()
    (tmp_path / "client.py").write_text(text.split("```python\n")[1].split("```")[0])
    command = [sys.executable, tmp_path / "client.py", url, talk[0]]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert said.stdout.split() == [w["word"] for w in words], said.stderr


def test_health_metrics_models_and_the_headers_of_the_page(url):
    async def asked():
        async with aiohttp.ClientSession() as session:
            for path in ("health", "metrics", "models", ""):
                async with session.get(f"{url}{path}") as response:
                    assert response.status == 200
                    yield await response.text(), response.headers

    async def all_of_them():
        return [answer async for answer in asked()]

    health, metrics, models, page = asyncio.run(all_of_them())
    assert json.loads(health[0]) == {"status": "ok", "needs_token": False}
    names = {line.split("{")[0].split(" ")[0] for line in metrics[0].splitlines() if not line.startswith("#")}
    assert {"asr_kd_streams", "asr_kd_streams_total", "asr_kd_work_seconds_total"} < names
    assert [m["name"] for m in json.loads(models[0])] == ["model", "teacher"]
    assert "default-src 'none'" in page[1]["Content-Security-Policy"]


def test_streams_that_run_when_the_server_ends_get_the_words_so_far(trained, talk, words):
    """`serving` checks that the server then ends well. With a token, only those who know it are served."""
    more = ["--device", "cpu", "--workers", 1, "--token", "quite a long secret"]

    async def cut_short(context):
        with context as server:
            url = server.url
            async with aiohttp.ClientSession() as session:
                refused = await say_it(session, url, talk[1][:0], token="another long secret")
                async with session.get(f"{url}models") as response:
                    assert response.status == 401
                async with session.get(f"{url}models", headers={"Authorization": f"Bearer {more[-1]}"}) as response:
                    assert response.status == 200
                ws = await session.ws_connect(f"{url}stream")
                await ws.send_json({"token": more[-1], "format": "int16"})
                for piece_N in np.array_split(talk[1], 4):
                    await ws.send_bytes(piece_N.tobytes())
                first = json.loads((await ws.receive()).data)  # it is at work
                ending = asyncio.get_running_loop().run_in_executor(None, context.__exit__, None, None, None)
                rest = [json.loads(m.data) async for m in ws]
                await ending
                return refused, [first, *rest], ws.close_code

    context = _Once(serving(trained / "model", "--graph", trained / "graph", *more))
    refused, messages, code = asyncio.run(cut_short(context))
    assert [m["type"] for m in refused] == ["error"] and "token" in refused[0]["message"]
    assert messages[-1]["type"] == "end" and code == 1001
    found = [w["word"] for w in words_of(messages)]
    assert found and found == [w["word"] for w in words][: len(found)]


class _Once:
    """A context that may be left before its end."""

    def __init__(self, context):
        self._context, self._left = context, False

    def __enter__(self):
        return self._context.__enter__()

    def __exit__(self, *exc):
        if not self._left:
            self._left = True
            self._context.__exit__(*exc)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--host", "0.0.0.0"], "--host 0.0.0.0: others can reach it"),
        (["--token", "short"], "--token: 5 characters can be guessed"),
        (["--max-streams", 0], "--max-streams 0: must be above 0"),
        (["--teacher-scales", "x"], "--teacher-scales: is for --teacher"),
        ([], "says no words without a graph"),
    ],
)
def test_options_that_do_not_fit_are_refused(trained, options, told, capsys):
    assert run("serve", trained / "model", "--device", "cpu", "--workers", 1, *options) == 2
    assert told in capsys.readouterr().err
