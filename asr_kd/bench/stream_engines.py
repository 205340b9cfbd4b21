"""What can be measured as a stream: our transcriber on any model that it loads, and sherpa-onnx.

Each is imported when it is used: memory is to be its own.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from asr_kd.corpora.audio import SAMPLE_RATE
from asr_kd.transcripts.recognised import Transcript, Word

if TYPE_CHECKING:
    from asr_kd.decode.stream import Stream
    from asr_kd.decode.transcriber import Transcriber

SHERPA_TOKENS, SHERPA_GRAPH = "tokens.txt", "TLG.fst"
"""Beside a network for sherpa-onnx."""
SHERPA_FRAME_S = 0.04
SILENCE_S, MOST_S = 0.8, 30.0
"""Where sherpa-onnx ends an utterance: as `EndPoints` does."""
SPACES = ("▁", " ")


@dataclass(frozen=True)
class Engine:
    """A model, ready to make streams."""

    name: str
    version: str
    new_stream: "Callable[[], Stream]"
    forward_s: Callable[[np.ndarray], float] | None
    """CPU seconds of the network alone on a waveform whose features are there."""


def is_for_sherpa(model: Path) -> bool:
    """Whether it is a network in the form for sherpa-onnx, beside its tokens."""
    return model.suffix == ".onnx" and (model.parent / SHERPA_TOKENS).is_file()


def open_engine(model: str, graph: str | None, scales: str | None) -> Engine:
    """The engine of a model, with one thread. ValueError when it cannot be loaded."""
    return _sherpa(Path(model)) if is_for_sherpa(Path(model)) else _ours(model, graph, scales)


def _ours(model: str, graph: str | None, scales: str | None) -> Engine:
    import torch

    from asr_kd.core.runtime import set_threads
    from asr_kd.decode.transcriber import load

    set_threads(1)
    transcriber = load(model, graph, scales, device="cpu")
    name, version = "torch", torch.__version__
    if Path(model).suffix == ".onnx":
        import onnxruntime

        name, version = "onnxruntime", onnxruntime.__version__
    return Engine(name, version, transcriber.stream, lambda wave_N: _forward_s(transcriber, wave_N))


def _forward_s(transcriber: "Transcriber", wave_N: np.ndarray) -> float:
    import torch

    from asr_kd.core.runtime import autocast

    inference = transcriber.inference
    with torch.inference_mode(), autocast(inference.device, inference.precision):
        x_BTF, frames_B = inference.features([wave_N])
        began = time.process_time()
        inference.model(x_BTF, frames_B)
        return time.process_time() - began


def _sherpa(model: Path) -> Engine:
    try:
        import sherpa_onnx
    except ImportError:
        raise ValueError(f"{model}: the package sherpa-onnx runs it. pip install sherpa-onnx") from None
    graph = model.parent / SHERPA_GRAPH
    recognizer = sherpa_onnx.OnlineRecognizer.from_zipformer2_ctc(
        tokens=str(model.parent / SHERPA_TOKENS),
        model=str(model),
        ctc_graph=str(graph) if graph.is_file() else "",
        num_threads=1,
        feature_dim=80,
        enable_endpoint_detection=True,
        rule2_min_trailing_silence=SILENCE_S,
        rule3_min_utterance_length=MOST_S,
    )
    return Engine("sherpa-onnx", sherpa_onnx.__version__, lambda: SherpaStream(recognizer), None)


class SherpaStream:
    """A stream of sherpa-onnx as one of ours. A word ends with the frame of its last token; it has no confidence."""

    def __init__(self, recognizer: Any) -> None:
        self._recognizer, self._stream = recognizer, recognizer.create_stream()
        self._before_s = 0.0
        """Length of the utterances that are over: sherpa-onnx counts each one's times from 0."""
        self._accepted_s = 0.0
        self.partial: list[str] = []

    def accept(self, wave_N: np.ndarray) -> list[Transcript]:
        """As in `Stream`."""
        self._stream.accept_waveform(SAMPLE_RATE, wave_N)
        ended = []
        while self._recognizer.is_ready(self._stream):
            self._recognizer.decode_stream(self._stream)
            if self._recognizer.is_endpoint(self._stream):
                ended += self._end()
        self.partial = [word.word for word in self._words()]
        return ended

    def finish(self) -> list[Transcript]:
        """As in `Stream`."""
        self._stream.input_finished()
        return self.accept(np.zeros(0, np.float32)) + self._end()

    def _end(self) -> list[Transcript]:
        words = self._words()
        self._recognizer.reset(self._stream)
        return [Transcript(words, 0.0)] if words else []

    def _words(self) -> list[Word]:
        found = self._recognizer.get_result_all(self._stream)
        words: list[Word] = []
        for token, start_s in zip(found.tokens, found.timestamps, strict=True):
            start_s += found.start_time
            if token.startswith(SPACES) or not words:
                words.append(Word("", start_s, start_s + SHERPA_FRAME_S, 0.0))
            last = words[-1]
            words[-1] = Word(last.word + token.strip("".join(SPACES)), last.start_s, start_s + SHERPA_FRAME_S, 0.0)
        return [word for word in words if word.word]
