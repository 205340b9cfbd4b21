"""The page of `asr-kd serve` in a real browser: from a microphone, or a file, to words of two models."""

import json

import numpy as np
import pytest
import soundfile
from browser import likeness, open_page
from serving import serving, transcribed

import asr_kd

RATE = 16000
TOKEN = "a token of the server"


@pytest.fixture(scope="module")
def talk(tone_utterances, tmp_path_factory):
    """A file of several utterances with pauses between them."""
    path = tmp_path_factory.mktemp("talk") / "talk.wav"
    pause_N = 0.001 * np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    waves = [soundfile.read(u.audio_filepath, dtype="float32")[0] for u in tone_utterances[:3]]
    soundfile.write(path, np.concatenate([part for wave in waves for part in (wave, pause_N)]), RATE, subtype="PCM_16")
    return path


@pytest.fixture(scope="module")
def url(trained):
    more = ["--teacher", trained / "model", "--device", "cpu", "--workers", 1, "--token", TOKEN]
    with serving(trained / "model", "--graph", trained / "graph", *more) as server:
        yield server.url


def give_token(page, url):
    page.goto(url)
    page.fill("#token", TOKEN)
    page.click("#access button")
    page.wait_for_selector("text=Ready.")


def words(page, model):
    return page.locator(f"[data-model={model}] .word").evaluate_all("words => words.map(w => w.dataset.word)")


class Frames:
    """What the page sends through a WebSocket."""

    def __init__(self, socket):
        self._socket, self._sent = socket, []
        socket.on("framesent", lambda frame: self._sent.append(frame))

    @property
    def start(self):
        return json.loads(self._sent[0])

    @property
    def wave_N(self):
        return np.concatenate([np.frombuffer(frame, "<f4") for frame in self._sent if isinstance(frame, bytes)])

    def wait_for(self, seconds):
        self._socket.wait_for_event("framesent", lambda _: len(self.wave_N) > seconds * self.start["rate"])


def test_what_the_microphone_hears_appears_as_the_words_of_transcribe(url, trained, talk):
    transcriber = asr_kd.load(trained / "model", trained / "graph", device="cpu")
    with open_page(talk) as page:
        sockets = []
        page.on("websocket", lambda socket: sockets.append(Frames(socket)))
        give_token(page, url)
        page.click("#microphone")
        page.locator("[data-model=model] .word").first.wait_for()  # while it is spoken
        for frames in sockets:
            frames.wait_for(soundfile.info(talk).duration)
        page.click("#microphone")
        page.wait_for_selector("text=Done.")
        shown = {model: words(page, model) for model in ("model", "teacher")}
        for measured in (".speed", ".factor", ".seconds"):
            assert page.locator(f"[data-model=model] {measured}").inner_text() != "–"
    wave_N = soundfile.read(talk, dtype="float32")[0]
    for frames in sockets:
        assert likeness(frames.wave_N, wave_N) > 0.9
        stream = transcriber.stream()
        found = stream.accept(frames.wave_N) + stream.finish()
        assert [w.word for utterance in found for w in utterance.words] == shown[frames.start["model"]]


def test_words_of_a_file_have_their_confidence_as_text(url, trained, talk):
    with open_page(viewport={"width": 380, "height": 800}) as page:
        give_token(page, url)
        page.set_input_files("#file", talk)
        page.wait_for_selector("text=Done.")
        found = transcribed(asr_kd.load(trained / "model", trained / "graph", device="cpu"), talk)
        assert words(page, "model") == words(page, "teacher") == [w["word"] for w in found]
        sure = page.locator("[data-model=model] rt").evaluate_all("all => all.map(e => Number(e.textContent))")
        # rounded, and in bf16 where a processor is fast in it
        assert sure == pytest.approx([100 * w["confidence"] for w in found], abs=1)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "wider than a phone"


def test_what_goes_wrong_is_said_in_one_line(url, tmp_path):
    (tmp_path / "notes.txt").write_text("not audio")
    with open_page() as page:
        give_token(page, url)
        page.click("#microphone")
        page.wait_for_selector("#error:has-text('Microphone: ')")
        page.wait_for_selector("text=Done: no words were found.")
        page.set_input_files("#file", tmp_path / "notes.txt")
        page.wait_for_selector("#error:has-text('notes.txt: this browser cannot read it as audio')")
        page.wait_for_selector("text=Done: no words were found.")
