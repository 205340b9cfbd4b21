"""The page of `asr-kd export --web` in a real browser: its words are those of `transcribe`."""

import shutil
from dataclasses import asdict

import numpy as np
import pytest
import soundfile
import soxr
import torch
from browser import likeness, open_page, served
from decoding import run
from exporting import random_model
from playwright.sync_api import expect

import asr_kd
from asr_kd.core.files import write_json
from asr_kd.decode.utterance_search import GraphSearch, SearchFactory
from asr_kd.export.export import describe_model
from asr_kd.export.network import StreamingNetwork
from asr_kd.export.web import write_web
from asr_kd.export.web_runtime import runtime_folder
from asr_kd.graph.graph import load_graph
from asr_kd.graph.scales import DecodingScales
from asr_kd.models.checkpoint import load_model
from asr_kd.shards.reader import open_shard

RATE = 16_000
SLOW_MS = 60_000
"""Longer than anything takes on a busy machine."""


@pytest.fixture(scope="module")
def runtime():
    try:
        return runtime_folder(None)
    except ValueError as e:
        pytest.skip(str(e))


SCALES = DecodingScales(acoustic=0.9, prior=0.8, word_insertion_penalty=1.5)


@pytest.fixture(scope="module")
def exported(trained, runtime, tmp_path_factory):
    """Folder of an exported model of senones with its graph; the page is in `web`."""
    out = tmp_path_factory.mktemp("exported")
    scales = tmp_path_factory.mktemp("scales") / "tune.json"
    write_json(scales, asdict(SCALES))
    model = ["export", trained / "model", "--graph", trained / "graph", "--decoding-scales", scales]
    assert run(*model, "--out", out, "--web", out / "web") == 0
    return out


@pytest.fixture(scope="module")
def spelling(runtime, tmp_path_factory):
    """The page of a model that spells, at random."""
    folder = tmp_path_factory.mktemp("spelling")
    model = random_model()
    write_web(folder, StreamingNetwork(model, 4), describe_model(model, 4), None, DecodingScales(), "random", runtime)
    return folder


@pytest.fixture(scope="module")
def talk(tone_shards, tmp_path_factory):
    """Several utterances of tones with pauses between them, begun and ended by one."""
    rng = np.random.default_rng(0)
    pause_N = (0.001 * rng.standard_normal(RATE)).astype(np.float32)
    waves = [shard.audio(row) for shard in map(open_shard, tone_shards) for row in range(len(shard.entries))][:3]
    wave_N = np.concatenate([pause_N, *(part for wave_N in waves for part in (wave_N, pause_N))])
    path = tmp_path_factory.mktemp("talk") / "talk.wav"
    soundfile.write(path, wave_N, RATE, subtype="PCM_16")
    return path


def ready(page, url):
    page.goto(url)
    expect(page.locator("#file")).to_be_enabled(timeout=SLOW_MS)


def drop(page, file):
    page.set_input_files("#file", file)
    expect(page.locator("#status")).to_contain_text("Done", timeout=SLOW_MS)


def utterances(page):
    """Words of each utterance that is shown."""
    shown = page.locator(".utterance").all()
    return [[w.get_attribute("data-word") for w in utterance.locator(".word").all()] for utterance in shown]


def heard(model, wave_N):
    """Words of each utterance in Python."""
    stream = asr_kd.load(model).stream()
    return [[word.word for word in t.words] for t in [*stream.accept(wave_N), *stream.finish()]]


def test_a_dropped_file_gives_the_words_of_transcribe(exported, talk):
    expected = heard(exported, soundfile.read(talk, dtype="float32")[0])
    assert len(expected) == 3 and sum(map(len, expected)) > 5
    with served(exported / "web") as url, open_page() as page:
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        ready(page, url)
        drop(page, talk)
        assert utterances(page) == expected
        drop(page, talk)  # nothing is left of the first
        assert utterances(page) == expected
        for figure in ("speed", "seconds", "memory", "size"):
            assert float(page.locator(f"#{figure}").inner_text().split()[0]) > 0
        assert all(address.startswith(url) for address in asked)


def test_resampled_stereo_gives_the_same_words(exported, talk, tmp_path):
    wave_N = soundfile.read(talk, dtype="float32")[0]
    stereo_NC = np.stack([soxr.resample(wave_N, RATE, 44_100)] * 2, axis=1)
    soundfile.write(tmp_path / "stereo.flac", stereo_NC, 44_100)
    with served(exported / "web") as url, open_page() as page:
        ready(page, url)
        drop(page, tmp_path / "stereo.flac")
        assert utterances(page) == heard(exported, wave_N)


def test_from_microphone_to_words(exported, talk):
    with served(exported / "web") as url, open_page(microphone=talk) as page:
        page.add_init_script(
            "window.given = []; const post = Worker.prototype.postMessage;"
            "Worker.prototype.postMessage = function (data, ...rest) {"
            " if (data.samples) window.given.push(...data.samples); post.call(this, data, ...rest); };"
        )
        ready(page, url)
        page.click("#microphone")
        expect(page.locator("#status")).to_contain_text("Listening", timeout=SLOW_MS)
        expect(page.locator(".utterance").nth(2)).to_be_attached(timeout=SLOW_MS)
        page.click("#microphone")
        expect(page.locator("#status")).to_contain_text("Done", timeout=SLOW_MS)
        words, given_N = utterances(page), np.array(page.evaluate("window.given"), np.float32)
    assert words == heard(exported, given_N)
    assert len(words) >= 3
    assert likeness(given_N, soundfile.read(talk, dtype="float32")[0]) > 0.9


SEARCHED = """async (utterances) => {
  const { GraphSearch, readGraph } = await import("/graph-search.js");
  const model = await (await fetch("model.json")).json();
  const graph = readGraph(await (await fetch("graph.bin")).arrayBuffer(), model.graph);
  const search = new GraphSearch(graph, model.words, model.search, model.soundless);
  return utterances.map((rows) => {
    search.start();
    search.advance(Float32Array.from(rows.slice(0, 7).flat()), Math.min(7, rows.length));
    search.advance(Float32Array.from(rows.slice(7).flat()), Math.max(0, rows.length - 7));
    const { words, silentFrames } = search.partial();
    return [words.map(({ word }) => word), silentFrames, search.finish().map(({ word }) => word)];
  });
}"""


def test_the_search_finds_the_paths_of_the_lattice_search(exported, trained):
    model, graph = load_model(trained / "model"), load_graph(trained / "graph")
    log_prior_C = model.log_prior_C.numpy()
    search = SearchFactory(graph, model.inventory, log_prior_C, SCALES, 0.03)()
    assert isinstance(search, GraphSearch)
    torch.manual_seed(0)
    # Some noise that stays for a while, so that there are words, pauses, and paths that end within a word.
    drawn = [torch.randn(length // 5 + 1, len(log_prior_C)) for length in [1, 8, *range(30, 130, 5)]]
    log_ps = [(3 * x_TC.repeat_interleave(5, 0)).log_softmax(1).numpy() for x_TC in drawn]
    expected = []
    for log_p_TC in log_ps:
        search.start()
        search.advance(log_p_TC)
        partial = search.partial()
        expected.append([partial.words, partial.silent_frames, [w.word for w in search.finish().words]])
    assert sum(len(words) for _, _, words in expected) > 40
    with served(exported / "web") as url, open_page() as page:
        page.goto(url)
        assert page.evaluate(SEARCHED, [log_p_TC.tolist() for log_p_TC in log_ps]) == expected


SPELT = """async ([symbols, soundless, rows]) => {
  const { GreedySearch } = await import("/greedy-search.js");
  const search = new GreedySearch(symbols, soundless);
  search.advance(Float32Array.from(rows.flat()), rows.length);
  const { silentFrames } = search.partial();
  return [silentFrames, search.finish().map(({ word, start, end, confidence }) => [word, start, end, confidence])];
}"""


def test_greedy_words_times_and_confidences_are_those_of_transcribe(spelling):
    tokens = random_model().inventory
    torch.manual_seed(0)
    log_p_TC = (4 * torch.randn(200, tokens.num_classes)).log_softmax(1).numpy()
    log_p_TC[-3:, 0] = log_p_TC[-4, 1] = 0.0  # a space, which is no sound, and blanks
    search = SearchFactory(None, tokens, np.zeros(tokens.num_classes), DecodingScales(), 1.0)()
    search.advance(log_p_TC)
    expected = [[w.word, w.start_s, w.end_s, w.confidence] for w in search.finish().words]
    assert len(expected) > 10
    with served(spelling) as url, open_page() as page:
        page.goto(url)
        silent, found = page.evaluate(SPELT, [tokens.symbols, tokens.soundless_classes, log_p_TC.tolist()])
    assert silent == search.partial().silent_frames >= 4
    assert [w[:3] for w in found] == [w[:3] for w in expected]
    np.testing.assert_allclose([w[3] for w in found], [w[3] for w in expected], rtol=1e-5)


RESAMPLED = """async ([from, samples, piece]) => {
  const { Resampler } = await import("/resampler.js");
  const resampler = new Resampler(from, 16000);
  const found = [];
  for (let n = 0; n < samples.length; n += piece) {
    found.push(...resampler.accept(Float32Array.from(samples.slice(n, n + piece))));
  }
  return [...found, ...resampler.finish()];
}"""


def test_the_resampler_keeps_what_16_khz_can_hold_and_nothing_else(spelling):
    with served(spelling) as url, open_page() as page:
        page.goto(url)
        for rate in (8000, 16_000, 44_100, 48_000):
            hertz = [100, 3000, 7000] if rate > 8000 else [100, 3000]
            above = [8300] if rate > RATE else []
            given = [rate, tones(rate, [*hertz, *above]).tolist()]
            whole, pieces = (np.array(page.evaluate(RESAMPLED, [*given, piece])) for piece in (10**9, 997))
            np.testing.assert_array_equal(whole, pieces)
            np.testing.assert_allclose(whole[400:-400], tones(RATE, hertz)[400:-400], atol=2e-4)
            assert len(whole) == RATE // 2


def tones(rate, hertz):
    """Half a second."""
    return sum(0.2 * np.sin(2 * np.pi * h * np.arange(rate // 2) / rate) for h in hertz)


def test_what_is_missing_is_said_in_one_line(spelling, tmp_path):
    (tmp_path / "notes.txt").write_text("no audio")
    with served(spelling) as url, open_page() as page:
        ready(page, url)
        page.set_input_files("#file", tmp_path / "notes.txt")
        expect(page.locator("#error")).to_contain_text("notes.txt: this browser cannot read it as audio.")
        expect(page.locator("#file")).to_be_enabled()
        soundfile.write(tmp_path / "nan.wav", np.full(RATE, np.nan), RATE, subtype="FLOAT")
        page.set_input_files("#file", tmp_path / "nan.wav")
        expect(page.locator("#error")).to_contain_text("nan.wav: holds samples that are not numbers.")
        expect(page.locator("#file")).to_be_enabled()
        page.click("#microphone")
        expect(page.locator("#error")).to_contain_text("Microphone: there is none.")
        expect(page.locator("#file")).to_be_enabled()
    for gone, said in (
        ("WebAssembly", "This browser lacks WebAssembly"),
        ("AudioWorkletNode", "Microphone: this browser has no AudioWorklet."),
        ("isSecureContext", "Microphone: the browser gives it to https:// and http://localhost only."),
    ):
        with served(spelling) as url, open_page() as page:
            page.add_init_script(f"Object.defineProperty(window, '{gone}', {{ value: undefined }})")
            page.goto(url)
            expect(page.locator("#error")).to_contain_text(said, timeout=SLOW_MS)
            expect(page.locator("#microphone")).to_be_disabled()


def test_a_folder_that_was_not_copied_whole_is_said(spelling, tmp_path):
    shutil.copytree(spelling, tmp_path / "half")
    (tmp_path / "half" / "network.onnx").unlink()
    with served(tmp_path / "half") as url, open_page(expected_errors=["404"]) as page:
        page.goto(url)
        expect(page.locator("#error")).to_contain_text("network.onnx: the web server answers 404.", timeout=SLOW_MS)


def test_opened_as_a_file_it_says_what_it_needs(spelling):
    with open_page(expected_errors=["CORS", "ERR_FAILED"]) as page:
        page.goto((spelling / "index.html").as_uri())
        expect(page.locator("#status")).to_contain_text("python -m http.server")


def test_it_fits_a_narrow_screen(exported, talk):
    with served(exported / "web") as url, open_page(viewport={"width": 320, "height": 640}) as page:
        ready(page, url)
        drop(page, talk)
        assert page.evaluate("document.documentElement.scrollWidth") <= 320
