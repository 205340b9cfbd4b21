"""The best path of a lattice search that is not over: what a partial result shows."""

from dataclasses import dataclass

import numba
import numpy as np

from asr_kd.graph.lattice_memory import NONE, Memory


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


class BestPath:
    """The best path of a search that goes on.

    What it shares with the one before is not followed again: tokens of a path keep their best predecessors, whatever is
    pruned.
    """

    def __init__(self) -> None:
        self._token_T = np.empty(0, np.int32)
        """The token that the path reaches at each frame."""
        self._path = PartialPath.nothing()

    def __call__(self, memory: Memory) -> PartialPath:
        """The best path now. memory: of one utterance, never begun anew; it stays as it is."""
        if not memory.ledger[0]["frame"]:
            return self._path
        shared, token_T, class_T, word_W, frame_W = _trace(memory, self._token_T)
        words = int(np.searchsorted(self._path.frames_W, shared))
        self._token_T = np.concatenate([self._token_T[:shared], token_T])
        self._path = PartialPath(
            np.concatenate([self._path.classes_T[:shared], class_T]),
            np.concatenate([self._path.words_W[:words], word_W]),
            np.concatenate([self._path.frames_W[:words], frame_W]),
        )
        return self._path


@numba.njit(cache=True)
def _trace(m, known_T):  # type: ignore[no-untyped-def]
    """The cheapest path, followed back to a token of the known one.

    Returns the frames up to there, and what comes after: tokens, classes, words, the words' frames.
    """
    tokens, links = m.tokens, m.links
    last = m.ledger[0].frame
    before, through = np.empty(len(tokens), np.int32), np.empty(len(tokens), np.int32)
    least = np.empty(len(tokens), np.float32)
    token_T, class_T = np.zeros(last, np.int32), np.zeros(last, np.int32)
    words, frames = [np.int32(0)], [np.int32(0)]
    end, i = NONE, m.newest_T[last]
    while i != NONE:
        if end == NONE or tokens[i].cost < tokens[end].cost:
            end = i
        i = tokens[i].next
    t, i, is_entered = 0 if end == NONE else last, end, False
    while i != NONE:
        if 0 < t <= len(known_T) and known_T[t - 1] == i:
            break
        if not is_entered:
            _enter(m, t, before, through, least)
            is_entered = True
        if before[i] != NONE:
            x = links[through[i]]
            if x.label:
                token_T[t - 1], class_T[t - 1] = i, x.label - 1
                t, is_entered = t - 1, False
            if x.word:
                words.append(x.word)
                frames.append(np.int32(t))
        i = before[i]
    word_W, frame_W = np.array(words[:0:-1], np.int32), np.array(frames[:0:-1], np.int32)
    return t, token_T[t:], class_T[t:], word_W, frame_W


@numba.njit(cache=True)
def _enter(m, t, before, through, least):  # type: ignore[no-untyped-def]
    """The best predecessors of a frame's tokens: of the frame before by a link with a label, or of the same by one
    without."""
    tokens, links = m.tokens, m.links
    i = m.newest_T[t]
    while i != NONE:
        before[i], least[i] = NONE, np.inf
        i = tokens[i].next
    for s in range(max(t - 1, 0), t + 1):
        i = m.newest_T[s]
        while i != NONE:
            a = tokens[i].link
            while a != NONE:
                x = links[a]
                if (x.label > 0) == (s < t):
                    total = (tokens[i].cost + x.acoustic) + x.graph
                    if total < least[x.target]:
                        least[x.target], before[x.target], through[x.target] = total, i, a
                a = x.next
            i = tokens[i].next
