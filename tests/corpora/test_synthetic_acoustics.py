import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_kd.corpora.synthetic_acoustics import NOISES, PEAK, SAMPLE_RATE, Scene, active_power, record, room_impulse


def bursts(seed):
    """Speech-like: half a second of pause around two bursts."""
    rng = np.random.default_rng(seed)
    return np.repeat([0, 1, 0, 1, 0], SAMPLE_RATE // 2) * rng.standard_normal(SAMPLE_RATE // 2 * 5)


@settings(deadline=None, max_examples=20)
@given(snr=st.sampled_from([0.0, 5.0, 10.0, 20.0]), kind=st.sampled_from(sorted(NOISES)), seed=st.integers(0, 2**32))
def test_noise_lies_the_stated_snr_below_the_active_speech(snr, kind, seed):
    speech_N = bursts(seed)
    noise_N = NOISES[kind](len(speech_N), np.random.default_rng(seed))
    scene = Scene(snr, kind, 0.0, None, level_db=-30.0)
    recorded_N = record(speech_N, noise_N, scene, np.random.default_rng(seed)) / 32767
    speech_share_N = speech_N * np.sqrt(10**-3.0 / active_power(speech_N))
    measured = 10 * np.log10(10**-3.0 / np.mean((recorded_N - speech_share_N) ** 2))
    assert measured == pytest.approx(snr, abs=0.1)


@settings(deadline=None, max_examples=20)
@given(level_db=st.floats(-40, 0), snr=st.sampled_from([None, -5.0, 10.0]), seed=st.integers(0, 2**32))
def test_no_recording_clips(level_db, snr, seed):
    speech_N = bursts(seed)
    noise_N = None if snr is None else NOISES["hum"](len(speech_N), np.random.default_rng(seed))
    scene = Scene(snr, None if snr is None else "hum", 0.4, 3.0, level_db)
    recorded_N = record(speech_N, noise_N, scene, np.random.default_rng(seed))
    assert len(recorded_N) == len(speech_N)
    assert np.abs(recorded_N.astype(int)).max() <= round(PEAK * 32767)


@pytest.mark.parametrize("rt60", [0.2, 0.4, 0.6])
@pytest.mark.parametrize("drr_db", [0.0, 10.0])
def test_room_decays_by_60_db_in_rt60_and_holds_the_direct_share(rt60, drr_db):
    impulse = room_impulse(rt60, drr_db, np.random.default_rng(0))
    direct, tail_N = impulse[0] ** 2, impulse[1:]
    assert 10 * np.log10(direct / np.sum(tail_N**2)) == pytest.approx(drr_db)
    decay_db_N = 10 * np.log10(np.cumsum(tail_N[::-1] ** 2)[::-1])
    t_N = np.arange(len(tail_N)) / SAMPLE_RATE
    steady_N = (decay_db_N < decay_db_N[0] - 5) & (decay_db_N > decay_db_N[0] - 25)
    slope = np.polyfit(t_N[steady_N], decay_db_N[steady_N], 1)[0]
    assert -60 / slope == pytest.approx(rt60, rel=0.1)
