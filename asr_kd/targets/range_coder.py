"""Targets of a shard in a few bytes a frame: what changed since the frame before, through an adaptive range coder.

Neighbouring frames keep much the same classes at much the same probabilities, so a frame is written as the answers to
these questions, and one that can be foreseen costs next to nothing (`adaptive_bits`):

1. The code of its tail, as a move from the tail before.
2. Of each class of the frame before, likeliest first: is it kept? If so its code, as a move from the one before.
3. Are there new classes? If so which, by descending the binary tree over all ids; then their codes.
4. Of the classes that share the smallest code: which is the likeliest? (The others stay in the order of 2 and 3.)

Each answer is predicted from what the reader knows already: the codes of the last two frames, how many classes went,
how their codes drift. What is known selects a context, the place where the probability of the answer is learnt.
`frame_contexts` holds all of that, for both directions. The encoder (`_write_*`) and the decoder (`_read_*`) ask the
same questions in the same order: a change to one is a change to the other.

docs/sidecars.md writes the format down, with a reader in plain Python; the scheme of the questions is our own.
"""

import inspect
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numba
import numpy as np

from asr_kd.targets import adaptive_bits, frame_contexts
from asr_kd.targets.adaptive_bits import (
    Output,
    begin_reading,
    begin_writing,
    end_writing,
    read_bit,
    read_move,
    write_bit,
    write_move,
)
from asr_kd.targets.frame_contexts import (
    EMPTY_TAIL,
    ID_CONTEXTS,
    MAX_CLASSES_PER_FRAME,
    MAX_CODE,
    begin_utterance,
    best_context,
    codes_of,
    kept_context,
    level_context,
    move_context,
    move_to_front,
    new_context,
    new_state,
    next_frame,
    tail_context,
)

_MAX_PER_BYTE = 4096  # frames or classes; a question costs at least 0.0014 bits; a frame has three, a class two
_SPARE = 8  # bytes that an utterance may do without: zeros at its end are not written


@dataclass
class FrameCodes:
    """Frames in a row: each has the next `counts_T[t]` entries of `ids_N` and `codes_N`, likeliest first."""

    counts_T: np.ndarray
    ids_N: np.ndarray
    """int32 class ids, no class twice in a frame."""
    codes_N: np.ndarray
    """uint8, 0 to MAX_CODE, not falling within a frame."""
    tails_T: np.ndarray
    """uint8, the code of each frame's tail, or EMPTY_TAIL."""


# Encoder


@numba.njit
def _write_kept(interval, out, state):  # type: ignore[no-untyped-def]
    """Question 2. Returns how many classes are kept, the interval."""
    n = drift = 0
    for j in range(state.num_held):
        c = state.held[j]
        codes, code_before, code = codes_of(state, c), np.int64(state.before[c]) - 1, np.int64(state.now[c]) - 1
        interval = write_bit(interval, out, state.contexts, kept_context(codes, j, j - n), code >= 0)
        if code >= 0:
            context = move_context(codes, drift)
            interval = write_move(interval, out, state.contexts, context, code_before, MAX_CODE, code)
            drift += code - code_before  # type: ignore[assignment]
            state.kept[n] = c
            n += 1
    return n, interval


@numba.njit
def _count_new(state, c, step):  # type: ignore[no-untyped-def]
    """Add `step` new classes in all nodes above c."""
    node = np.int64(c) + (1 << state.id_bits)
    while node > 0:
        state.new_under[node] += step
        node >>= 1


@numba.njit
def _write_ids(interval, out, state, n):  # type: ignore[no-untyped-def]
    """Which classes are new. Returns how many the frame has, the interval."""
    first_leaf, nodes, new_under = 1 << state.id_bits, state.nodes, state.new_under
    nodes[0] = 1
    depth = 1
    while depth > 0:
        depth -= 1
        node = nodes[depth]
        if node >= first_leaf:
            state.kept[n] = node - first_leaf
            n += 1
            continue
        left, right = new_under[2 * node] > 0, new_under[2 * node + 1] > 0
        interval = write_bit(interval, out, state.contexts, ID_CONTEXTS + 2 * node, left)
        if left:
            interval = write_bit(interval, out, state.contexts, ID_CONTEXTS + 2 * node + 1, right)
        if right:
            nodes[depth] = 2 * node + 1
            depth += 1
        if left:
            nodes[depth] = 2 * node
            depth += 1
    return n, interval


@numba.njit
def _write_levels(interval, out, state, first, n):  # type: ignore[no-untyped-def]
    """The codes of the new classes. Returns the interval."""
    for i in range(first, n):
        c = state.kept[i]
        code = np.int64(state.now[c]) - 1
        interval = write_move(interval, out, state.contexts, level_context(state, c), state.level, MAX_CODE, code)
        state.level = code
    return interval


@numba.njit
def _write_best(interval, out, state, tied, best):  # type: ignore[no-untyped-def]
    """Question 4. Returns the interval."""
    rank = 0
    while rank < tied - 1:
        is_best = state.held[rank] == best
        interval = write_bit(interval, out, state.contexts, best_context(rank), is_best)
        if is_best:
            break
        rank += 1
    move_to_front(state.held, rank)
    return interval


@numba.njit
def _write_frame(interval, out, state, ids, codes, tail):  # type: ignore[no-untyped-def]
    """Returns the interval."""
    for i in range(len(ids)):
        state.now[ids[i]] = codes[i] + 1
    interval = write_move(interval, out, state.contexts, tail_context(state), state.tail, EMPTY_TAIL, tail)
    old, interval = _write_kept(interval, out, state)
    n = len(ids)
    interval = write_bit(interval, out, state.contexts, new_context(state, tail, state.num_held - old), n > old)
    if n > old:
        for c in ids:
            if state.before[c] == 0:
                _count_new(state, c, 1)
        _, interval = _write_ids(interval, out, state, old)
        interval = _write_levels(interval, out, state, old, n)
        for i in range(old, n):
            _count_new(state, state.kept[i], -1)
    return _write_best(interval, out, state, next_frame(state, n, tail), ids[0])


# Decoder


@numba.njit
def _read_kept(position, data, state):  # type: ignore[no-untyped-def]
    """Question 2. Returns how many classes are kept, the position."""
    n = drift = 0
    for j in range(state.num_held):
        c = state.held[j]
        codes, code_before = codes_of(state, c), np.int64(state.before[c]) - 1
        is_kept, position = read_bit(position, data, state.contexts, kept_context(codes, j, j - n))
        if is_kept:
            context = move_context(codes, drift)
            code, position = read_move(position, data, state.contexts, context, code_before, MAX_CODE)
            drift += code - code_before
            state.now[c] = code + 1
            state.kept[n] = c
            n += 1
    return n, position


@numba.njit
def _read_ids(position, data, state, n):  # type: ignore[no-untyped-def]
    """Which classes are new. Returns how many the frame has (none when the data are damaged), the position."""
    first_leaf, nodes = 1 << state.id_bits, state.nodes
    nodes[0] = 1
    depth = 1
    while depth > 0:
        depth -= 1
        node = nodes[depth]
        if node >= first_leaf:
            c = node - first_leaf
            if state.now[c] > 0 or n >= MAX_CLASSES_PER_FRAME:
                return 0, position
            state.now[c] = 1
            state.kept[n] = c
            n += 1
            continue
        left, position = read_bit(position, data, state.contexts, ID_CONTEXTS + 2 * node)
        right = True
        if left:
            right, position = read_bit(position, data, state.contexts, ID_CONTEXTS + 2 * node + 1)
        if right:
            nodes[depth] = 2 * node + 1
            depth += 1
        if left:
            nodes[depth] = 2 * node
            depth += 1
    return n, position


@numba.njit
def _read_levels(position, data, state, first, n):  # type: ignore[no-untyped-def]
    """The codes of the new classes. Returns the position."""
    for i in range(first, n):
        c = state.kept[i]
        code, position = read_move(position, data, state.contexts, level_context(state, c), state.level, MAX_CODE)
        state.now[c] = code + 1
        state.level = code
    return position


@numba.njit
def _read_best(position, data, state, tied):  # type: ignore[no-untyped-def]
    """Question 4. Returns the position."""
    rank = 0
    while rank < tied - 1:
        is_best, position = read_bit(position, data, state.contexts, best_context(rank))
        if is_best:
            break
        rank += 1
    move_to_front(state.held, rank)
    return position


@numba.njit
def _read_frame(position, data, state):  # type: ignore[no-untyped-def]
    """Returns how many classes the frame has (none when the data are damaged), the position."""
    tail, position = read_move(position, data, state.contexts, tail_context(state), state.tail, EMPTY_TAIL)
    old, position = _read_kept(position, data, state)
    n = old
    has_new, position = read_bit(position, data, state.contexts, new_context(state, tail, state.num_held - old))
    if has_new:
        n, position = _read_ids(position, data, state, old)
        position = _read_levels(position, data, state, old, n)
    if n > 0:
        position = _read_best(position, data, state, next_frame(state, n, tail))
    return n, position


def _compile(sources: int) -> tuple[Callable[..., int], Callable[..., int]]:
    """The encoder of an utterance and the decoder of a shard, compiled once and then kept on disk.

    sources: digest of the modules that they call. numba looks only at this file when it decides whether to compile
    anew; what a function closes over is part of its key, too.
    """

    @numba.njit(cache=True)
    def write_row(data, held_back, state, counts, ids, codes, tails):  # type: ignore[no-untyped-def]
        """One utterance: see FrameCodes. Returns how many classes were written."""
        sources  # noqa: B018
        begin_utterance(state)
        out = Output(data, held_back)
        interval = begin_writing(out)
        begin = 0
        for t in range(len(tails)):
            end = begin + counts[t]
            interval = _write_frame(interval, out, state, ids[begin:end], codes[begin:end], np.int64(tails[t]))
            begin = end
        end_writing(interval, out)
        return begin

    @numba.njit(cache=True)
    def read_rows(data, ends, frames, state, counts, ids, codes, tails):  # type: ignore[no-untyped-def]
        """All utterances of a shard, one after the other. Returns the classes read, -1 when the data are damaged."""
        sources  # noqa: B018
        first = begin = t = 0  # places among all classes, bytes and frames
        for row in range(len(ends)):
            begin_utterance(state)
            row_data = data[begin : ends[row]]
            position = begin_reading(row_data)
            for _ in range(frames[row]):
                n, position = _read_frame(position, row_data, state)
                if n == 0 or first + n > len(ids):
                    return -1
                for i in range(n):
                    c = state.held[i]
                    ids[first + i] = c
                    codes[first + i] = state.before[c] - 1
                counts[t], tails[t] = n, state.tail
                first += n
                t += 1
            begin = ends[row]
        return first

    return write_row, read_rows


_SOURCES = inspect.getsource(adaptive_bits) + inspect.getsource(frame_contexts)
_write_row, _read_rows = _compile(zlib.crc32(_SOURCES.encode()))


class RangeEncoder:
    """Packs utterance after utterance of one shard; each is told with what was learnt from those before."""

    def __init__(self, id_bits: int) -> None:
        self._state = new_state(id_bits)
        self._held_back = np.zeros(3, np.int64)

    def pack(self, row: FrameCodes) -> bytes:
        """The bytes of the next utterance. Classes that share a code in a frame may come back in another order."""
        data = np.empty(64 + 64 * len(row.tails_T) + 256 * len(row.ids_N), np.uint8)
        end = _write_row(data, self._held_back, self._state, row.counts_T, row.ids_N, row.codes_N, row.tails_T)
        assert end == len(row.ids_N)
        return data[1 : self._held_back[0]].tobytes().rstrip(b"\0")  # the first byte is always 0


def unpack(data: np.ndarray, ends: np.ndarray, frames: np.ndarray, kept: int, id_bits: int) -> FrameCodes:
    """All utterances of a shard, joined.

    data: uint8, the bytes of all.  ends: int64, where each one's bytes end.  frames: int64, its frames.
    kept: classes of all frames together. ValueError when the bytes cannot be of these.
    """
    total = int(frames.sum())
    if max(total, kept) > _MAX_PER_BYTE * (len(data) + _SPARE * len(ends)):
        raise ValueError("the packed targets are damaged")
    result = FrameCodes(
        np.empty(total, np.int32), np.empty(kept, np.int32), np.empty(kept, np.uint8), np.empty(total, np.uint8)
    )
    end = _read_rows(
        np.array(data), ends, frames, new_state(id_bits),
        result.counts_T, result.ids_N, result.codes_N, result.tails_T,
    )  # fmt: skip
    if end != kept:
        raise ValueError("the packed targets are damaged")
    return result
