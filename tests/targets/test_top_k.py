import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_kd.targets.topk import (
    CPU_BLOCK_FRAMES,
    SelectionConfig,
    _in_one_copy,
    _select_together,
    select_top_k,
    select_top_k_batch,
)


def posteriors(seed, frames=5, classes=12, spread=3.0):
    generator = torch.Generator().manual_seed(seed)
    return (spread * torch.randn(frames, classes, generator=generator)).log_softmax(-1)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 15), st.floats(0.2, 30))
def test_top_k_and_tail_hold_all_the_mass_in_falling_order(seed, k, spread):
    log_p_TC = posteriors(seed, spread=spread)
    kept = select_top_k(log_p_TC, SelectionConfig(top_k=k, min_prob=0))
    assert kept.ids_TK.shape == kept.log_p_TK.shape == (5, min(k, 12))
    np.testing.assert_allclose(np.exp(kept.log_p_TK).sum(1) + np.exp(kept.log_tail_T), 1, atol=1e-5)
    assert (np.diff(kept.log_p_TK, axis=1) <= 0).all()
    np.testing.assert_array_equal(np.take_along_axis(log_p_TC.numpy(), kept.ids_TK, 1), kept.log_p_TK)
    rest_TC = log_p_TC.numpy().copy()
    np.put_along_axis(rest_TC, kept.ids_TK, -np.inf, 1)
    assert (rest_TC.max(1) <= kept.log_p_TK[:, -1]).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.05, 1), st.integers(1, 12))
def test_mass_keeps_the_fewest_classes_that_hold_it(seed, mass, k):
    kept = select_top_k(posteriors(seed), SelectionConfig(top_k=k, top_p=mass))
    for ids_K, log_p_K, log_tail in zip(kept.ids_TK, kept.log_p_TK, kept.log_tail_T, strict=True):
        count = (ids_K >= 0).sum()
        assert count >= 1 and (ids_K[:count] >= 0).all() and np.isneginf(log_p_K[count:]).all()
        held = np.exp(log_p_K[:count].astype(np.float64))
        assert count == k or held.sum() >= mass - 1e-5
        assert count == 1 or held[:-1].sum() < mass + 1e-5
        assert held.sum() + np.exp(log_tail) == pytest.approx(1, abs=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.floats(0, 0.99), st.integers(1, 12))
def test_a_floor_drops_what_is_less_likely_but_never_the_best(seed, floor, k):
    log_p_TC = posteriors(seed)
    kept = select_top_k(log_p_TC, SelectionConfig(top_k=k, min_prob=floor))
    p_TC = log_p_TC.exp().numpy()
    np.testing.assert_array_equal((kept.ids_TK >= 0).sum(1), np.clip((p_TC >= floor).sum(1), 1, k))
    np.testing.assert_array_equal(kept.ids_TK[:, 0], p_TC.argmax(1))
    np.testing.assert_allclose(np.exp(kept.log_p_TK).sum(1) + np.exp(kept.log_tail_T), 1, atol=1e-5)


def test_the_tail_of_a_sure_teacher_keeps_its_digits():
    log_p = torch.tensor([[0.0, -40.0, -40.0, -60.0]]).log_softmax(-1)
    kept = select_top_k(log_p, SelectionConfig(top_k=1))
    assert kept.log_tail_T[0] == pytest.approx(np.logaddexp(-40, -40), abs=1e-4)  # 1 - p would be exactly 0


def test_keeping_all_classes_leaves_nothing_over():
    kept = select_top_k(posteriors(0), SelectionConfig(top_k=20, min_prob=0))
    assert kept.k == 12 and np.isneginf(kept.log_tail_T).all()


@pytest.mark.parametrize(
    "wrong", [{"top_k": 0}, {"top_k": 256}, {"top_p": 0.0}, {"top_p": 1.5}, {"min_prob": -0.1}, {"min_prob": 1.0}]
)
def test_wrong_settings_are_refused_by_name(wrong):
    with pytest.raises(ValueError, match=rf"selection\.{next(iter(wrong))}"):
        SelectionConfig(**wrong)


@pytest.mark.parametrize("blocks", [0, 1, 2])
def test_frames_are_selected_one_by_one_however_many_there_are(blocks):
    frames = blocks * CPU_BLOCK_FRAMES + 3
    log_p_TC = posteriors(0, frames=frames)
    config = SelectionConfig(top_k=4, top_p=0.8)
    kept = select_top_k(log_p_TC, config)
    assert kept.frames == frames
    for t in {0, min(CPU_BLOCK_FRAMES, frames) - 1, frames - 3, frames - 1}:
        alone = select_top_k(log_p_TC[t : t + 1], config)
        np.testing.assert_array_equal(kept.ids_TK[t], alone.ids_TK[0])
        np.testing.assert_array_equal(kept.log_p_TK[t], alone.log_p_TK[0])
        assert kept.log_tail_T[t] == alone.log_tail_T[0]


def test_a_batch_is_selected_without_its_padding_and_what_is_not_finite_is_named():
    log_p_BTC = torch.stack([posteriors(seed, frames=6) for seed in range(3)])
    log_p_BTC[0, 4:] = torch.nan  # padding
    log_p_BTC[2, 1] = torch.nan
    first, second, third = select_top_k_batch(log_p_BTC, torch.tensor([4, 6, 6]), SelectionConfig(top_k=3))
    for got, log_p_TC in ((first, log_p_BTC[0, :4]), (second, log_p_BTC[1])):
        expected = select_top_k(log_p_TC, SelectionConfig(top_k=3))
        np.testing.assert_array_equal(got.ids_TK, expected.ids_TK)
        np.testing.assert_array_equal(got.log_p_TK, expected.log_p_TK)
        np.testing.assert_array_equal(got.log_tail_T, expected.log_tail_T)
    assert third is None


def test_classes_that_cannot_be_leave_nothing_over():
    log_p = torch.tensor([[0.0, -torch.inf, -torch.inf, -torch.inf], [-0.7, -0.7, -20.0, -torch.inf]]).log_softmax(-1)
    kept = select_top_k(log_p, SelectionConfig(top_k=2))
    assert np.isneginf(kept.log_tail_T[0]) and kept.log_tail_T[1] == pytest.approx(
        -20 - np.log(2 * np.exp(-0.7)), abs=1e-3
    )


def assert_same(got, expected):
    for name in ("ids_TK", "log_p_TK", "log_tail_T"):
        np.testing.assert_array_equal(getattr(got, name), getattr(expected, name))
        assert getattr(got, name).dtype == getattr(expected, name).dtype


def test_what_a_gpu_does_in_one_transfer_gives_the_same():
    log_p_BTC, frames_B = torch.stack([posteriors(seed, frames=6) for seed in range(3)]), torch.tensor([4, 6, 1])
    config = SelectionConfig(top_k=3, min_prob=0.05)
    together = _select_together(log_p_BTC, frames_B, config)
    for got, expected in zip(together, select_top_k_batch(log_p_BTC, frames_B, config), strict=True):
        assert_same(got, expected)
    (alone,) = _select_together(log_p_BTC[:1], frames_B[:1], config)
    assert_same(alone, together[0])
    kept = together[1]
    assert (kept.ids_TK < 0).any() and kept.k == 3
    assert_same(_in_one_copy(*(torch.from_numpy(x) for x in (kept.ids_TK, kept.log_p_TK, kept.log_tail_T))), kept)


def test_each_utterance_has_its_frames():
    with pytest.raises(ValueError):
        select_top_k_batch(posteriors(0)[None], torch.tensor([4, 4]), SelectionConfig())


def test_what_lies_on_a_bound_is_kept_or_not_as_the_options_say():
    p = [0.5, 0.25, 0.125, 0.125]  # exact in float32
    log_p = torch.tensor([p]).log()
    assert torch.equal(log_p.exp(), torch.tensor([p]))
    count = lambda **options: int((select_top_k(log_p, SelectionConfig(**options)).ids_TK >= 0).sum())
    assert [count(top_p=mass) for mass in (0.5, 0.51, 0.75, 1.0)] == [1, 2, 2, 4]
    assert [count(min_prob=floor) for floor in (0.125, 0.13, 0.25, 0.6)] == [4, 2, 2, 1]
    for bound in ({"top_k": 1}, {"top_k": 255}, {"top_p": 1.0}, {"min_prob": 0.0}):
        assert count(**bound) in (1, 4)
