import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from asr_kd.targets.codec import EMPTY_TAIL, MAX_CLASSES, SCHEMA, EncodedRows, ProbabilityQuantiser, encode_table
from asr_kd.targets.frame_targets import FrameTargets
from asr_kd.targets.topk import SelectionConfig, select_top_k

LOG_P = arrays(np.float32, st.integers(1, 50), elements=st.floats(-60, 0, width=32))
LEVELS = st.integers(2, 30)


@given(LOG_P, LEVELS)
def test_the_fourth_root_of_a_probability_comes_back_within_half_a_step(log_p, levels):
    quantiser = ProbabilityQuantiser(levels)
    codes = quantiser.encode(log_p)
    assert codes.max() <= levels < EMPTY_TAIL
    back = quantiser.probabilities[codes]
    assert (np.abs(back**0.25 - np.exp(log_p / 4)) <= 0.5 / levels + 1e-6).all()
    assert (np.abs(back - np.exp(log_p)) <= 2 / levels).all()  # at p = 1; the smaller p, the less


@given(LOG_P, LEVELS)
def test_order_survives_quantisation(log_p, levels):
    quantiser = ProbabilityQuantiser(levels)
    assert (np.diff(quantiser.probabilities[quantiser.encode(np.sort(log_p)[::-1])]) <= 0).all()


def test_extremes_certain_impossible_and_empty():
    quantiser = ProbabilityQuantiser(16)
    tails = np.array([0.0, -1e-9, -1000.0, -np.inf], np.float32)
    np.testing.assert_allclose(quantiser.probabilities[quantiser.encode_tail(tails)], [1, 1, 64**-4, 0])


@pytest.mark.parametrize("levels", [1, 31])
def test_levels_that_do_not_fit_are_refused(levels):
    with pytest.raises(ValueError, match=r"quantiser\.levels"):
        ProbabilityQuantiser(levels)


def selected(seed, frames, selection, classes=40):
    generator = torch.Generator().manual_seed(seed)
    return select_top_k((3 * torch.randn(frames, classes, generator=generator)).log_softmax(-1), selection)


def decoded(rows, quantiser, **options):
    table = encode_table([f"u{i}" for i in range(len(rows))], rows, quantiser)
    return table, EncodedRows(table, ProbabilityQuantiser.of({"quantisation": quantiser.describe()}), **options)


SELECTIONS = [
    {"top_k": 6, "min_prob": 0},
    {"top_k": 6, "top_p": 0.9},
    {"min_prob": 0.01},
    {"top_k": 1, "min_prob": 0},
    {"top_k": 40, "min_prob": 0},
]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.lists(st.integers(0, 30), max_size=4), st.sampled_from(SELECTIONS), st.integers(4, 30))
def test_a_table_gives_back_every_row_its_classes_counts_and_about_its_probabilities(seed, lengths, chosen, levels):
    quantiser = ProbabilityQuantiser(levels)
    rows = [selected(seed + i, n, SelectionConfig(**chosen)) for i, n in enumerate(lengths)]
    rows.insert(1, "damaged audio")
    table, back = decoded(rows, quantiser, classes=40)
    place = rows.index("damaged audio")
    assert back[place] is None and table.column("reason")[place].as_py() == "damaged audio"
    assert len(back) == len(rows) and table.column("packed")[place].as_py() is None
    for got, want in zip(back, rows, strict=True):
        if isinstance(want, str):
            continue
        assert got.ids_TK.dtype == np.int32 and got.log_p_TK.dtype == got.log_tail_T.dtype == np.float32
        counts_T = (want.ids_TK >= 0).sum(1)
        np.testing.assert_array_equal((got.ids_TK >= 0).sum(1), counts_T)
        assert got.ids_TK.shape == got.log_p_TK.shape == (want.frames, max(1, counts_T.max(initial=0)))
        p_TC, want_TC, stored_TC = (np.zeros((want.frames, 41)) for _ in range(3))
        for t, count in enumerate(counts_T):
            assert set(got.ids_TK[t, :count]) == set(want.ids_TK[t, :count]) and got.ids_TK[t, 0] == want.ids_TK[t, 0]
            p_TC[t, got.ids_TK[t, :count]] = np.exp(got.log_p_TK[t, :count])
            want_TC[t, want.ids_TK[t, :count]] = np.exp(want.log_p_TK[t, :count])
            assert np.isneginf(got.log_p_TK[t, count:]).all()
        p_TC[:, 40], want_TC[:, 40] = np.exp(got.log_tail_T), np.exp(want.log_tail_T)
        assert (np.diff(np.exp(got.log_p_TK), axis=1) <= 1e-6).all()
        np.testing.assert_allclose(p_TC.sum(1), 1, atol=1e-5)
        # Before they are scaled to sum to 1, every fourth root is within half a step; so the sum is bounded too.
        root_TC = want_TC**0.25
        stored_TC = (root_TC + 0.5 / levels) ** 4 * (want_TC > 0)
        least_TC = np.maximum(root_TC - 0.5 / levels, 0) ** 4
        assert (p_TC <= stored_TC / least_TC.sum(1, keepdims=True).clip(1e-9) + 1e-5).all()
        assert (p_TC >= least_TC / stored_TC.sum(1, keepdims=True).clip(1e-9) - 1e-5).all()
        assert (p_TC[:, 40][np.isneginf(want.log_tail_T)] == 0).all()


def test_a_fine_code_gives_back_the_posteriors_nearly():
    want = selected(0, 200, SelectionConfig(top_k=20, min_prob=0))
    (got,) = decoded([want], ProbabilityQuantiser(30))[1]
    np.testing.assert_allclose(np.exp(got.log_p_TK[:, 0]), np.exp(want.log_p_TK[:, 0]), atol=0.07)
    np.testing.assert_allclose(np.exp(got.log_tail_T), np.exp(want.log_tail_T), atol=0.02)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 8))
def test_truncating_afterwards_moves_what_is_left_out_into_the_tail(seed, k):
    rows = [selected(seed, 9, SelectionConfig(top_k=8, min_prob=0))]
    (whole,), (cut,) = decoded(rows, ProbabilityQuantiser())[1], decoded(rows, ProbabilityQuantiser(), k=k)[1]
    np.testing.assert_array_equal(cut.ids_TK, whole.ids_TK[:, :k])
    np.testing.assert_allclose(cut.log_p_TK, whole.log_p_TK[:, :k], atol=1e-6)
    left_out = np.exp(whole.log_p_TK[:, k:]).sum(1) + np.exp(whole.log_tail_T)
    np.testing.assert_allclose(np.exp(cut.log_tail_T), left_out, atol=1e-6)


def test_rows_can_be_asked_for_from_the_end_and_say_when_there_is_none():
    rows = decoded(
        [selected(0, 3, SelectionConfig()), "no audio", selected(1, 5, SelectionConfig())], ProbabilityQuantiser()
    )[1]
    assert (rows[-1].frames, rows[-3].frames, rows[-2]) == (5, 3, None)
    with pytest.raises(IndexError):
        rows[3]


def test_the_mass_of_a_row_is_what_its_classes_hold():
    want = selected(0, 50, SelectionConfig(top_k=5, min_prob=0))
    table, _ = decoded([want], ProbabilityQuantiser())
    assert table.column("mass")[0].as_py() == pytest.approx(np.exp(want.log_p_TK).sum(1).mean(), abs=1e-5)
    assert table.column("kept")[0].as_py() == 250


def test_what_a_quantiser_says_of_itself_is_what_a_reader_needs():
    """docs/sidecars.md promises these names."""
    assert ProbabilityQuantiser(20).describe() == {
        "formula": "p = max(1 - code / levels, 1 / (4 levels))^4",
        "levels": 20,
        "empty_tail": EMPTY_TAIL,
    }
    assert ProbabilityQuantiser(2).levels == 2 and ProbabilityQuantiser(30).levels == 30
    assert ProbabilityQuantiser().encode(np.array([0.3, 0.0])).tolist() == [0, 0]  # 1 and a rounding error


def hard(*classes):
    return FrameTargets.hard(np.array(classes, np.int32))


@pytest.mark.parametrize(
    ("rows", "bits"),
    [
        ([hard(0, 0)], 1),
        ([hard(1)], 1),
        ([hard(2, 0)], 2),
        ([hard(MAX_CLASSES - 1, 0, 7)], 16),
        ([hard(), "no audio"], 1),
        (["no audio"], 1),
        ([], 1),
    ],
)
def test_class_ids_take_as_many_bits_as_the_largest_needs(rows, bits):
    table, back = decoded(rows, ProbabilityQuantiser())
    assert table.schema.equals(SCHEMA) and table.column("id_bits").to_pylist() == [bits] * len(rows)
    assert len(back) == len(rows)
    for row, got, mass in zip(rows, back, table.column("mass").to_pylist(), strict=True):
        if isinstance(row, str):
            assert got is mass is None
        else:
            np.testing.assert_array_equal(got.ids_TK, row.ids_TK)
            assert mass == 1 and np.isneginf(got.log_tail_T).all()


def test_classes_must_be_below_those_of_the_inventory_and_ids_for_all_rows():
    table, rows = decoded([hard(4)], ProbabilityQuantiser(), classes=5)
    assert rows[0].ids_TK.tolist() == [[4]]
    with pytest.raises(ValueError, match=r"^holds class 4, the inventory has 4 classes$"):
        EncodedRows(table, ProbabilityQuantiser(), classes=4)
    with pytest.raises(ValueError):
        encode_table(["u0"], [hard(1), hard(1)], ProbabilityQuantiser())
    with pytest.raises(AssertionError):
        encode_table(["u0"], [hard(MAX_CLASSES)], ProbabilityQuantiser())


def test_damage_and_classes_that_do_not_exist_are_refused():
    table, _ = decoded([selected(0, 30, SelectionConfig())] * 2, ProbabilityQuantiser())
    with pytest.raises(ValueError, match="the inventory has 20 classes"):
        EncodedRows(table, ProbabilityQuantiser(), classes=20)
    for column, wrong in (
        ("kept", [1, 1]),
        ("kept", [-1, 1]),
        ("id_bits", [0, 0]),
        ("id_bits", [17, 17]),
        ("id_bits", [3, 6]),
        ("frames", [1 << 30, 1]),
        ("frames", [-1, 1]),
    ):
        position = table.schema.get_field_index(column)
        broken = table.set_column(
            position, table.schema.field(column), pa.array(wrong, table.schema.field(column).type)
        )
        with pytest.raises(ValueError, match="damaged"):
            EncodedRows(broken, ProbabilityQuantiser())
