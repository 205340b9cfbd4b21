"""Targets of a shard in a few bytes a frame: what changed since the frame before, through an adaptive range coder.

Neighbouring frames keep much the same classes at much the same probabilities. A frame is therefore told as: the code of
its tail; of each class of the frame before, whether it is still kept and how its code moved; which classes are new;
their codes; which of the likeliest is the best one. Each yes or no among these is coded with the probability that such
questions had so far in the file (`_bit`), so what can be foreseen costs next to nothing.

The coder is LZMA's (Igor Pavlov; a binary range coder with carry, 32 bits), with probabilities that move fast at first.
docs/sidecars.md writes the format down, with a reader in plain Python.
One routine (`_code_rows`) serves both directions, so what is written is what is read; `back is None` means reading,
which the compiler resolves.
"""

from dataclasses import dataclass

import numba
import numpy as np

CODES = 32
"""Codes of a probability, 0 the largest. Of a class at most LARGEST_CODE; a tail may be empty."""
MAX_CODE = CODES - 2
EMPTY_TAIL = CODES - 1
MAX_CLASSES_PER_FRAME = 255
MAX_ID_BITS = 16

# A context is a number in one table of probabilities; these are where each question's contexts begin.
_MOVES = 64  # contexts of one `_move`
_AT_TAIL = 0  # (tail before, the one before that)
_AT_KEPT = _AT_TAIL + CODES * CODES * _MOVES  # (code before + 1, the one before that + 1, share of classes gone so far)
_AT_MOVE = _AT_KEPT + CODES * CODES * 4  # (code before + 1, the one before that + 1, drift so far)
_AT_ANY = _AT_MOVE + CODES * CODES * 3 * _MOVES  # (tail: same, larger, smaller; classes gone; classes before)
_AT_LEVEL = _AT_ANY + 3 * 8 * 8  # (code two frames before + 1, code of the latest new class)
_AT_BEST = _AT_LEVEL + CODES * CODES * _MOVES  # (rank)
_AT_ID = _AT_BEST + 8  # (node of the tree of ids; left, right)

_RATES = np.array([max(1, round(np.log2(n + 1.5))) for n in range(46)], np.int64)  # 1 to 6
"""By how often a context was met, at most _MOST_SEEN: a bit moves its probability by 1 / 2^rate of the way."""
_MAX_SEEN = len(_RATES) - 1
_ONE = 1 << 16
_HALF = _ONE >> 1  # where each context begins; kept as 0, so that memory never used is never touched
_NARROW = 64  # probabilities stay this far from 0 and 1

_MAX_PER_BYTE = 4096  # frames or classes; a question costs at least 0.0014 bits; a frame has three, a class two
_SPARE = 8  # bytes that an utterance may do without: zeros at its end are not written
_TOP = 1 << 24  # the interval is widened below this


@numba.njit(cache=True)
def _shift_low(low, back, data):  # type: ignore[no-untyped-def]
    """Move the top byte of the encoder's low end out; a carry still to come may change the bytes held back.

    back: place of the next byte, the byte held back, how many are held back (all but the first are 255).
    """
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


@numba.njit(cache=True, forceinline=True)
def _bit(at, span, place, back, data, model, context, bit):  # type: ignore[no-untyped-def]
    """Read a bit, or write `bit`; the context's probability moves towards what it was.

    at, span: the coder's interval; `at` is its low end when writing, where in it the data lie when reading.
    place: of the next byte to read.  Returns the bit, at, span, place.
    """
    context = np.uint64(context)
    state = model[context]
    p, seen = (state & 0xFFFF) ^ _HALF, state >> 16  # of a 1, in 1/65536
    rate = _RATES[np.uint64(seen)]
    bound = (span >> 16) * p
    if back is None:
        bit = at < bound
    if bit:
        span = bound
        p += (_ONE - _NARROW - p) >> rate
    else:
        if back is None:
            at -= bound
        else:
            at += bound
        span -= bound
        p -= (p - _NARROW) >> rate
    model[context] = (p ^ _HALF) | (min(seen + 1, _MAX_SEEN) << 16)
    while span < _TOP:
        span <<= 8
        if back is None:
            at <<= 8
            if place < len(data):
                at |= np.int64(data[place])
            place += 1
        else:
            at = _shift_low(at, back, data)
    return bit, at, span, place


@numba.njit(cache=True, forceinline=True)
def _move(at, span, place, back, data, model, context, before, last, value):  # type: ignore[no-untyped-def]
    """A code from 0 to `last`, told by how far it is from `before`: whether, which way (unless at an end), how far."""
    bit, at, span, place = _bit(at, span, place, back, data, model, context, value != before)
    if not bit:
        return before, at, span, place
    up = before == 0
    if 0 < before < last:
        up, at, span, place = _bit(at, span, place, back, data, model, context + 1, value > before)
    most = last - before if up else before
    far = abs(value - before)
    first = context + 2 + (31 if up else 0)
    distance = 1
    while distance < most:
        bit, at, span, place = _bit(at, span, place, back, data, model, first + distance - 1, far > distance)
        if not bit:
            break
        distance += 1
    return before + distance if up else before - distance, at, span, place


@numba.njit(cache=True)
def _end_writing(low, span, back, data):  # type: ignore[no-untyped-def]
    """Of the numbers that mean the same take the one that ends in most zeros: a reader takes missing bytes as zero."""
    for zeros in range(32, 0, -1):
        rounded = ((low + span - 1) >> zeros) << zeros
        if rounded >= low:
            low = rounded
            break
    for _ in range(5):
        low = _shift_low(low, back, data)


@numba.njit(cache=True)
def _code_rows(  # type: ignore[no-untyped-def]
    data, back, model, id_bits, counts, ids, codes, tails, first, now, before, earlier, wanted
):
    """One utterance, either way; `first` is where its classes begin in `ids` and `codes`. Returns where they end.

    now, before, earlier: code + 1 of each class in this frame, the one before and the one before that, 0 = not kept.
    wanted: for each node of the tree of ids, how many new classes lie under it; only for writing.
    Reading returns -1 when the classes do not fit, which only damaged data does.
    """
    span, place, at = np.int64(0xFFFFFFFF), np.int64(4), np.int64(0)
    if back is None:
        for i in range(4):
            at = (at << 8) | (np.int64(data[i]) if i < len(data) else 0)
    else:
        back[0], back[1], back[2] = 0, 0, 1
    first_leaf = 1 << id_bits
    # Unsigned: an index that cannot be negative needs no test for it.
    held = np.empty(256, np.uint32)  # classes of the frame before, the likeliest first
    older = np.empty(256, np.uint32)
    kept = np.empty(256, np.uint32)
    stack = np.empty(2 * MAX_ID_BITS + 2, np.int32)
    ends = np.empty(CODES, np.int64)
    n_held = n_older = 0
    tail_before = tail_earlier = usual = np.int64(0)
    for t in range(len(tails)):
        n = 0
        best = 0
        if back is not None:
            best = ids[first]
            for i in range(first, first + counts[t]):
                now[ids[i]] = codes[i] + 1
        context = _AT_TAIL + (tail_before * CODES + tail_earlier) * _MOVES
        tail, at, span, place = _move(
            at, span, place, back, data, model, context, tail_before, EMPTY_TAIL, np.int64(tails[t])
        )
        tails[t] = tail
        trend = 0 if tail == tail_before else (1 if tail > tail_before else 2)
        tail_earlier, tail_before = tail_before, tail
        gone = drift = 0
        for j in range(n_held):
            c = held[j]
            b, past = np.int64(before[c]) - 1, np.int64(before[c]) * CODES + np.int64(earlier[c])
            share = 0 if j == 0 else 1 + (4 * gone > j) + (2 * gone > j)
            context = _AT_KEPT + past * 4 + share
            bit, at, span, place = _bit(at, span, place, back, data, model, context, now[c] > 0)
            if bit:
                context = _AT_MOVE + (past * 3 + (0 if drift == 0 else (1 if drift > 0 else 2))) * _MOVES
                code, at, span, place = _move(
                    at, span, place, back, data, model, context, b, MAX_CODE, np.int64(now[c]) - 1
                )
                drift += code - b
                now[c] = code + 1
                kept[n] = c
                n += 1
            else:
                gone += 1
        n_old = n
        if back is not None:
            for i in range(first, first + counts[t]):
                if before[ids[i]] == 0:
                    node = ids[i] + first_leaf
                    while node > 0:
                        wanted[node] += 1
                        node >>= 1
        context = _AT_ANY + (trend * 8 + min(gone, 7)) * 8 + min(n_held, 7)
        bit, at, span, place = _bit(at, span, place, back, data, model, context, back is not None and wanted[1] > 0)
        if bit:
            stack[0] = 1
            depth = 1
            while depth > 0:
                depth -= 1
                node = stack[depth]
                if node >= first_leaf:
                    c = node - first_leaf
                    if back is None:
                        if now[c] > 0 or n >= MAX_CLASSES_PER_FRAME:
                            return -1
                        now[c] = 1
                    kept[n] = c
                    n += 1
                    continue
                left, right = 2 * node, 2 * node + 1
                context = _AT_ID + 2 * node
                in_left, at, span, place = _bit(
                    at, span, place, back, data, model, context, back is not None and wanted[left] > 0
                )
                in_right = True
                if in_left:
                    in_right, at, span, place = _bit(
                        at, span, place, back, data, model, context + 1, back is not None and wanted[right] > 0
                    )
                if in_right:
                    stack[depth] = right
                    depth += 1
                if in_left:
                    stack[depth] = left
                    depth += 1
            for i in range(n_old, n):
                c = kept[i]
                context = _AT_LEVEL + (np.int64(earlier[c]) * CODES + usual) * _MOVES
                code, at, span, place = _move(
                    at, span, place, back, data, model, context, usual, MAX_CODE, np.int64(now[c]) - 1
                )
                now[c] = code + 1
                usual = code
        if n == 0:
            return -1
        if back is not None:
            for i in range(n_old, n):
                node = kept[i] + first_leaf
                while node > 0:
                    wanted[node] = 0
                    node >>= 1
        # The classes of this frame become those of the frame before.
        for j in range(n_older):
            earlier[older[j]] = 0
        for j in range(n_held):
            c = held[j]
            older[j] = c
            earlier[c] = before[c]
            before[c] = 0
        n_older = n_held
        # Likeliest first: by code, in the order they came.
        least, most, total = CODES, 0, 0
        for i in range(n):
            code = now[kept[i]] - 1
            least, most = min(least, code), max(most, code)
        ends[least : most + 1] = 0
        for i in range(n):
            ends[now[kept[i]] - 1] += 1
        tied = ends[least]
        for code in range(least, most + 1):
            total, ends[code] = total + ends[code], total
        for i in range(n):
            c = kept[i]
            code = now[c] - 1
            held[ends[code]] = c
            ends[code] += 1
            before[c] = code + 1
            now[c] = 0
        n_held = n
        rank = 0
        while rank < tied - 1:
            context = _AT_BEST + min(rank, 7)
            bit, at, span, place = _bit(at, span, place, back, data, model, context, held[rank] == best)
            if bit:
                break
            rank += 1
        best = held[rank]
        for j in range(rank, 0, -1):
            held[j] = held[j - 1]
        held[0] = best
        if back is None:
            if first + n > len(ids):
                return -1
            for i in range(n):
                ids[first + i] = held[i]
                codes[first + i] = before[held[i]] - 1
            counts[t] = n
        first += counts[t]
    # The next utterance begins without a past.
    for j in range(n_older):
        earlier[older[j]] = 0
    for j in range(n_held):
        before[held[j]] = 0
    if back is not None:
        _end_writing(at, span, back, data)
    return first


@numba.njit(cache=True)
def _read_rows(  # type: ignore[no-untyped-def]
    data, ends, frames, model, id_bits, counts, ids, codes, tails, now, before, earlier
):
    """All utterances of a shard, one after the other. Returns the classes read, -1 when the data are damaged."""
    first = begin = t = 0
    nothing = np.zeros(2, np.int32)
    for row in range(len(ends)):
        first = _code_rows(
            data[begin : ends[row]], None, model, id_bits, counts[t : t + frames[row]], ids, codes,
            tails[t : t + frames[row]], first, now, before, earlier, nothing
        )  # fmt: skip
        if first < 0:
            return -1
        begin, t = ends[row], t + frames[row]
    return first


class _Model:
    """What a coder has learnt of a shard so far, and its working space."""

    def __init__(self, id_bits: int) -> None:
        self.id_bits = id_bits
        self.table = np.zeros(_AT_ID + (2 << id_bits), np.int64)
        self.back = np.zeros(3, np.int64)
        self.now, self.before, self.earlier = (np.zeros(1 << id_bits, np.uint8) for _ in range(3))
        self.wanted = np.zeros(2 << id_bits, np.int32)


@dataclass
class FrameCodes:
    """Frames in a row: each has the next `counts_T[t]` entries of `ids_N` and `codes_N`, likeliest first."""

    counts_T: np.ndarray
    ids_N: np.ndarray
    """int32 class ids, no class twice in a frame."""
    codes_N: np.ndarray
    """uint8, 0 to LARGEST_CODE, not falling within a frame."""
    tails_T: np.ndarray
    """uint8, the code of each frame's tail, or EMPTY_TAIL."""


class RangeEncoder:
    """Packs utterance after utterance of one shard; each is told with what was learnt from those before."""

    def __init__(self, id_bits: int) -> None:
        self._model = _Model(id_bits)

    def pack(self, row: FrameCodes) -> bytes:
        """The bytes of the next utterance. Classes that share a code in a frame may come back in another order."""
        m = self._model
        data = np.empty(64 + 64 * len(row.tails_T) + 256 * len(row.ids_N), np.uint8)
        end = _code_rows(
            data, m.back, m.table, m.id_bits, row.counts_T, row.ids_N, row.codes_N, row.tails_T, 0,
            m.now, m.before, m.earlier, m.wanted,
        )  # fmt: skip
        assert end == len(row.ids_N)
        return data[1 : m.back[0]].tobytes().rstrip(b"\0")  # the first byte is always 0


def unpack(data: np.ndarray, ends: np.ndarray, frames: np.ndarray, kept: int, id_bits: int) -> FrameCodes:
    """All utterances of a shard, joined.

    data: uint8, the bytes of all.  ends: int64, where each one's bytes end.  frames: int64, its frames.
    kept: classes of all frames together. ValueError when the bytes cannot be of these.
    """
    total = int(frames.sum())
    if max(total, kept) > _MAX_PER_BYTE * (len(data) + _SPARE * len(ends)):
        raise ValueError("the packed targets are damaged")
    m = _Model(id_bits)
    counts_T, tails_T = np.empty(total, np.int32), np.empty(total, np.uint8)
    ids_N, codes_N = np.empty(kept, np.int32), np.empty(kept, np.uint8)
    end = _read_rows(
        np.array(data), ends, frames, m.table, id_bits, counts_T, ids_N, codes_N, tails_T,
        m.now, m.before, m.earlier,
    )  # fmt: skip
    if end != kept:
        raise ValueError("the packed targets are damaged")
    return FrameCodes(counts_T, ids_N, codes_N, tails_T)
