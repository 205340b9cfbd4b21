"""Beam search of a graph over a matrix of scores: the one decoder interface, for alignment and recognition."""

from dataclasses import dataclass
from functools import cached_property

import kaldi_decoder
import kaldifst
import numpy as np

from asr_kd.core.options import option
from asr_kd.graph.graph_arrays import graph_arrays
from asr_kd.graph.lattice import LatticeArcs
from asr_kd.graph.lattice_search import LatticeSearch

MIN_ACTIVE = 20
"""Paths kept alive at a frame however bad they are (Kaldi's default)."""


@dataclass(frozen=True)
class SearchConfig:
    """How wide the search is."""

    beam: float = option("decoding beam, in scaled nats: paths that are worse than the best by more are pruned", 11.0)
    max_active: int = 2000
    """Most paths kept alive at a frame."""
    lattice_beam: float = 6.0
    """Paths within this of the best one enter the lattice."""

    def __post_init__(self) -> None:
        if self.beam <= 0 or self.lattice_beam <= 0:
            raise ValueError("search.beam and search.lattice_beam must be above 0")
        if self.max_active < 2:
            raise ValueError(f"search.max_active is {self.max_active}; it must be 2 or more")


@dataclass(frozen=True)
class DecodedPath:
    """One way through a graph."""

    words: list[int]
    """Output labels, epsilons left out."""
    classes: np.ndarray
    """Class of each frame, int32 (T,)."""
    cost: float
    """Graph cost minus scaled log-likelihood, nats."""
    complete: bool
    """Whether it ends in a final state."""


class Decoder:
    """Finds paths through one graph; input labels of the graph are class number + 1."""

    def __init__(self, graph: kaldifst.StdVectorFst, config: SearchConfig = SearchConfig()) -> None:
        self.graph = graph
        self.config = config
        self._options = kaldi_decoder.FasterDecoderOptions(
            beam=config.beam, max_active=config.max_active, min_active=min(MIN_ACTIVE, config.max_active - 1)
        )
        self._decoder = kaldi_decoder.FasterDecoder(graph, self._options)

    @cached_property
    def _lattices(self) -> LatticeSearch:
        return LatticeSearch(graph_arrays(self.graph), self.config.beam, self.config.lattice_beam)

    def best(self, score_TC: np.ndarray) -> DecodedPath | None:
        """The best path for the scaled log-likelihoods (T, C), or None when the beam lost all paths."""
        self._decoder.decode(kaldi_decoder.DecodableCtc(np.ascontiguousarray(score_TC, dtype=np.float32)))
        complete = self._decoder.reached_final()
        found, lattice = self._decoder.get_best_path()
        if not found:
            return None
        return _path(lattice, len(score_TC), complete)

    def lattice(self, score_TC: np.ndarray) -> LatticeArcs | None:
        """All paths within `lattice_beam` of the best that end in a final state. None: there are none."""
        return self._lattices(score_TC)

    def n_best(self, score_TC: np.ndarray, n: int) -> list[DecodedPath]:
        """Up to `n` paths with different words, best first, from the lattice of the scaled log-likelihoods (T, C).

        Empty without frames, or when the beam lost all paths.  The lattice's search knows no `max_active`.
        """
        if not len(score_TC):
            return []
        config = kaldi_decoder.LatticeSimpleDecoderConfig(beam=self.config.beam, lattice_beam=self.config.lattice_beam)
        decoder = kaldi_decoder.LatticeSimpleDecoder(self.graph, config)
        complete = decoder.decode(kaldi_decoder.DecodableCtc(np.ascontiguousarray(score_TC, dtype=np.float32)))
        found, lattice = decoder.get_raw_lattice()
        if not found:
            return []
        linears = kaldifst.lattice_to_nbest(lattice, n=4 * n)  # several paths may carry the same words
        paths: dict[tuple[int, ...], DecodedPath] = {}
        for path in sorted((_path(x, len(score_TC), complete) for x in linears), key=lambda p: p.cost):
            paths.setdefault(tuple(path.words), path)
        return list(paths.values())[:n]


def _path(lattice: kaldifst.Lattice, frames: int, complete: bool) -> DecodedPath:
    linear, ilabels, olabels, weight = kaldifst.get_linear_symbol_sequence(lattice)
    assert linear
    assert len(ilabels) == frames, f"{len(ilabels)} labels for {frames} frames"
    cost = weight.value1 + weight.value2
    return DecodedPath(list(olabels), np.array(ilabels, dtype=np.int32) - 1, float(cost), complete)
