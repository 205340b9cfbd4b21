"""Recordings are cut at pauses, every sample once, however they are fed."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_kd.corpora.audio import SAMPLE_RATE
from asr_kd.corpora.pauses import PauseCutter


def _noise(seconds: float, level: float, seed: int = 0) -> np.ndarray:
    samples = round(seconds * SAMPLE_RATE)
    return (level * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def _cut(wave_N: np.ndarray, sizes: list[int]) -> list[tuple[int, np.ndarray]]:
    """Fed in pieces of these sizes, again and again."""
    cutter, found, place, turn = PauseCutter(), [], 0, 0
    while place < len(wave_N):
        size = sizes[turn % len(sizes)]
        found += cutter.accept(wave_N[place : place + size])
        place, turn = place + size, turn + 1
    return found + cutter.finish()


_STRETCHES = st.lists(
    st.tuples(st.floats(0, 30), st.sampled_from([0.0, 0.001, 0.01, 0.1, 0.3])), min_size=1, max_size=8
)


@settings(max_examples=40, deadline=None)
@given(_STRETCHES, st.lists(st.integers(1, 100_000), min_size=1, max_size=5), st.integers(1, 159))
def test_every_sample_is_in_one_utterance_of_bounded_length_however_it_is_fed(stretches, sizes, odd):
    wave_N = np.concatenate([_noise(s, level, n) for n, (s, level) in enumerate(stretches)] + [_noise(0.001, 1)[:odd]])
    whole = _cut(wave_N, [len(wave_N)])
    assert np.array_equal(np.concatenate([w for _, w in whole]), wave_N)
    lengths = [len(w) for _, w in whole]
    assert [start for start, _ in whole] == [sum(lengths[:n]) for n in range(len(lengths))]
    assert max(lengths) <= 20 * SAMPLE_RATE
    assert all(length >= SAMPLE_RATE for length in lengths[:-1])
    pieces = _cut(wave_N, [*sizes, 1000])
    assert [start for start, _ in pieces] == [start for start, _ in whole]
    assert np.array_equal(np.concatenate([w for _, w in pieces]), wave_N)


def test_cuts_lie_in_pauses_and_no_pause_of_a_breath_cuts():
    spoken, pause, breath = _noise(3, 0.1), _noise(0.8, 0.001), _noise(0.3, 0.001)
    wave_N = np.concatenate([_noise(1, 0.001), spoken, pause, spoken, breath, spoken, pause, spoken])
    starts = [start / SAMPLE_RATE for start, _ in _cut(wave_N, [1600])]
    assert len(starts) == 3
    assert 4 < starts[-2] < 4.8 and 11.1 < starts[-1] < 11.9


def test_digital_silence_elsewhere_does_not_hide_pauses_with_room_noise():
    spoken, pause = _noise(3, 0.2), _noise(0.8, 0.001)
    wave_N = np.concatenate([_noise(2, 0), *[spoken, pause] * 3])
    starts = [start / SAMPLE_RATE for start, _ in _cut(wave_N, [1600])]
    assert all(any(end < start < end + 0.8 for start in starts) for end in (5, 8.8, 12.6))


def test_speech_without_pause_is_cut_where_it_is_quietest():
    wave_N = np.concatenate([_noise(14, 0.1), _noise(0.2, 0.01), _noise(10, 0.1)])
    (_, first), (start, _) = _cut(wave_N, [777])
    assert len(first) == start and 14 <= start / SAMPLE_RATE <= 14.2


def test_a_reused_buffer_of_a_sound_card_does_not_change_what_was_accepted():
    cutter, buffer = PauseCutter(), np.ones(100, dtype=np.float32)
    cutter.accept(buffer)
    buffer[:] = 0
    assert cutter.finish()[0][1].all()


def test_nothing_gives_no_utterance():
    assert PauseCutter().finish() == []
