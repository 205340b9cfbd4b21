"""Where speech is found, recordings are cut: in pauses, within bounds, without losing speech."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_kd.corpora.segments import SegmentConfig, cut, speech_runs
from asr_kd.corpora.speech_activity import SpeechActivity

FRAME_S = 0.032
CONFIG = SegmentConfig(min_seconds=1.0, max_seconds=10.0, max_pause_seconds=0.5, padding_seconds=0.1)
_STRETCHES = st.lists(st.tuples(st.floats(0.03, 40), st.booleans(), st.integers(0, 1000)), min_size=1, max_size=12)


def _activity(stretches: list[tuple[float, float]], level_db: float = -30) -> SpeechActivity:
    """(seconds, probability) one after the other."""
    speech_T = np.concatenate([np.full(round(s / FRAME_S), p, np.float32) for s, p in stretches])
    return SpeechActivity(FRAME_S, speech_T, np.full(len(speech_T), level_db, np.float32))


@settings(max_examples=100, deadline=None)
@given(_STRETCHES)
def test_segments_are_in_order_within_bounds_and_hold_all_speech_and_no_long_pause(stretches):
    parts = []
    for seconds, is_speech, seed in stretches:
        noise_T = np.random.default_rng(seed).uniform(0, 0.3, max(1, round(seconds / FRAME_S)))
        parts.append(1 - noise_T if is_speech else noise_T)
    speech_T = np.concatenate(parts).astype(np.float32)
    seconds = len(speech_T) * FRAME_S - 0.01
    found = cut(SpeechActivity(FRAME_S, speech_T, -20 - 10 * speech_T), seconds, CONFIG)
    times = [t for s in found.segments for t in (s.start_s, s.end_s)]
    assert times == sorted(times) and all(0 <= t <= seconds for t in times)
    assert all(0 < s.end_s - s.start_s <= CONFIG.max_seconds + 1e-3 for s in found.segments)
    kept_T = np.zeros(len(speech_T), bool)
    for s in found.segments:
        kept_T[round(s.start_s / FRAME_S - 0.5) : round(s.end_s / FRAME_S + 0.5)] = True
    runs = speech_runs(speech_T, CONFIG.onset, CONFIG.offset)
    assert all(kept_T[a:b].all() for a, b in runs if (b - a) * FRAME_S >= CONFIG.min_speech_seconds)
    for (_, end), (start, _) in pairwise(runs):
        pause_s = (start - end) * FRAME_S
        if pause_s > CONFIG.min_seconds + 2 * CONFIG.padding_seconds:  # no short stretch reaches over it
            assert not any(s.start_s < end * FRAME_S and s.end_s > start * FRAME_S for s in found.segments)
    if len(runs) > 0:
        assert found.speech_s <= sum(b - a for a, b in runs) * FRAME_S + 1e-6


def test_a_long_pause_is_left_out_but_for_the_padding_and_a_short_one_is_kept():
    found = cut(_activity([(2, 0), (3, 1), (0.32, 0), (2, 1), (1.6, 0), (4, 1), (1, 0)]), 13.9, CONFIG)
    first, second = found.segments
    assert first.start_s == pytest.approx(1.9, abs=0.04) and first.end_s == pytest.approx(7.4, abs=0.04)
    assert second.start_s == pytest.approx(8.8, abs=0.04) and second.end_s == pytest.approx(13.0, abs=0.04)
    assert found.speech_s == pytest.approx(9, abs=0.1)


def test_a_long_chain_is_cut_at_its_longest_pause():
    chain = [(4, 1), (0.1, 0), (3, 1), (0.4, 0), (2, 1), (0.1, 0), (6, 1)]
    first, second = cut(_activity(chain), 15.6, CONFIG).segments
    assert 7.1 < first.end_s <= second.start_s < 7.6


def test_speech_without_pause_is_cut_where_it_is_quietest():
    activity = _activity([(16, 1)])
    activity.level_db_T[250:254] = -40
    first, second = cut(activity, 16.0, CONFIG).segments
    assert first.end_s == second.start_s and 250 * FRAME_S <= first.end_s <= 254 * FRAME_S


def test_a_short_word_gets_the_silence_around_it_up_to_the_least_length():
    (only,) = cut(_activity([(5, 0), (0.3, 1), (5, 0)]), 10.3, CONFIG).segments
    assert only.end_s - only.start_s == pytest.approx(1, abs=0.01) and only.start_s < 5 < 5.3 < only.end_s


def test_a_short_word_joins_a_near_neighbour():
    (only,) = cut(_activity([(5, 0), (0.3, 1), (0.7, 0), (3, 1), (5, 0)]), 14.0, CONFIG).segments
    assert only.start_s < 5 and only.end_s > 9


def test_a_click_is_no_speech_and_silence_gives_nothing():
    assert cut(_activity([(5, 0), (0.064, 1), (5, 0)]), 10.0, CONFIG).segments == []
    assert cut(_activity([(5, 0.2)]), 5.0, CONFIG).segments == []
    assert cut(SpeechActivity(FRAME_S, np.zeros(0, np.float32), np.zeros(0, np.float32)), 0.01, CONFIG).segments == []


def test_speech_begins_where_it_becomes_likely_not_where_it_becomes_sure():
    assert speech_runs(np.array([0, 0.4, 0.9, 0.4, 0.1, 0.4, 0], np.float32), 0.5, 0.35) == [(1, 4)]


@pytest.mark.parametrize(
    "wrong", [{"min_seconds": 6, "max_seconds": 10}, {"padding_seconds": -1}, {"onset": 0.3, "offset": 0.4}]
)
def test_bounds_that_cannot_be_kept_are_refused(wrong):
    with pytest.raises(ValueError, match="is"):
        SegmentConfig(**wrong)
