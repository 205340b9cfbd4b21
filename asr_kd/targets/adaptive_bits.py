"""Yes-or-no questions in less than a bit each: an adaptive binary range coder, with its encoder and its decoder.

The bytes of a message are read as one long binary fraction. The coder holds an interval of such fractions. Each bit
splits the interval in two parts as large as the probabilities of 1 and of 0, and the part of the bit that came becomes
the new interval. At the end any fraction inside the interval tells all bits, and a bit of probability p has cost
-log2(p) bits. The encoder follows the lower end of the interval (`low`), the decoder how far above it the message lies
(`above`). Both widen the interval by a byte (`span <<= 8`) when it falls below 2^24, so 32 bits are enough.

A bit's probability is what bits in the same context were so far. `table[context]` holds it together with how often the
context was met; a context that was met rarely moves fast. Encoder and decoder move it alike, after each bit.

`low` may overflow 32 bits, which adds 1 to bytes that are already done. The encoder therefore holds the last byte that
is not 255 back, and counts the 255s behind it (`_shift_out`).

Source: the range coder of LZMA (Igor Pavlov, LZMA SDK, `lzma-specification.txt`), after G. N. N. Martin, "Range
encoding: an algorithm for removing redundancy from a digitised message", 1979. LZMA's probabilities move at one rate;
those here begin fast and slow down.

The state of a coder is a NamedTuple of integers that every function takes and returns: numba keeps it in registers.
"""

from typing import NamedTuple

import numba
import numpy as np

MAX_DISTANCE = 31
"""The largest move of `write_move`."""
MOVE_CONTEXTS = 2 + 2 * MAX_DISTANCE
"""Contexts of one move: is there one, which way, then the distance downwards and upwards."""

_RATES = np.array([max(1, round(np.log2(n + 1.5))) for n in range(46)], np.int64)  # 1 to 6
"""By how often a context was met, at most _MAX_SEEN: a bit moves its probability by 1 / 2^rate of the way."""
_MAX_SEEN = len(_RATES) - 1
_ONE = 1 << 16
_HALF = _ONE >> 1  # where each context begins; kept as 0, so that memory never used is never touched
_MARGIN = 64  # probabilities stay this far from 0 and 1
_TOP = 1 << 24  # the interval is widened below this
_WHOLE = 0xFFFFFFFF


class Interval(NamedTuple):
    """State of an encoder."""

    low: int
    span: int


class Output(NamedTuple):
    """Where an encoder writes."""

    data: np.ndarray
    """uint8, large enough."""
    held_back: np.ndarray
    """int64 (place of the next byte, the byte held back, how many are held back: all but the first are 255)."""


class Position(NamedTuple):
    """State of a decoder: how far the message lies above the interval's lower end, and the next byte to read."""

    above: int
    span: int
    place: int


@numba.njit(forceinline=True)
def _probability(state):  # type: ignore[no-untyped-def]
    """Of a 1, in 1/65536."""
    return (state & 0xFFFF) ^ _HALF


@numba.njit(forceinline=True)
def _after_one(state):  # type: ignore[no-untyped-def]
    """The state of a context after a 1."""
    p, seen = _probability(state), state >> 16
    p += (_ONE - _MARGIN - p) >> _RATES[np.uint64(seen)]
    return (p ^ _HALF) | (min(seen + 1, _MAX_SEEN) << 16)


@numba.njit(forceinline=True)
def _after_zero(state):  # type: ignore[no-untyped-def]
    """The state of a context after a 0."""
    p, seen = _probability(state), state >> 16
    p -= (p - _MARGIN) >> _RATES[np.uint64(seen)]
    return (p ^ _HALF) | (min(seen + 1, _MAX_SEEN) << 16)


@numba.njit
def _shift_out(low, out):  # type: ignore[no-untyped-def]
    """Move the top byte of `low` out; a carry still to come may change the bytes held back."""
    data, back = out.data, out.held_back
    if low < 0xFF000000 or low > 0xFFFFFFFF:
        carry = low >> 32
        byte = back[1]
        while back[2] > 0:
            data[back[0]] = (byte + carry) & 0xFF
            back[0] += 1
            back[2] -= 1
            byte = 0xFF
        back[1] = (low >> 24) & 0xFF
    back[2] += 1
    return (low & 0x00FFFFFF) << 8


@numba.njit
def begin_writing(out):  # type: ignore[no-untyped-def]
    """The first state of an encoder; what `out` held is forgotten."""
    out.held_back[0], out.held_back[1], out.held_back[2] = 0, 0, 1
    return Interval(np.int64(0), np.int64(_WHOLE))  # type: ignore[arg-type]


@numba.njit(forceinline=True)
def write_bit(interval, out, table, context, bit):  # type: ignore[no-untyped-def]
    """Write one bit. Returns the interval."""
    context = np.uint64(context)  # unsigned: an index that cannot be negative needs no test for it
    low, span = interval.low, interval.span
    state = table[context]
    bound = (span >> 16) * _probability(state)
    if bit:
        span = bound
        table[context] = _after_one(state)
    else:
        low, span = low + bound, span - bound
        table[context] = _after_zero(state)
    while span < _TOP:
        span <<= 8
        low = _shift_out(low, out)
    return Interval(low, span)


@numba.njit
def end_writing(interval, out):  # type: ignore[no-untyped-def]
    """Write the fraction of the interval that ends in most zeros: a reader takes missing bytes as zero."""
    low = interval.low
    for zeros in range(32, 0, -1):
        rounded = ((low + interval.span - 1) >> zeros) << zeros
        if rounded >= low:
            low = rounded
            break
    for _ in range(5):
        low = _shift_out(low, out)


@numba.njit
def begin_reading(data):  # type: ignore[no-untyped-def]
    """The first state of a decoder of `data` (uint8)."""
    above = np.int64(0)
    for i in range(4):
        above = (above << 8) | (np.int64(data[i]) if i < len(data) else 0)
    return Position(above, np.int64(_WHOLE), np.int64(4))  # type: ignore[arg-type]


@numba.njit(forceinline=True)
def read_bit(position, data, table, context):  # type: ignore[no-untyped-def]
    """Read one bit. Returns the bit, the position."""
    context = np.uint64(context)
    above, span, place = position.above, position.span, position.place
    state = table[context]
    bound = (span >> 16) * _probability(state)
    bit = above < bound
    if bit:
        span = bound
        table[context] = _after_one(state)
    else:
        above, span = above - bound, span - bound
        table[context] = _after_zero(state)
    while span < _TOP:
        span <<= 8
        above <<= 8
        if place < len(data):
            above |= np.int64(data[place])
        place += 1
    return bit, Position(above, span, place)


# A move is a number from 0 to `last`, told by how far it is from the number `before`: is it another one, which way
# (unless `before` is at an end), how far.


@numba.njit(forceinline=True)
def write_move(interval, out, table, context, before, last, value):  # type: ignore[no-untyped-def]
    """Write the move from `before` to `value`. Returns the interval."""
    interval = write_bit(interval, out, table, context, value != before)
    if value == before:
        return interval
    up = value > before
    if 0 < before < last:
        interval = write_bit(interval, out, table, context + 1, up)
    first = context + 2 + (MAX_DISTANCE if up else 0)
    furthest = last - before if up else before
    far = abs(value - before)
    for distance in range(1, min(far + 1, furthest)):
        interval = write_bit(interval, out, table, first + distance - 1, far > distance)
    return interval


@numba.njit(forceinline=True)
def read_move(position, data, table, context, before, last):  # type: ignore[no-untyped-def]
    """Read what `write_move` wrote. Returns the number, the position."""
    moved, position = read_bit(position, data, table, context)
    if not moved:
        return before, position
    up = before == 0
    if 0 < before < last:
        up, position = read_bit(position, data, table, context + 1)
    first = context + 2 + (MAX_DISTANCE if up else 0)
    furthest = last - before if up else before
    distance = 1
    while distance < furthest:
        further, position = read_bit(position, data, table, first + distance - 1)
        if not further:
            break
        distance += 1
    return (before + distance if up else before - distance), position
