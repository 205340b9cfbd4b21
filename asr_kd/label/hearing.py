"""What a search heard in an utterance, and how far to trust it: read off the lattice that soft targets go through."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asr_kd.graph.build import Graph
from asr_kd.graph.lattice import LatticeArcs, Passage
from asr_kd.graph.word_posteriors import best_path
from asr_kd.graph.word_times import WordTimes
from asr_kd.inventory.senones import Inventory

LEAST_POSTERIOR = 1e-6
"""Smaller ones count as this in a mean of logarithms."""


@dataclass(frozen=True)
class HeardWord:
    """One word of the best path."""

    word: str
    start_frame: int
    end_frame: int
    """The frame behind its last."""
    confidence: float
    """Its posterior in the lattice, in (0, 1]."""


@dataclass(frozen=True)
class Heard:
    """The best path of an utterance and what speaks for it. All of it without reference text."""

    words: list[HeardWord]
    confidence: float
    """Geometric mean of the words' confidences, in (0, 1]; without words, the posterior of there being none.

    A mean, so that long utterances are not thrown away for their length; the geometric one, because one word in ten
    that is surely wrong is worse than ten that are fairly sure."""
    agreement: float
    """Of the frames that the path or the model alone take for speech, the share where both have the same phone: what
    the model hears without lexicon and language model."""
    entropy: float
    """Mean entropy of the model's own posteriors, nats per frame."""
    phones: int
    """Phones of the path, silence left out."""
    frames: int


class Listener:
    """Reads `Heard` off lattices of one graph."""

    def __init__(self, graph: Graph, inventory: Inventory) -> None:
        """ValueError when the graph was built by a version that did not keep its lexicon."""
        if graph.lexicon is None:
            raise ValueError(
                "--decode: the graph's folder has no lexicon.txt, which the words' times are found with. "
                "Run `asr-kd graph` again."
            )
        self._names = graph.words
        self._phones_CP = inventory.phones_of_class_CP
        self._silence_C = np.isin(np.arange(inventory.size), inventory.silence_classes)
        self._times = WordTimes(inventory, graph.lexicon)

    def __call__(self, lattice: LatticeArcs, passed: Passage, log_p_TC: np.ndarray) -> Heard:
        """log_p_TC: the model's own log-posteriors, natural log; `passed` is `passage(lattice)`."""
        path = best_path(lattice, passed)
        names = [self._names[w] for w in path.words]
        spans = self._times(names, path.classes_T, path.cuts)
        words = [
            HeardWord(name, start, end, p) for name, (start, end), p in zip(names, spans, path.posteriors, strict=True)
        ]
        return Heard(
            words,
            geometric_mean(path.posteriors) if words else max(path.silence_posterior, LEAST_POSTERIOR),
            self._agreement(path.classes_T, log_p_TC.argmax(1)),
            mean_entropy(log_p_TC),
            len(self._times.phones(path.classes_T, path.cuts)),
            len(path.classes_T),
        )

    def _agreement(self, path_T: np.ndarray, alone_T: np.ndarray) -> float:
        same_T = (self._phones_CP[path_T] & self._phones_CP[alone_T]).any(1)
        speech_T = ~(self._silence_C[path_T] & self._silence_C[alone_T])
        return float(same_T[speech_T].mean()) if speech_T.any() else 1.0


def geometric_mean(values: Sequence[float]) -> float:
    """Of values in [0, 1], at least one."""
    return math.exp(sum(math.log(max(v, LEAST_POSTERIOR)) for v in values) / len(values))


def mean_entropy(log_p_TC: np.ndarray) -> float:
    """Mean over the frames of -sum(p log p), nats."""
    return float(-(np.exp(log_p_TC) * np.maximum(log_p_TC, np.finfo(np.float32).min)).sum(1).mean())
