"""Speech to words in Python: `asr_kd.load(...)` gives what turns a waveform into text with times and confidences."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from asr_kd.corpora.audio import SAMPLE_RATE, read_audio, to_16k_mono
from asr_kd.decode.recognise import Recogniser
from asr_kd.decode.stream import CutStream, EndPoints, LiveStream, Stream, default_end_points
from asr_kd.decode.utterance_search import SearchFactory
from asr_kd.graph.scales import DecodingScales
from asr_kd.teachers.onnx_model import packed_with
from asr_kd.transcripts.recognised import Transcript


class Transcriber:
    """A model, with its graph where it has one, that transcribes waveforms."""

    def __init__(self, recogniser: Recogniser, scales: DecodingScales) -> None:
        """ValueError when the graph was built by a version that did not keep its lexicon."""
        self.inference = recogniser.inference
        """Front end and network."""
        self._new_search = SearchFactory(
            recogniser.graph, recogniser.inventory, recogniser.log_prior_C, scales, self.frame_shift_s
        )
        self._search = self._new_search()

    @property
    def frame_shift_s(self) -> float:
        """Seconds from one frame of the model to the next: word times are multiples of it."""
        return self.inference.frontend.frame_shift_s

    @property
    def is_live(self) -> bool:
        """Whether it answers while audio is coming in; else a stream's utterances are recognised as they end."""
        return self.inference.is_live

    def transcribe(self, wave: np.ndarray | str | Path, rate: int = SAMPLE_RATE) -> Transcript:
        """Words, their times in seconds and their confidences in [0, 1]; empty where the search found no words.

        wave: samples in [-1, 1), (N,) or (N, channels), at `rate`; or an audio file.  Seconds of speech, not hours: the
        whole of it is one utterance. For more, see `stream`.
        ValueError when there is no audio, or samples that are not numbers.
        """
        if isinstance(wave, (str, Path)):
            wave_N = read_audio(wave)
        else:
            samples = np.asarray(wave, dtype=np.float32)
            wave_N = to_16k_mono(samples[:, None] if samples.ndim == 1 else samples, rate, "wave")
        self._search.start()
        log_p_TC = self.inference.scores([wave_N], prior_scale=0.0)[0]
        if len(log_p_TC):
            self._search.advance(log_p_TC)
        return self._search.finish()

    def stream(self, end_points: EndPoints | Literal["default"] | None = "default") -> Stream:
        """Recognise audio that is still coming in, or hours of it: any number of streams at the same time.

        end_points: where an utterance is over (default: `default_end_points` of the model's classes); None takes all
        for one utterance (streaming models only).
        """
        if not self.is_live:
            return CutStream(self)
        if end_points == "default":
            end_points = default_end_points(self.inference.model.inventory)
        return LiveStream(self.inference.stream, self._new_search(), end_points)


def load(
    model: str | Path | Sequence[str | Path],
    graph: str | Path | None = None,
    scales: str | Path | None = None,
    device: str = "auto",
    precision: str = "auto",
) -> Transcriber:
    """A trained model, ready to transcribe.

    model: its folder or .safetensors file, or a folder of `asr-kd export` or an .onnx file in it, or several whose
    posteriors are averaged.  graph: folder of `asr-kd graph` (default: what was exported with the model; models of
    tokens can do without).  scales: what `asr-kd tune` wrote (default: likewise; else acoustic 1, and prior 1 for
    senones, 0 for tokens).  device: auto, cpu, cuda, ...  precision: auto, bf16, float32, or int8 for a quantised
    model.
    ValueError when they do not belong together.
    """
    paths = [Path(model)] if isinstance(model, (str, Path)) else [Path(path) for path in model]
    graph, scales = packed_with(paths, graph, scales)
    recogniser = Recogniser(paths, None if graph is None else Path(graph), device, precision)
    prior = recogniser.inventory.default_prior_scale
    return Transcriber(recogniser, DecodingScales(prior=prior) if scales is None else DecodingScales.load(scales))
