"""What the range coder of frames knows when it asks a question: the frames before, and the question's context.

The encoder and the decoder of `range_coder` share all of this, so that both predict alike.
"""

import numba
import numpy as np

from asr_kd.targets.adaptive_bits import MOVE_CONTEXTS

CODES = 32
"""Codes of a probability, 0 the largest. Of a class at most MAX_CODE; a tail may be empty."""
MAX_CODE = CODES - 2
EMPTY_TAIL = CODES - 1
MAX_CLASSES_PER_FRAME = 255
MAX_ID_BITS = 16

# A context is a place in one table; these are where each question's contexts begin.
_PAIRS = CODES * CODES
_TAIL = 0
_KEPT = _TAIL + _PAIRS * MOVE_CONTEXTS
_MOVE = _KEPT + _PAIRS * 4
_NEW = _MOVE + _PAIRS * 3 * MOVE_CONTEXTS
_LEVEL = _NEW + 3 * 8 * 8
_BEST = _LEVEL + _PAIRS * MOVE_CONTEXTS
ID_CONTEXTS = _BEST + 8
"""Two of each node of the tree of ids: is there a new class in its left half, in its right half."""

_IDS = 1 << MAX_ID_BITS
_LISTED = MAX_CLASSES_PER_FRAME + 1

STATE = np.dtype(
    [
        ("id_bits", np.int64),
        ("contexts", np.int64, ID_CONTEXTS + 2 * _IDS),  # the probabilities learnt so far
        # Of each class code + 1, 0 where it is not kept:
        ("now", np.uint8, _IDS),  # in the frame that is coded
        ("before", np.uint8, _IDS),  # in the frame before
        ("earlier", np.uint8, _IDS),  # in the frame before that
        # Lists of classes; unsigned, since such an index needs no test for < 0:
        ("kept", np.uint32, _LISTED),  # of the frame that is coded: those of the frame before, then new ones
        ("held", np.uint32, _LISTED),  # of the frame before, likeliest first
        ("older", np.uint32, _LISTED),  # of the frame before that
        ("num_held", np.int64),
        ("num_older", np.int64),
        ("tail", np.int64),  # codes of the two tails before
        ("tail_earlier", np.int64),
        ("level", np.int64),  # code of the latest new class
        # Room to work in:
        ("ends", np.int64, CODES),  # of each code, where its classes end among the sorted ones
        ("nodes", np.int32, 2 * MAX_ID_BITS + 2),  # of the tree of ids, still to visit
        ("new_under", np.int32, 2 * _IDS),  # of each node how many new classes lie under it; for writing
    ]
)
"""A coder's memory. numba passes one such record by reference; memory that is not used is never touched."""


def new_state(id_bits: int) -> np.void:
    """A STATE at the start of a shard. id_bits: of a class id."""
    state = np.zeros(1, STATE)[0]
    state["id_bits"] = id_bits
    return state


# Contexts


@numba.njit
def _sign(x):  # type: ignore[no-untyped-def]
    return 0 if x == 0 else (1 if x > 0 else 2)


@numba.njit
def tail_context(state):  # type: ignore[no-untyped-def]
    """Of the tail: the two tails before."""
    return _TAIL + (state.tail * CODES + state.tail_earlier) * MOVE_CONTEXTS


@numba.njit
def codes_of(state, c):  # type: ignore[no-untyped-def]
    """What class c had in the last two frames, as one number."""
    return np.int64(state.before[c]) * CODES + np.int64(state.earlier[c])


@numba.njit
def kept_context(codes, j, gone):  # type: ignore[no-untyped-def]
    """Of whether a class of `codes_of` is kept.  gone: how many of the j classes before it are not."""
    return _KEPT + codes * 4 + (0 if j == 0 else 1 + (4 * gone > j) + (2 * gone > j))


@numba.njit
def move_context(codes, drift):  # type: ignore[no-untyped-def]
    """Of the move of a class of `codes_of`.  drift: the sum of the moves in this frame so far."""
    return _MOVE + (codes * 3 + _sign(drift)) * MOVE_CONTEXTS


@numba.njit
def new_context(state, tail, gone):  # type: ignore[no-untyped-def]
    """Of whether there are new classes: how the tail moved, how many classes went, how many there were."""
    return _NEW + (_sign(tail - state.tail) * 8 + min(gone, 7)) * 8 + min(state.num_held, 7)


@numba.njit
def level_context(state, c):  # type: ignore[no-untyped-def]
    """Of the code of the new class c: what it had two frames before, the code of the latest new class."""
    return _LEVEL + (np.int64(state.earlier[c]) * CODES + state.level) * MOVE_CONTEXTS


@numba.njit
def best_context(rank):  # type: ignore[no-untyped-def]
    """Of whether the rank-th class with the smallest code is the likeliest."""
    return _BEST + min(rank, 7)


# From frame to frame


@numba.njit
def begin_utterance(state):  # type: ignore[no-untyped-def]
    """Forget the frames before."""
    for j in range(state.num_older):
        state.earlier[state.older[j]] = 0
    for j in range(state.num_held):
        state.before[state.held[j]] = 0
    state.num_held = state.num_older = state.tail = state.tail_earlier = state.level = 0


@numba.njit
def next_frame(state, n, tail):  # type: ignore[no-untyped-def]
    """The frame that is coded, n classes in `kept` and their codes in `now`, becomes the frame before.

    `held` is then ordered by code, ties as they came. Returns how many share the smallest code.
    """
    now, before, earlier, held, kept, ends = state.now, state.before, state.earlier, state.held, state.kept, state.ends
    for j in range(state.num_older):
        earlier[state.older[j]] = 0
    for j in range(state.num_held):
        c = held[j]
        state.older[j] = c
        earlier[c] = before[c]
        before[c] = 0
    smallest, largest, total = CODES, 0, 0
    for i in range(n):
        code = now[kept[i]] - 1
        smallest, largest = min(smallest, code), max(largest, code)
    ends[smallest : largest + 1] = 0
    for i in range(n):
        ends[now[kept[i]] - 1] += 1
    tied = ends[smallest]
    for code in range(smallest, largest + 1):
        total, ends[code] = total + ends[code], total
    for i in range(n):
        c = kept[i]
        code = now[c] - 1
        held[ends[code]] = c
        ends[code] += 1
        before[c] = code + 1
        now[c] = 0
    state.num_held, state.num_older = n, state.num_held
    state.tail, state.tail_earlier = tail, state.tail
    return tied


@numba.njit
def move_to_front(held, rank):  # type: ignore[no-untyped-def]
    """Make the rank-th class the first."""
    best = held[rank]
    for j in range(rank, 0, -1):
        held[j] = held[j - 1]
    held[0] = best
