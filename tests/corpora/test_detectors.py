"""Detectors find the same speech however a recording is fed, and silero's is that of its package."""

import importlib.metadata
from pathlib import Path

import numpy as np
import pytest

from asr_kd.corpora.audio import read_audio
from asr_kd.corpora.speech_activity import SpeechDetector, load_detector

CONTEXT, WINDOW = 64, 512


@pytest.fixture(scope="module")
def speech_N(data_root: Path) -> np.ndarray:
    """12 s of real speech with noise in the middle, then half a window more."""
    files = sorted((data_root / "an4").rglob("*.flac"))[:12]
    waves = [read_audio(f) for f in files]
    waves.insert(3, np.random.default_rng(0).standard_normal(16000).astype(np.float32) * 0.05)
    return np.concatenate(waves)[: 16000 * 12 + 256]


def _pieces(wave_N: np.ndarray, sizes: list[int]) -> list[np.ndarray]:
    ends = np.cumsum([sizes[n % len(sizes)] for n in range(1 + len(wave_N) // min(sizes))])
    return np.split(wave_N, ends[ends < len(wave_N)])


@pytest.mark.parametrize("name", ["silero", "energy"])
@pytest.mark.parametrize("sizes", [[1, 7000, 65536, 511], [160], [1 << 17]])
def test_a_recording_is_found_the_same_however_it_is_fed(name, sizes, speech_N):
    detector: SpeechDetector = load_detector(name)
    whole = detector([speech_N])
    pieces = detector(_pieces(speech_N, sizes))
    assert np.array_equal(whole.speech_T, pieces.speech_T) and np.array_equal(whole.level_db_T, pieces.level_db_T)
    assert abs(len(whole.speech_T) * whole.frame_s - len(speech_N) / 16000) < whole.frame_s


def test_silero_gives_the_probabilities_of_its_package(speech_N):
    onnxruntime = pytest.importorskip("onnxruntime")
    model = importlib.metadata.distribution("silero-vad").locate_file("silero_vad/data/silero_vad.onnx")
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    state, context = np.zeros((2, 1, 128), np.float32), np.zeros((1, CONTEXT), np.float32)
    padded_N = np.pad(speech_N, (0, -len(speech_N) % WINDOW))
    theirs = []
    for window_N in padded_N.reshape(-1, 1, WINDOW):
        x = np.concatenate([context, window_N], 1)
        out, state = session.run(None, {"input": x, "state": state, "sr": np.array(16000, np.int64)})
        context = window_N[:, -CONTEXT:]
        theirs.append(float(out[0, 0]))
    ours_T = load_detector("silero")([speech_N]).speech_T
    assert np.max(theirs) > 0.9 and np.min(theirs) < 0.1
    np.testing.assert_allclose(ours_T, theirs, atol=2e-4)


def test_silence_is_no_speech_and_a_recording_may_be_empty():
    for name in ("silero", "energy"):
        detector = load_detector(name)
        assert detector([np.zeros(40_000, np.float32)]).speech_T.max() < 0.3
        assert len(detector([]).speech_T) == 0


def test_energy_finds_the_words_between_pauses():
    rng = np.random.default_rng(0)
    pause, word = 0.001 * rng.standard_normal(16000), 0.1 * rng.standard_normal(16000)
    speech_T = load_detector("energy")([np.concatenate([pause, word] * 4).astype(np.float32)]).speech_T
    assert (speech_T.reshape(8, 100)[::2, 10:-10] < 0.3).all() and (speech_T.reshape(8, 100)[1::2, 10:-10] > 0.7).all()
