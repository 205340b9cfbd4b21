"""From the frames of an utterance to its words while it is still going on: through a graph, or greedily.

A search takes frames in portions of any size. Which sizes changes nothing in the result.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np

from asr_kd.graph.confidence import ConfidenceScorer, geometric_mean
from asr_kd.graph.graph import Graph
from asr_kd.graph.graph_arrays import GraphArrays, graph_arrays
from asr_kd.graph.lattice import forward_backward
from asr_kd.graph.lattice_partial import PartialPath
from asr_kd.graph.lattice_search import LatticeSearch
from asr_kd.graph.scales import DecodingScales
from asr_kd.graph.word_times import word_timestamps
from asr_kd.inventory.inventory import Inventory
from asr_kd.inventory.tokens import Tokens, ctc_collapse
from asr_kd.label.lattices import SEARCH
from asr_kd.transcripts.recognised import Transcript, Word


@dataclass(frozen=True)
class Partial:
    """What was recognised of an utterance that is not over."""

    words: list[str]
    silent_frames: int
    """Frames since the last that is a sound."""


class UtteranceSearch(Protocol):
    """Recognises one utterance after another."""

    def start(self) -> None:
        """Begin an utterance."""
        ...

    def advance(self, log_p_TC: np.ndarray) -> None:
        """Go on by some frames. log_p_TC: the model's log-posteriors, natural log."""
        ...

    def partial(self) -> Partial:
        """The words so far. Later frames may change them."""
        ...

    def finish(self) -> Transcript:
        """The words, in seconds from the begin of the utterance; empty where the search found none."""
        ...


class GraphSearch:
    """Through a graph: words have the confidence that `graph/confidence.py` defines."""

    def __init__(
        self,
        graph: Graph,
        arrays: GraphArrays,
        inventory: Inventory,
        log_prior_C: np.ndarray,
        scales: DecodingScales,
        frame_shift_s: float,
    ) -> None:
        """ValueError when the graph was built by a version that did not keep its lexicon."""
        self._names = graph.words
        self._soundless_C = np.isin(np.arange(inventory.num_classes), inventory.soundless_classes)
        self._log_prior_C, self._scales, self._shift = log_prior_C, scales, frame_shift_s
        self._scorer = ConfidenceScorer(graph, inventory)
        self._lattices = LatticeSearch(arrays, SEARCH.beam, SEARCH.lattice_beam)
        self.start()

    def start(self) -> None:
        """As in `UtteranceSearch`."""
        self._log_ps: list[np.ndarray] = []
        self._lattices.start()

    def advance(self, log_p_TC: np.ndarray) -> None:
        """As in `UtteranceSearch`."""
        self._log_ps.append(log_p_TC)
        self._lattices.advance(self._scales.apply(log_p_TC, self._log_prior_C))

    def partial(self) -> Partial:
        """As in `UtteranceSearch`."""
        path = self._lattices.partial()
        return Partial([self._names[w] for w in path.words_W], _trailing(self._soundless_C[path.classes_T]))

    def finish(self) -> Transcript:
        """As in `UtteranceSearch`."""
        if not self._log_ps:
            return Transcript([], 0.0)
        log_p_TC, path = np.concatenate(self._log_ps), self._lattices.partial()
        lattice = self._lattices.finish()
        if lattice is None:  # it breaks off where no sentence can end
            return self._cut_off(path, log_p_TC)
        return self._scorer(lattice, forward_backward(lattice), log_p_TC).transcript(self._shift)

    def _cut_off(self, path: PartialPath, log_p_TC: np.ndarray) -> Transcript:
        """Words of the best path with the graph's own times, and the model's confidence in the path's classes."""
        log_p_T = np.take_along_axis(log_p_TC, path.classes_T[:, None], 1)[:, 0]
        edges = [*path.frames_W.tolist(), len(log_p_T)]
        words = [
            Word(self._names[w], start * self._shift, end * self._shift, _mean_p(log_p_T[start : max(end, start + 1)]))
            for w, (start, end) in zip(path.words_W, pairwise(edges), strict=True)
        ]
        return _transcript(words)


class GreedySearch:
    """What the likeliest class of each frame spells; a confidence is the geometric mean of the posteriors."""

    def __init__(self, tokens: Tokens, frame_shift_s: float) -> None:
        self._tokens, self._shift = tokens, frame_shift_s
        self._times = word_timestamps(tokens, None)
        self._soundless_C = np.isin(np.arange(tokens.num_classes), tokens.soundless_classes)
        self.start()

    def start(self) -> None:
        """As in `UtteranceSearch`."""
        self._best: list[np.ndarray] = []
        self._log_p: list[np.ndarray] = []

    def advance(self, log_p_TC: np.ndarray) -> None:
        """As in `UtteranceSearch`."""
        self._best.append(log_p_TC.argmax(1))
        self._log_p.append(log_p_TC.max(1))

    def partial(self) -> Partial:
        """As in `UtteranceSearch`."""
        if not self._best:
            return Partial([], 0)
        best_T = np.concatenate(self._best)
        return Partial(self._words(best_T), _trailing(self._soundless_C[best_T]))

    def finish(self) -> Transcript:
        """As in `UtteranceSearch`."""
        if not self._best:
            return Transcript([], 0.0)
        best_T, log_p_T = np.concatenate(self._best), np.concatenate(self._log_p)
        words = self._words(best_T)
        spans = self._times(words, best_T, ())
        return _transcript(
            [
                Word(word, start * self._shift, end * self._shift, _mean_p(log_p_T[start:end]))
                for word, (start, end) in zip(words, spans, strict=True)
            ]
        )

    def _words(self, best_T: np.ndarray) -> list[str]:
        return self._tokens.decode(ctc_collapse(best_T)).split()


class SearchFactory:
    """Makes searches of one model, one for each stream; they share the graph."""

    def __init__(
        self, graph: Graph | None, inventory: Inventory, log_prior_C: np.ndarray, scales: DecodingScales, shift_s: float
    ) -> None:
        graph = graph and graph.with_word_insertion_penalty(scales.word_insertion_penalty)
        self._graph = graph
        self._arrays = None if graph is None else graph_arrays(graph.fst)
        self._inventory, self._log_prior_C, self._scales, self._shift_s = inventory, log_prior_C, scales, shift_s

    def __call__(self) -> UtteranceSearch:
        """A search of its own. ValueError when the graph was built by a version that did not keep its lexicon."""
        if self._graph is None or self._arrays is None:
            assert isinstance(self._inventory, Tokens), "Recogniser refuses others"
            return GreedySearch(self._inventory, self._shift_s)
        return GraphSearch(self._graph, self._arrays, self._inventory, self._log_prior_C, self._scales, self._shift_s)


def _transcript(words: Sequence[Word]) -> Transcript:
    return Transcript(list(words), geometric_mean([w.confidence for w in words]) if words else 0.0)


def _mean_p(log_p_T: np.ndarray) -> float:
    """Geometric mean."""
    return float(np.exp(log_p_T.mean()))


def _trailing(silent_T: np.ndarray) -> int:
    """How many of the last frames are silent."""
    said = np.flatnonzero(~silent_T)
    return len(silent_T) - (int(said[-1]) + 1 if len(said) else 0)
