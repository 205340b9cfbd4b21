"""`asr-kd bench stream`: what latencies mean, how many streams are served, engines that say what they say elsewhere."""

import json
from pathlib import Path

import numpy as np
import pytest
from decoding import run
from exporting import random_model

from asr_kd.bench.stream import networks, recording
from asr_kd.bench.stream_clock import Played, Shown, keep_up, latencies, most_streams, play
from asr_kd.bench.stream_engines import open_engine
from asr_kd.frontend.fbank import PRESETS
from asr_kd.models.checkpoint import save_model
from asr_kd.transcripts.recognised import Transcript, Word

PIECE = 640


@pytest.fixture(scope="module")
def student(trained):
    return open_engine(str(trained / "model"), str(trained / "graph"), None)


@pytest.fixture(scope="module")
def wave_N(tone_utterances):
    return recording([Path(tone_utterances[0].audio_filepath).parent], 15.0)


def test_latencies_are_from_the_end_of_words_to_when_they_are_shown_for_good():
    words = [Word("A", 0.1, 0.4, 1.0), Word("B", 0.5, 0.9, 1.0)]
    later = [Word("A", 3.0, 3.2, 1.0)]
    played = Played(
        shown=[
            Shown(0.05, 0, ["A"]),  # before it was said
            Shown(0.5, 0, ["A"]),
            Shown(0.6, 0, ["X"]),
            Shown(0.7, 0, ["A"]),
            Shown(1.1, 0, ["A", "B"]),
            Shown(3.3, 1, []),
        ],
        ended=[(2.0, Transcript(words, 1.0)), (4.0, Transcript(later, 1.0))],
    )
    found = latencies(played)
    assert found.first_word_s == pytest.approx([0.1, 0.8])
    assert found.word_s == pytest.approx([0.3, 0.2, 0.8])
    assert found.final_s == pytest.approx([1.1, 0.8])


@pytest.mark.parametrize("guess", [0, 1, 3, 40, 41, 200])
@pytest.mark.parametrize("capacity", [0, 1, 2, 41])
def test_the_number_of_streams_is_the_largest_to_one_in_ten(capacity, guess):
    tried = []

    def serves(streams):
        tried.append(streams)
        return streams <= capacity

    found = most_streams(serves, guess)
    assert 0.89 * capacity <= found <= capacity
    assert (
        all(found < n for n in tried if n > capacity)
        and min(n for n in [*tried, 999] if n > capacity) <= 1.2 * found + 1
    )


def test_a_played_stream_says_what_it_says_elsewhere_and_nothing_before_its_audio(student, wave_N):
    played = play(student.new_stream(), wave_N, PIECE)
    stream = student.new_stream()
    assert [t for _, t in played.ended] == stream.accept(wave_N) + stream.finish()
    assert played.work_s > 0 and student.forward_s(wave_N) > 0
    found = latencies(played)
    assert len(found.word_s) == sum(len(t.words) for _, t in played.ended) > len(found.first_word_s) > 2
    assert min(found.final_s) > 0.5  # an utterance ends with silence
    assert np.median(found.word_s) < np.median(found.final_s)


def test_no_core_serves_a_hundred_thousand_streams(student, wave_N):
    streams = [student.new_stream()]
    assert not keep_up(lambda: streams[0], 100_000, wave_N, PIECE, 2.0)


def test_each_model_is_measured_in_a_process_of_its_own(trained, tone_utterances, tmp_path, capsys):
    audio = Path(tone_utterances[0].audio_filepath).parent
    options = ["--audio", audio, "--graph", trained / "graph", "--seconds", 4, "--repeats", 1, "--serve-seconds", 2]
    assert run("bench", "stream", trained / "model", *options, "--out", tmp_path / "bench.json") == 0
    table = capsys.readouterr().out.splitlines()
    result = json.loads((tmp_path / "bench.json").read_text())
    assert result == json.loads(table[-1]) and "first word ms" in table[1]
    (model,) = result["models"]
    assert (model["model"], model["engine"], model["utterances"]) == (str(trained / "model"), "torch", 2)
    assert model["real_time_factor"] > model["forward_real_time_factor"] > 0
    assert model["streams"] >= 1 and model["peak_mib_of_streams"] >= model["peak_mib"] > 50
    assert model["final_ms"]["p95"] >= model["final_ms"]["median"] > 500


def test_what_cannot_be_measured_is_one_line(trained, tone_utterances, tmp_path, capsys):
    audio = Path(tone_utterances[0].audio_filepath)
    assert run("bench", "stream", trained / "model", "--audio", audio) == 2
    assert "says no words without a graph" in capsys.readouterr().err.splitlines()[-1]
    assert run("bench", "stream", trained / "model", "--audio", tmp_path) == 2
    assert f"{tmp_path}: holds no audio" in capsys.readouterr().err


def test_sherpa_onnx_is_an_engine_like_ours(tmp_path, wave_N):
    """Random weights say nothing sensible; this is about words, times and the end of utterances."""
    sherpa_onnx = pytest.importorskip("sherpa_onnx", reason="sherpa-onnx is not installed")
    save_model(tmp_path / "model", random_model(frontend=PRESETS["sherpa-onnx"]))
    assert run("export", tmp_path / "model", "--out", tmp_path / "export") == 0
    found = networks(tmp_path / "export")
    assert [str(p.relative_to(tmp_path / "export")) for p in found] == [
        "model.onnx",
        "model.int8.onnx",
        "sherpa-onnx/model.onnx",
        "sherpa-onnx/model.int8.onnx",
    ]
    engines = [open_engine(str(path), None, None) for path in found]
    assert [e.name for e in engines] == ["onnxruntime", "onnxruntime", "sherpa-onnx", "sherpa-onnx"]
    assert engines[2].version == sherpa_onnx.__version__
    played = play(engines[2].new_stream(), wave_N, PIECE)
    times = [time for _, t in played.ended for w in t.words for time in (w.start_s, w.end_s)]
    assert times == sorted(times) and 0 < times[-1] <= len(wave_N) / 16_000
