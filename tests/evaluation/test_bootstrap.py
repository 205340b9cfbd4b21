import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_kd.evaluation import bootstrap
from asr_kd.evaluation.bootstrap import (
    BootstrapConfig,
    choose_unit,
    estimate,
    interval,
    p_value,
    ratio,
    recovery_rate,
    relative_reduction,
    resampled_sums,
    sum_by_unit,
)

counts = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8), st.integers(1, 8)), min_size=1, max_size=40)


def sums(table, seed=0, resamples=400):
    return resampled_sums(np.array(table, dtype=float), resamples, seed).T


@settings(max_examples=60, deadline=None)
@given(counts)
def test_interval_contains_the_estimate(table):
    errors_R, _, words_R = sums(table)
    low, high = interval(ratio(errors_R, words_R))
    assert low <= estimate(ratio(errors_R, words_R)) <= high


@settings(max_examples=60, deadline=None)
@given(counts)
def test_a_system_does_not_differ_from_itself(table):
    errors_R, _, words_R = sums(table)
    difference_R = ratio(errors_R, words_R) - ratio(errors_R, words_R)
    assert interval(difference_R) == [0, 0]
    assert p_value(difference_R) == 1


@settings(max_examples=60, deadline=None)
@given(counts)
def test_swapping_two_systems_turns_the_difference_and_keeps_p(table):
    a_R, b_R, _ = sums(table)
    assert p_value(a_R - b_R) == p_value(b_R - a_R)
    assert estimate(a_R - b_R) == -estimate(b_R - a_R)


@settings(max_examples=60, deadline=None)
@given(counts)
def test_baseline_recovers_nothing_and_oracle_everything(table):
    table = [(worse + better, better, words) for worse, better, words in table]
    baseline_R, oracle_R, _ = sums(table)
    if baseline_R[0] > oracle_R[0]:
        assert estimate(recovery_rate(baseline_R, baseline_R, oracle_R)) == 0
        assert estimate(recovery_rate(baseline_R, oracle_R, oracle_R)) == 1


def test_recovery_has_no_value_when_the_oracle_is_no_better():
    baseline_R, oracle_R, _ = sums([(1, 2, 9)] * 5)
    assert estimate(recovery_rate(baseline_R, baseline_R, oracle_R)) is None
    assert interval(recovery_rate(baseline_R, baseline_R, oracle_R)) is None


def test_recovery_has_no_interval_when_the_oracle_may_be_no_better():
    oracle_gains_on_one = [(1, 0, 9)] + [(1, 1, 9)] * 20
    baseline_R, oracle_R, _ = sums(oracle_gains_on_one)
    recovery_R = recovery_rate(baseline_R, oracle_R, oracle_R)
    assert estimate(recovery_R) == 1
    assert interval(recovery_R) is None


def statistic(value, *draws):
    return np.array([value, *draws], dtype=float)


def test_the_interval_leaves_out_a_fortieth_at_each_end_and_counts_undefined_draws_there():
    draws = list(range(1, 101))
    assert interval(statistic(50, *draws)) == [3, 98]
    assert interval(statistic(50, *draws[2:], *[np.nan] * 2)) == [3, 100]
    assert interval(statistic(50, *draws[:-2], *[np.nan] * 2)) == [1, 98]
    assert interval(statistic(50, *draws[:-3], *[np.nan] * 3)) is None
    assert interval(statistic(np.nan, *draws)) is None


def test_p_is_twice_the_share_on_the_rarer_side_and_never_0():
    assert p_value(statistic(1, *[1] * 99)) == 0.02
    assert p_value(statistic(1, *[1] * 96, -1, 0, -2)) == 0.08
    assert p_value(statistic(-1, *[-1] * 98, 1)) == 0.04
    assert p_value(statistic(0, *[0] * 50, *[1] * 49)) == 1
    assert p_value(statistic(1, np.nan, *[1] * 98)) is p_value(statistic(np.nan, *[1] * 99)) is None


def test_a_ratio_has_no_value_where_nothing_is_divided_by():
    found = ratio(np.array([1.0, 1.0, 3.0]), np.array([0.0, -1.0, 2.0]))
    assert np.isnan(found[:2]).all() and found[2] == 1.5
    assert estimate(found) is None and estimate(found[::-1]) == 1.5


def test_row_0_is_the_test_set_and_the_others_draw_as_many_units_from_it():
    table = np.array([[1.0, 1, 0], [0, 1, 10], [5, 1, 0], [2, 1, 0]])
    sums_RK = resampled_sums(table, 1000, seed=3)
    assert sums_RK.shape == (1001, 3) and sums_RK[0].tolist() == [8, 4, 10]
    assert (sums_RK[:, 1] == 4).all()
    assert 7.5 < sums_RK[1:, 0].mean() < 8.5 and 9 < sums_RK[1:, 2].mean() < 11 and sums_RK[1:, 2].max() > 20


@pytest.mark.parametrize(
    ("wrong", "told"), [({"unit": "word"}, "unit is word"), ({"resamples": 99}, "resamples is 99")]
)
def test_wrong_settings_are_refused_by_name(wrong, told):
    with pytest.raises(ValueError, match=rf"bootstrap\.{told}; "):
        BootstrapConfig(**wrong)
    assert BootstrapConfig(unit="speaker", resamples=100).seed == 0


def test_same_seed_same_draws_whatever_the_block_size(monkeypatch):
    table = [(i % 3, i % 2, 4) for i in range(30)]
    whole = sums(table, seed=5)
    monkeypatch.setattr(bootstrap, "BLOCK", 100)
    assert np.array_equal(whole, sums(table, seed=5))
    assert not np.array_equal(whole, sums(table, seed=6))


def test_utterances_of_a_speaker_stay_together():
    assert sum_by_unit(np.array([[1, 2], [3, 4], [5, 6]]), ["b", "a", "b"]).tolist() == [[6, 8], [3, 4]]


def test_speakers_are_the_unit_where_there_are_twenty():
    auto = BootstrapConfig()
    assert choose_unit(auto, [f"s{i % 20}" for i in range(60)]) == "speaker"
    assert choose_unit(auto, [f"s{i % 19}" for i in range(60)]) == "utterance"
    assert choose_unit(auto, [*[f"s{i}" for i in range(60)], None]) == "utterance"
    assert choose_unit(BootstrapConfig(unit="speaker"), ["a", "b"]) == "speaker"
    assert choose_unit(BootstrapConfig(unit="utterance"), [f"s{i}" for i in range(60)]) == "utterance"
    with pytest.raises(ValueError, match=r"^--bootstrap-unit speaker: .* no speaker\. Use --bootstrap-unit utter"):
        choose_unit(BootstrapConfig(unit="speaker"), ["a", None])


def test_werr_is_the_share_of_errors_gone():
    assert relative_reduction(np.array([20.0]), np.array([15.0]))[0] == 0.25


def coverage(rng, unit, rounds=150):
    """How often the interval for speakers with errors in common holds the rate that the errors were drawn from."""
    held = 0
    for _ in range(rounds):
        speakers_N = np.repeat(np.arange(40), 10)
        words_N = rng.integers(2, 9, size=400)
        rate_N = 0.15 * rng.gamma(2, 1 / 2, size=40)[speakers_N]
        values_N2 = np.stack([rng.binomial(words_N, np.minimum(rate_N, 1)), words_N], axis=1)
        keys = [str(s) for s in speakers_N] if unit == "speaker" else [str(i) for i in range(400)]
        errors_R, words_R = resampled_sums(sum_by_unit(values_N2, keys), 300, int(rng.integers(2**31))).T
        low, high = interval(ratio(errors_R, words_R))
        held += low <= 0.15 <= high
    return held / rounds


def test_speaker_intervals_cover_and_utterance_intervals_are_too_narrow_for_new_speakers():
    rng = np.random.default_rng(0)
    assert 0.89 <= coverage(rng, "speaker") <= 0.99
    assert coverage(rng, "utterance") < 0.8
