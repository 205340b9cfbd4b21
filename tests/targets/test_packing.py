import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_kd.targets.frame_contexts import EMPTY_TAIL, MAX_CLASSES_PER_FRAME, MAX_CODE, MAX_ID_BITS
from asr_kd.targets.range_coder import FrameCodes, RangeEncoder, unpack


def packable(frames):
    """frames: of each its tail's code and {id: code}; the likeliest first, ties as they come."""
    ordered = [sorted(classes.items(), key=lambda item: item[1]) for _, classes in frames]
    return FrameCodes(
        np.array([len(o) for o in ordered], np.int32),
        np.array([c for o in ordered for c, _ in o], np.int32),
        np.array([code for o in ordered for _, code in o], np.uint8),
        np.array([tail for tail, _ in frames], np.uint8),
    )


def through(rows, id_bits):
    """Pack and unpack the rows of one shard."""
    packer = RangeEncoder(id_bits)
    packed = [packer.pack(packable(row)) for row in rows]
    ends = np.cumsum([len(p) for p in packed], dtype=np.int64)
    frames = np.array([len(row) for row in rows], np.int64)
    kept = sum(len(classes) for row in rows for _, classes in row)
    return unpack(np.frombuffer(b"".join(packed), np.uint8), ends, frames, kept, id_bits)


def check(rows, id_bits):
    back = through(rows, id_bits)
    frames = [frame for row in rows for frame in row]
    assert back.counts_T.tolist() == [len(classes) for _, classes in frames]
    assert back.tails_T.tolist() == [tail for tail, _ in frames]
    place = 0
    for _, classes in frames:
        span = slice(place, place + len(classes))
        place += len(classes)
        ids, codes = back.ids_N[span].tolist(), back.codes_N[span].tolist()
        assert dict(zip(ids, codes, strict=True)) == classes
        assert codes == sorted(codes)
        assert ids[0] == min(
            classes, key=classes.__getitem__
        )  # the first of the likeliest, also where several share it


def frame(id_bits):
    ids = st.integers(0, 2**id_bits - 1)
    return st.tuples(
        st.integers(0, EMPTY_TAIL), st.dictionaries(ids, st.integers(0, MAX_CODE), min_size=1, max_size=12)
    )


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, MAX_ID_BITS))
def test_every_class_code_count_and_tail_comes_back(data, id_bits):
    check(data.draw(st.lists(st.lists(frame(id_bits), max_size=8), max_size=4)), id_bits)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.floats(0, 1))
def test_frames_like_those_before_come_back_and_take_less_room(seed, changing):
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(3):
        classes = {int(c): int(rng.integers(0, 15)) for c in rng.integers(0, 900, 9)}
        row = []
        for _ in range(60):
            if rng.random() < changing:
                classes = {c: min(max(code + int(rng.integers(-1, 2)), 0), 30) for c, code in classes.items()}
                classes[int(rng.integers(0, 900))] = int(rng.integers(0, 15))
                classes.pop(next(iter(classes)))
            row.append((7, dict(classes)))
        rows.append(row)
    check(rows, 10)
    still = RangeEncoder(10).pack(packable([rows[0][0]] * 200))
    assert len(still) < len(RangeEncoder(10).pack(packable([rows[0][0]]))) + 30  # 199 frames without news


def test_all_65536_class_ids_in_frames_of_255_and_each_alone():
    ids = np.random.default_rng(0).permutation(1 << MAX_ID_BITS).tolist()
    step = MAX_CLASSES_PER_FRAME
    full = [(3, {c: i % 31 for i, c in enumerate(ids[at : at + step])}) for at in range(0, len(ids), step)]
    check([full], MAX_ID_BITS)
    check([[(EMPTY_TAIL, {c: 0}) for c in ids[:500]]], MAX_ID_BITS)  # k = 1


@pytest.mark.parametrize("rows", [[], [[]], [[], [(0, {0: 0})], []], [[(EMPTY_TAIL, {1: MAX_CODE})]]])
def test_empty_utterances_and_single_frames(rows):
    check(rows, 1)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.lists(st.integers(0, 30), min_size=1, max_size=4), st.integers(0, 600))
def test_other_bytes_are_refused_or_give_classes_that_exist(data, frames, kept):
    ends = np.linspace(0, len(data), len(frames) + 1).astype(np.int64)[1:]
    try:
        back = unpack(np.frombuffer(data, np.uint8), ends, np.array(frames, np.int64), kept, 6)
    except ValueError:
        return
    assert back.counts_T.sum() == len(back.ids_N) == kept
    assert back.counts_T.min(initial=1) >= 1 and back.counts_T.max(initial=0) <= MAX_CLASSES_PER_FRAME
    assert back.ids_N.max(initial=0) < 64 and back.ids_N.min(initial=0) >= 0
    assert back.codes_N.max(initial=0) <= MAX_CODE


def test_a_claim_of_more_frames_than_the_bytes_can_hold_is_refused_before_room_is_made_for_them():
    with pytest.raises(ValueError, match="damaged"):
        unpack(np.zeros(5, np.uint8), np.array([5]), np.array([1 << 40]), 1, 4)
