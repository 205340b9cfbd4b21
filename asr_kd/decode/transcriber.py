"""Speech to words in Python: `asr_kd.load(...)` gives what turns a waveform into text with times and confidences."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from asr_kd.corpora.audio import read_audio, to_16k_mono
from asr_kd.decode.recognise import Recogniser
from asr_kd.graph.confidence import geometric_mean
from asr_kd.graph.scales import DecodingScales
from asr_kd.graph.word_times import word_timestamps
from asr_kd.inventory.tokens import ctc_collapse
from asr_kd.label.lattices import LatticeConfig, LatticePosteriors
from asr_kd.transcripts.recognised import Transcript, Word


class Transcriber:
    """A model, with its graph where it has one, that transcribes waveforms."""

    def __init__(self, recogniser: Recogniser, scales: DecodingScales) -> None:
        """ValueError when the graph was built by a version that did not keep its lexicon."""
        self._recogniser = recogniser
        self._lattices = None
        if recogniser.graph is not None:
            config = LatticeConfig(scales, weight=0.0)
            inventory = recogniser.inventory
            self._lattices = LatticePosteriors(recogniser.graph, recogniser.log_prior_C, config, inventory)

    @property
    def frame_shift_s(self) -> float:
        """Seconds from one frame of the model to the next: word times are multiples of it."""
        return self._recogniser.inference.frontend.frame_shift_s

    def transcribe(self, wave: np.ndarray | str | Path, rate: int = 16_000) -> Transcript:
        """Words, their times in seconds and their confidences in [0, 1]; empty where the search found no words.

        wave: samples in [-1, 1), (N,) or (N, channels), at `rate`; or an audio file.  Seconds of speech, not hours: the
        whole of it is one utterance.
        ValueError when there is no audio, or samples that are not numbers.
        """
        if isinstance(wave, (str, Path)):
            wave_N = read_audio(wave)
        else:
            samples = np.asarray(wave, dtype=np.float32)
            wave_N = to_16k_mono(samples[:, None] if samples.ndim == 1 else samples, rate, "wave")
        log_p_TC = self._recogniser.inference.scores([wave_N], prior_scale=0.0)[0]
        if not len(log_p_TC):
            return Transcript([], 0.0)
        if self._lattices is None:
            return self._greedy(log_p_TC)
        _, decoded = self._lattices.search(log_p_TC)
        return Transcript([], 0.0) if decoded is None else decoded.transcript(self.frame_shift_s)

    def _greedy(self, log_p_TC: np.ndarray) -> Transcript:
        """What the likeliest class of each frame spells; confidence is the geometric mean of their posteriors."""
        tokens, best_T = self._recogniser.inventory, log_p_TC.argmax(1)
        words = tokens.decode(ctc_collapse(best_T)).split()  # type: ignore[attr-defined]  # Recogniser checks the kind
        spans = word_timestamps(tokens, None)(words, best_T, ())
        shift = self.frame_shift_s
        found = [
            Word(word, start * shift, end * shift, float(np.exp(log_p_TC[start:end].max(1).mean())))
            for word, (start, end) in zip(words, spans, strict=True)
        ]
        return Transcript(found, geometric_mean([word.confidence for word in found]) if found else 0.0)


def load(
    model: str | Path | Sequence[str | Path],
    graph: str | Path | None = None,
    scales: str | Path | None = None,
    device: str = "auto",
    precision: str = "auto",
) -> Transcriber:
    """A trained model, ready to transcribe.

    model: its folder or .safetensors file, or several whose posteriors are averaged.  graph: folder of `asr-kd graph`;
    models of tokens can do without.  scales: what `asr-kd tune` wrote (default: acoustic 1; prior 1 for senones, 0 for
    tokens).  device: auto, cpu, cuda, ...  precision: auto, bf16, float32, or int8 for a quantised model.
    ValueError when they do not belong together.
    """
    paths = [Path(model)] if isinstance(model, (str, Path)) else [Path(path) for path in model]
    recogniser = Recogniser(paths, None if graph is None else Path(graph), device, precision)
    prior = recogniser.inventory.default_prior_scale
    return Transcriber(recogniser, DecodingScales(prior=prior) if scales is None else DecodingScales.load(scales))
