"""From scores to words: through a graph, or without one as a model of tokens spells them."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from asr_kd.graph.graph import Graph
from asr_kd.graph.search import DecodedPath, Decoder, SearchConfig
from asr_kd.inventory.tokens import Tokens, ctc_collapse


@dataclass(frozen=True)
class Hypothesis:
    """One reading of an utterance."""

    words: list[str]
    cost: float
    """Graph cost minus scaled log-likelihood, nats."""


class WordDecoder(Protocol):
    """Whoever reads words off scaled log-likelihoods (T, C)."""

    def best(self, score_TC: np.ndarray) -> Hypothesis | None:
        """The best reading; None when nothing was found."""
        ...

    def n_best(self, score_TC: np.ndarray, n: int) -> list[Hypothesis]:
        """Up to `n` readings of different words, best first."""
        ...


class GraphDecoder:
    """The words of a graph, by beam search."""

    def __init__(self, graph: Graph, config: SearchConfig) -> None:
        self._searcher, self._names = Decoder(graph.fst, config), graph.words

    def best(self, score_TC: np.ndarray) -> Hypothesis | None:
        """None without frames, or when the beam lost all paths."""
        path = self._searcher.best(score_TC) if len(score_TC) else None
        return None if path is None else self._read(path)

    def n_best(self, score_TC: np.ndarray, n: int) -> list[Hypothesis]:
        """Empty without frames, or when the beam lost all paths."""
        return [self._read(path) for path in self._searcher.n_best(score_TC, n)]

    def _read(self, path: DecodedPath) -> Hypothesis:
        return Hypothesis([self._names[w] for w in path.words], path.cost)


class GreedyDecoder:
    """Whatever the likeliest class of each frame spells, words or not."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def best(self, score_TC: np.ndarray) -> Hypothesis | None:
        """None without frames."""
        if not len(score_TC):
            return None
        text = self._tokens.decode(ctc_collapse(score_TC.argmax(1)))
        return Hypothesis(text.split(), -float(score_TC.max(1).sum()))

    def n_best(self, score_TC: np.ndarray, n: int) -> list[Hypothesis]:
        """The best reading alone: a greedy search has no others."""
        best = self.best(score_TC)
        return [] if best is None else [best]
