"""Soft targets that have been through lexicon and language model: posteriors over the lattice of a search.

A frame's own posteriors do not know that only words can be said; the states' posteriors over all paths that a search
keeps do.
They are sure where they are wrong, so both are mixed.
Source of the idea: Manohar, Hadian, Povey and Khudanpur, "Semi-supervised training of acoustic models using
lattice-free MMI" (2018), which trains on lattices of the unlabelled speech.
"""

from dataclasses import dataclass

import numpy as np

from asr_kd.graph.build import Graph
from asr_kd.graph.lattice import class_posteriors, lattice_arcs
from asr_kd.graph.scales import Scales
from asr_kd.graph.search import SearchConfig, Searcher

SEARCH = SearchConfig(beam=9.0, lattice_beam=7.0)


@dataclass(frozen=True)
class LatticeConfig:
    """How lattice posteriors enter the targets."""

    scales: Scales
    weight: float = 0.7
    """Share of the lattice posteriors; the rest is the model's own."""

    def __post_init__(self) -> None:
        if not 0 < self.weight <= 1:
            raise ValueError(f"--graph-weight {self.weight}: it must lie in (0, 1]")


class LatticePosteriors:
    """Mixes a model's posteriors with those over the lattice of its search through a graph."""

    def __init__(self, graph: Graph, log_prior_C: np.ndarray, config: LatticeConfig) -> None:
        self.config = config
        self.log_prior_C = log_prior_C
        self.description = {
            "graph": graph.fingerprint,
            "acoustic": config.scales.acoustic,
            "prior": config.scales.prior,
            "weight": config.weight,
        }
        self._searcher = Searcher(graph.fst, SEARCH)

    def __call__(self, log_p_TC: np.ndarray) -> np.ndarray:
        """Mixed log-posteriors (T, C); the model's own where the search ends in no word."""
        lattice, complete = self._searcher.lattice(self.config.scales.apply(log_p_TC, self.log_prior_C))
        if lattice is None or not complete:
            return log_p_TC
        lattice_TC = class_posteriors(lattice_arcs(lattice), *log_p_TC.shape)
        mixed_TC = self.config.weight * lattice_TC + (1 - self.config.weight) * np.exp(log_p_TC)
        return np.log(np.maximum(mixed_TC, np.finfo(np.float32).tiny))
