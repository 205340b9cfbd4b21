import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from asr_kd.label.encoding import EncodedRows, Quantiser, encode_table
from asr_kd.label.selection import SelectionConfig, select
from asr_kd.label.soft_targets import normalised, truncated

QUANTISER = Quantiser()
LOG_P = arrays(np.float32, st.integers(1, 50), elements=st.floats(-16, 0, width=32))


@given(LOG_P)
def test_a_value_comes_back_within_half_a_step_on_the_square_root_scale(log_p):
    back = QUANTISER.decode(QUANTISER.encode(log_p))
    bound = QUANTISER.step * np.sqrt(-log_p) + QUANTISER.step**2 / 4
    assert (np.abs(back - log_p) <= bound * (1 + 1e-3) + 1e-6).all()
    assert (np.abs(np.exp(back) - np.exp(log_p)) < 0.007).all()  # a probability is off by less than 0.7%


@given(LOG_P)
def test_order_survives_quantisation(log_p):
    falling = np.sort(log_p)[::-1]
    assert (np.diff(QUANTISER.decode(QUANTISER.encode(falling))) <= 0).all()


def test_extremes_certain_empty_and_below_the_floor():
    codes = QUANTISER.encode(np.array([0.0, 1e-9, -np.inf, -16.0, -1000.0], np.float32))
    np.testing.assert_array_equal(QUANTISER.decode(codes)[:3], [0.0, 0.0, -np.inf])
    np.testing.assert_allclose(QUANTISER.decode(codes)[3:], -16.0, rtol=1e-6)


def selected(seed, frames, selection):
    generator = torch.Generator().manual_seed(seed)
    return select((3 * torch.randn(frames, 40, generator=generator)).log_softmax(-1), selection)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.lists(st.integers(1, 30), min_size=1, max_size=4), st.sampled_from([None, 0.5, 0.9]))
def test_a_table_gives_back_every_row_and_class_in_order(seed, lengths, mass):
    rows = [selected(seed + i, n, SelectionConfig(k=6, mass=mass)) for i, n in enumerate(lengths)]
    rows.insert(1, "damaged audio")
    table = encode_table([f"u{i}" for i in range(len(rows))], rows, QUANTISER)
    decoded = EncodedRows(table, Quantiser.of({"quantisation": QUANTISER.describe()}))
    assert decoded[1] is None and table.column("reason")[1].as_py() == "damaged audio"
    for got, want in zip(decoded, rows, strict=True):
        if isinstance(want, str):
            continue
        k = (want.ids_TK >= 0).sum(1).max()
        assert got.ids_TK.dtype == np.int32 and got.log_p_TK.dtype == got.log_tail_T.dtype == np.float32
        np.testing.assert_array_equal(got.ids_TK, want.ids_TK[:, :k])
        np.testing.assert_allclose(np.exp(got.log_p_TK), np.exp(want.log_p_TK[:, :k]), atol=0.007)
        np.testing.assert_allclose(np.exp(got.log_tail_T), np.exp(want.log_tail_T), atol=0.007)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 8))
def test_truncating_afterwards_is_selecting_fewer_at_first(seed, k):
    few = selected(seed, 7, SelectionConfig(k=k))
    cut = truncated(selected(seed, 7, SelectionConfig(k=8)), k)
    np.testing.assert_array_equal(cut.ids_TK, few.ids_TK)
    np.testing.assert_allclose(cut.log_tail_T, few.log_tail_T, atol=1e-4)
    np.testing.assert_allclose(
        np.exp(normalised(cut).log_p_TK).sum(1) + np.exp(normalised(cut).log_tail_T), 1, atol=1e-5
    )
