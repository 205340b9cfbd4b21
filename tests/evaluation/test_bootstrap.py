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
    with pytest.raises(ValueError, match="no speaker"):
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
