"""A decoding graph as arrays, for searches that are compiled by numba."""

import tempfile
from pathlib import Path
from typing import NamedTuple

import kaldifst
import numba
import numpy as np

_HEADER = np.dtype("<i4, <i4, <u8, <i8, <i8, <i8")
"""What follows the names of the file's types in OpenFst's format: version, flags, properties, start, states, 0."""


ARC = np.dtype([("label", "<i4"), ("word", "<i4"), ("cost", "<f4"), ("target", "<i4")])
"""label: class + 1, or 0.  cost: nats."""


class GraphArrays(NamedTuple):
    """Arcs in the order of their source states; of one state, those with an input label come first.

    Arcs of state s: with a label `first_S[s]` to `epsilon_S[s]`, without one `epsilon_S[s]` to `first_S[s + 1]`.
    """

    first_S: np.ndarray
    """int64 (S + 1,)."""
    epsilon_S: np.ndarray
    """int64 (S,)."""
    arc_A: np.ndarray
    final_S: np.ndarray
    """Cost of ending in a state, float32 (S,); inf where paths do not end."""
    start: int


def graph_arrays(fst: kaldifst.StdVectorFst) -> GraphArrays:
    """Read a graph. By way of a file in OpenFst's format: kaldifst's iterator over arcs takes 8 us an arc."""
    data = _file_of(fst)
    words, states, start = _words_of(data)
    first_S, epsilon_S, arc_A4, final_S = _states(words, states)
    return GraphArrays(first_S, epsilon_S, arc_A4.view(ARC)[:, 0], final_S.view(np.float32), start)


def with_word_insertion_penalty(fst: kaldifst.StdVectorFst, cost: float) -> kaldifst.StdVectorFst:
    """A copy of the graph where each word costs `cost` nats more: a path has one such arc for each of them."""
    data = _file_of(fst)
    words, states, _ = _words_of(data)
    _add_to_words(words, words.view(np.float32), states, np.float32(cost))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.fst"
        path.write_bytes(data)
        return kaldifst.StdVectorFst.read(str(path))


def _file_of(fst: kaldifst.StdVectorFst) -> bytearray:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.fst"
        fst.write(str(path))
        return bytearray(path.read_bytes())


def _words_of(data: bytearray) -> tuple[np.ndarray, int, int]:
    """The states of a file in OpenFst's format as 32-bit words that can be written to, their number, the start."""
    place = 4  # behind the magic number; two names follow, each behind its length
    for _ in range(2):
        place += 4 + int(np.frombuffer(data, "<i4", 1, place)[0])
    header = np.frombuffer(data, _HEADER, 1, place)[0]
    assert header[1] == 0, "graphs have no symbol tables"
    return np.frombuffer(data, "<i4", offset=place + _HEADER.itemsize), int(header[4]), int(header[3])


@numba.njit(cache=True)
def _states(words, states):  # type: ignore[no-untyped-def]
    """Where each state's arcs begin, and those without a label; arcs and final costs, as the file's 32-bit words.

    A state is its final cost, the number of its arcs in two words, and four words for each of them.
    """
    arcs = (len(words) - 3 * states) // 4
    first_S, epsilon_S = np.zeros(states + 1, np.int64), np.zeros(states, np.int64)
    final_S, arc_A4 = np.empty(states, np.int32), np.empty((arcs, 4), np.int32)
    place, a = 0, 0
    for s in range(states):
        final_S[s], own = words[place], words[place + 1]
        place += 3
        for epsilon in (False, True):
            for i in range(place, place + 4 * own, 4):
                if (words[i] == 0) == epsilon:
                    arc_A4[a] = words[i : i + 4]
                    a += 1
            if not epsilon:
                epsilon_S[s] = a
        place += 4 * own
        first_S[s + 1] = a
    return first_S, epsilon_S, arc_A4, final_S


@numba.njit(cache=True)
def _add_to_words(words, costs, states, cost):  # type: ignore[no-untyped-def]
    """To the third of the four words of each arc whose second, its output label, is not 0. costs: the same memory."""
    place = 0
    for _ in range(states):
        own = words[place + 1]
        place += 3
        for i in range(place, place + 4 * own, 4):
            if words[i + 1] != 0:
                costs[i + 2] += cost
        place += 4 * own
