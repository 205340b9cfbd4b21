"""The words of a lattice's best path, and how sure the lattice is of each.

Source: Wessel, Schlueter, Macherey and Ney, "Confidence measures for large vocabulary continuous speech recognition"
(IEEE Trans. Speech and Audio Processing, 2001), whose C_max this is: at each frame, the posteriors of all arcs of the
same word that span it are added up, and a word's confidence is the largest such sum among its frames.  Unlike sums over
all arcs that overlap (Evermann and Woodland, "Large vocabulary decoding and confidence estimation using word posterior
probabilities", ICASSP 2000), it cannot exceed 1.
"""

import math
from dataclasses import dataclass

import numpy as np

from asr_kd.graph.lattice import ArcPosteriors, LatticeArcs

NO_WORD = 0
"""Stands for what is said before the first word."""
OTHER = -1
"""Stands for all words that the best path lacks."""


@dataclass(frozen=True)
class BestPath:
    """The likeliest path of a lattice."""

    words: list[int]
    """Output labels, epsilons left out."""
    posteriors: list[float]
    """Of each word, in (0, 1]."""
    classes_T: np.ndarray
    """Class of each frame, int32 (T,)."""
    cuts: list[int]
    """Frames, 0 to T, at which a phone ends and another begins."""
    silence_posterior: float
    """That no word was said at all."""


def best_path(lattice: LatticeArcs, passed: ArcPosteriors) -> BestPath:
    """Follow the cheapest arcs; `passed` is `passage(lattice)`, so nothing is searched or summed a second time."""
    arcs = _cheapest(lattice)
    frame_A = passed.frame_S[lattice.source_A]
    frames = int(passed.frame_S[lattice.target_A[arcs[-1]]]) if arcs else 0
    words = [(int(lattice.word_A[a]), int(frame_A[a])) for a in arcs if lattice.word_A[a]]
    spoken = _SpokenWords(lattice, passed, {word for word, _ in words})
    posteriors = []
    ends = [*(start for _, start in words[1:]), frames]
    for (word, start), end in zip(words, ends, strict=False):
        # Where two words are told apart at one and the same frame, the first has that frame to itself.
        posteriors.append(max(spoken.posterior(word, t) for t in range(start, max(end, start + 1))))
    return BestPath(
        [word for word, _ in words],
        posteriors,
        np.array([lattice.label_A[a] - 1 for a in arcs if lattice.label_A[a]], dtype=np.int32),
        sorted({0, frames, *(int(frame_A[a]) for a in arcs if not lattice.label_A[a])}),
        spoken.silence,
    )


def _cheapest(lattice: LatticeArcs) -> list[int]:
    """Arcs of the cheapest path from state 0 to an end, in order; of equal ones, the first in the lattice's order."""
    states = len(lattice.final_S)
    cost, entered = [math.inf] * states, [-1] * states
    cost[0] = 0.0
    columns = (lattice.source_A, lattice.target_A, lattice.cost_A)
    for arc, (source, target, more) in enumerate(zip(*(c.tolist() for c in columns), strict=True)):
        total = cost[source] + more
        if total < cost[target]:
            cost[target], entered[target] = total, arc
    state = int(np.argmin(np.array(cost) + lattice.final_S))
    arcs: list[int] = []
    while entered[state] >= 0:
        arcs.append(entered[state])
        state = int(lattice.source_A[arcs[-1]])
    return arcs[::-1]


class _SpokenWords:
    """P(a word is being said at a frame), for some words, by passing the last word on along the arcs.

    What follows a state does not depend on what led to it, so the last word's distribution in a state is the mean of
    those that its incoming arcs bring, by the arcs' posteriors.  A word counts at each frame that is passed while it is
    the last, and at the frame where it began, also if the next begins there too.
    """

    def __init__(self, lattice: LatticeArcs, passed: ArcPosteriors, wanted: set[int]) -> None:
        self._mass: dict[tuple[int, int], float] = {}
        frame_S = passed.frame_S.tolist()
        # Mass of each last word in a state, and of those that began at this very frame; words not asked for are OTHER.
        mass_S: list[dict[int, float]] = [{} for _ in frame_S]
        fresh_S: list[dict[int, float]] = [{} for _ in frame_S]
        mass_S[0][NO_WORD] = 1.0
        total_S = [0.0] * len(frame_S)
        total_S[0] = 1.0
        columns = (lattice.source_A, lattice.target_A, lattice.label_A, lattice.word_A, passed.posterior_A)
        for source, target, label, word, posterior in zip(*(c.tolist() for c in columns), strict=True):
            if not posterior:
                continue
            share, t = posterior / total_S[source], frame_S[source]
            total_S[target] += posterior
            mass, fresh = mass_S[source], fresh_S[source]
            if word:
                for before, part in fresh.items():
                    self._add(before, t, part * share)
                mass, fresh = {}, {word if word in wanted else OTHER: posterior / share}
            into = mass_S[target]
            for last, part in mass.items():
                if label:
                    self._add(last, t, part * share)
                into[last] = into.get(last, 0.0) + part * share
            if fresh:
                into = mass_S[target] if label else fresh_S[target]
                for last, part in fresh.items():
                    if label:
                        self._add(last, t, part * share)
                    into[last] = into.get(last, 0.0) + part * share
        left_S = np.bincount(lattice.source_A, passed.posterior_A, minlength=len(frame_S))
        silent = 0.0
        for s in np.flatnonzero(np.isfinite(lattice.final_S)).tolist():
            share = max(1 - left_S[s] / total_S[s], 0.0) if total_S[s] else 0.0
            for last, part in fresh_S[s].items():
                self._add(last, frame_S[s], part * share)
            silent += mass_S[s].get(NO_WORD, 0.0) * share
        self.silence = min(silent, 1.0)

    def _add(self, word: int, frame: int, mass: float) -> None:
        if word > NO_WORD:
            self._mass[word, frame] = self._mass.get((word, frame), 0.0) + mass

    def posterior(self, word: int, frame: int) -> float:
        """In [0, 1]; a path that begins the same word twice at a frame counts twice, hence the bound."""
        return min(self._mass.get((word, frame), 0.0), 1.0)
