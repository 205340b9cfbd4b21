"""Soft targets that have been through lexicon and language model: posteriors over the lattice of a search.

A frame's own posteriors do not know that only words can be said; the states' posteriors over all paths that a search
keeps do.
They are sure where they are wrong, so both are mixed.
Source of the idea: Manohar, Hadian, Povey and Khudanpur, "Semi-supervised training of acoustic models using
lattice-free MMI" (2018), which trains on lattices of the unlabelled speech.
"""

from dataclasses import dataclass

import numpy as np

from asr_kd.graph.confidence import ConfidenceScorer, DecodedUtterance
from asr_kd.graph.graph import Graph
from asr_kd.graph.lattice import class_posteriors, forward_backward
from asr_kd.graph.scales import DecodingScales
from asr_kd.graph.search import Decoder, SearchConfig
from asr_kd.inventory.inventory import Inventory

SEARCH = SearchConfig(beam=9.0, lattice_beam=7.0)


@dataclass(frozen=True)
class LatticeConfig:
    """How lattice posteriors enter the targets."""

    scales: DecodingScales
    weight: float = 0.7
    """Share of the lattice posteriors; the rest is the model's own. 0 leaves the targets alone: for hypotheses only."""

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= 1:
            raise ValueError(f"--lattice-weight {self.weight}: it must lie in [0, 1]")


class LatticePosteriors:
    """Mixes a model's posteriors with those over the lattice of its search through a graph.

    inventory: the model's, where transcripts are wanted as well.
    """

    def __init__(
        self, graph: Graph, log_prior_C: np.ndarray, config: LatticeConfig, inventory: Inventory | None = None
    ) -> None:
        """ValueError when words are asked for and the graph does not have their pronunciations."""
        self.config = config
        self.log_prior_C = log_prior_C
        self.description = {
            "graph": graph.fingerprint,
            "acoustic": config.scales.acoustic,
            "prior": config.scales.prior,
            "weight": config.weight,
        }
        if penalty := config.scales.word_insertion_penalty:  # what was made before there was one is as without
            self.description["word_insertion_penalty"] = penalty
        self._searcher = Decoder(graph.with_word_insertion_penalty(penalty).fst, SEARCH)
        self._scorer = None if inventory is None else ConfidenceScorer(graph, inventory)

    def search(self, log_p_TC: np.ndarray) -> tuple[np.ndarray, DecodedUtterance | None]:
        """Mixed log-posteriors (T, C) and the words of one lattice; without a path, the model's own and None."""
        lattice = self._searcher.lattice(self.config.scales.apply(log_p_TC, self.log_prior_C))
        if lattice is None:
            return log_p_TC, None
        passed = forward_backward(lattice)
        decoded = self._scorer(lattice, passed, log_p_TC) if self._scorer else None
        if not self.config.weight:
            return log_p_TC, decoded
        lattice_TC = class_posteriors(lattice, len(log_p_TC), log_p_TC.shape[1], passed)
        mixed_TC = self.config.weight * lattice_TC + (1 - self.config.weight) * np.exp(log_p_TC)
        return np.log(np.maximum(mixed_TC, np.finfo(np.float32).tiny)), decoded
