"""silero-vad's network on recordings of any length: the model for whole sequences in its package, without its code.

Windows of 512 samples (32 ms) with the last 64 samples before them, at 16 kHz. All but the recurrent layer knows
nothing of other windows, so it is worked out for many at once; the recurrent layer goes on from block to block.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from asr_kd.core.extras import how_to_install
from asr_kd.core.packaged_network import open_network, packaged_file
from asr_kd.corpora.audio import SAMPLE_RATE
from asr_kd.corpora.speech_activity import SpeechActivity, level_db

PACKAGE, MODEL = "silero-vad", "silero_vad/data/silero_vad_16k_sequence.onnx"
WINDOW = 512
CONTEXT = 64
"""Samples before a window that the network sees with it; zeros at the begin of a recording."""
STATE = (1, 1, 128)
WINDOWS_PER_BLOCK = 128
"""Always so many at once, the last of a recording with zeros behind them: however a recording comes in, its numbers are
the same to the last bit."""


def model_file() -> Path | None:
    """The model in the installed package, None without it or what runs it; versions before 6.2.3 do not have it."""
    return packaged_file(PACKAGE, MODEL)


class SileroDetector:
    """As `SpeechDetector` says; frames of 32 ms. One thread."""

    def __init__(self) -> None:
        """ValueError when the packages are not installed."""
        path = model_file()
        if path is None:
            needed = f"{PACKAGE} (6.2.3 or later) and onnxruntime are not installed"
            raise ValueError(f"--detector silero: {needed}. {how_to_install('vad')}")
        self._session = open_network(path)

    def __call__(self, blocks: Iterable[np.ndarray]) -> SpeechActivity:
        """As `SpeechDetector` says; the last window may be a part of one, with zeros behind it."""
        state = {"h": np.zeros(STATE, np.float32), "c": np.zeros(STATE, np.float32)}
        speech, levels = [np.zeros(0, np.float32)], [np.zeros(0, np.float32)]
        for wave_TN, windows in _windows(blocks):
            speech_T, state["h"], state["c"] = self._session.run(None, {"input": wave_TN, **state})
            speech.append(speech_T.reshape(-1)[:windows])
            levels.append(level_db(wave_TN[:windows, CONTEXT:]).astype(np.float32))
        return SpeechActivity(WINDOW / SAMPLE_RATE, np.concatenate(speech), np.concatenate(levels))


def _windows(blocks: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, int]]:
    """(WINDOWS_PER_BLOCK, CONTEXT + WINDOW) samples, and how many of the windows the recording has."""
    size = WINDOWS_PER_BLOCK * WINDOW
    waiting = [np.zeros(CONTEXT, np.float32)]
    count = 0
    for block_N in blocks:
        waiting.append(block_N)
        count += len(block_N)
        while count >= size:
            wave_N = np.concatenate(waiting)
            yield _framed(wave_N[: CONTEXT + size]), WINDOWS_PER_BLOCK
            waiting, count = [wave_N[size:]], count - size
    if count:
        wave_N = np.concatenate([*waiting, np.zeros(size - count, np.float32)])
        yield _framed(wave_N), -(-count // WINDOW)


def _framed(wave_N: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(wave_N, CONTEXT + WINDOW)[::WINDOW])
