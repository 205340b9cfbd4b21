"""The best path of a lattice search that is not over: what a partial result shows."""

from dataclasses import dataclass

import numba
import numpy as np

from asr_kd.graph.lattice_memory import NONE


@dataclass(frozen=True)
class PartialPath:
    """The cheapest path to any state after the latest frame."""

    classes_T: np.ndarray
    """Class of each frame, int32 (T,)."""
    words_W: np.ndarray
    """Output labels, int32 (W,)."""
    frames_W: np.ndarray
    """At which frame the graph says each of them, int32 (W,): near its begin, not exactly there."""

    @classmethod
    def nothing(cls) -> "PartialPath":
        """Before the first frame."""
        none = np.empty(0, np.int32)
        return cls(none, none, none)


@numba.njit(cache=True)
def best_so_far(m):  # type: ignore[no-untyped-def]
    """Classes, words and the words' frames of the cheapest path. The memory stays as it is."""
    tokens, links = m.tokens, m.links
    last = m.ledger[0].frame
    before, through = np.empty(len(tokens), np.int32), np.empty(len(tokens), np.int32)
    least = np.empty(len(tokens), np.float32)
    for t in range(last + 1):
        i = m.newest_T[t]
        while i != NONE:
            before[i], least[i] = NONE, np.inf
            i = tokens[i].next
    for t in range(last + 1):
        i = m.newest_T[t]
        while i != NONE:
            a = tokens[i].link
            while a != NONE:
                x = links[a]
                total = (tokens[i].cost + x.acoustic) + x.graph
                if total < least[x.target]:
                    least[x.target], before[x.target], through[x.target] = total, i, a
                a = x.next
            i = tokens[i].next
    end, i = NONE, m.newest_T[last]
    while i != NONE:
        if end == NONE or tokens[i].cost < tokens[end].cost:
            end = i
        i = tokens[i].next
    classes_T, words_W, frames_W = np.empty(last, np.int32), np.empty(0, np.int32), np.empty(0, np.int32)
    found = 0
    for fill in range(2):  # the first time only counts
        if fill:
            words_W, frames_W = np.empty(found, np.int32), np.empty(found, np.int32)
        t, w, i = last, found, end
        while i != NONE and before[i] != NONE:
            x = links[through[i]]
            if x.label:
                t -= 1
                classes_T[t] = x.label - 1
            if x.word:
                if fill:
                    w -= 1
                    words_W[w], frames_W[w] = x.word, t
                else:
                    found += 1
            i = before[i]
    return classes_T, words_W, frames_W
