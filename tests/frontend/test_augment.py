"""Promises of augmentation: the caller's randomness decides all, levels are as asked, frames stay aligned."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_kd.core.config import load_config, to_dict
from asr_kd.frontend.augment import Augment, AugmentConfig, change_speed
from asr_kd.frontend.fbank import FrontEnd, FrontEndConfig
from asr_kd.frontend.noise import NoiseFiles, babble, coloured, mix, room_tone
from asr_kd.frontend.room import polack_response, reverberate

RATE = 16000


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def waves(*lengths: int) -> list[np.ndarray]:
    return [rng(i).uniform(-0.3, 0.3, n).astype(np.float32) for i, n in enumerate(lengths)]


@pytest.fixture
def noise_dir(tmp_path) -> str:
    soundfile.write(tmp_path / "hum.wav", np.sin(np.arange(8000) / 20) * 0.5, 8000)
    (tmp_path / "below").mkdir()
    soundfile.write(tmp_path / "below" / "stereo.flac", rng(9).uniform(-0.5, 0.5, (RATE, 2)), RATE)
    return str(tmp_path)


def everything(noise_dir: str, **changes) -> AugmentConfig:
    settings = {
        "speed_perturb": (0.9, 1.0, 1.1),
        "reverb_prob": 0.5,
        "noise_prob": 0.8,
        "noise_dir": noise_dir,
        "volume_db": (-10.0, 10.0),
        "num_time_masks": 2,
        "num_freq_masks": 2,
    }
    return AugmentConfig(**{**settings, **changes})


def test_the_same_rng_gives_the_same_bits_and_another_does_not(noise_dir):
    batch = waves(20000, 9000, 16000, 400)
    x_BTF, frames_B = torch.ones(4, 30, 192), torch.tensor([30, 20, 5, 0])
    for seed in range(6):
        # One that has been used before and a fresh one: the cache of noise files must not show.
        used, fresh = (Augment(everything(noise_dir)) for _ in range(2))
        used.waves(batch, rng(99))
        a, b = rng(seed), rng(seed)
        (first, speed), (second, same_speed) = used.waves(batch, a), fresh.waves(batch, b)
        assert speed == same_speed and all(np.array_equal(x, y) for x, y in zip(first, second, strict=True))
        assert torch.equal(used.features(x_BTF, frames_B, a), fresh.features(x_BTF, frames_B, b))
        other, _ = used.waves(batch, rng(seed + 100))
        assert any(x.shape != y.shape or not np.array_equal(x, y) for x, y in zip(first, other, strict=True))


def test_no_augmentation_changes_nothing():
    batch = waves(5000, 300)
    out, speed = Augment(AugmentConfig()).waves(batch, rng())
    assert speed == 1.0 and all(np.array_equal(x, y) for x, y in zip(batch, out, strict=True))
    x_BTF = torch.randn(2, 10, 192)
    assert torch.equal(Augment(AugmentConfig()).features(x_BTF, torch.tensor([10, 5]), rng()), x_BTF)


def test_given_waves_are_never_written_to_and_results_stay_in_full_scale(noise_dir):
    batch = waves(16000, 12000)
    before = [w.copy() for w in batch]
    augment = Augment(everything(noise_dir, noise_prob=1.0, snr_db=(-20.0, -10.0)))
    for seed in range(8):
        out, _ = augment.waves(batch, rng(seed))
        assert all(w.dtype == np.float32 and np.abs(w).max() < 1 for w in out)
    assert all(np.array_equal(x, y) for x, y in zip(batch, before, strict=True))


@pytest.mark.parametrize("speed", [0.9, 1.1, 0.95])
def test_sample_n_of_a_faster_wave_is_sample_n_times_speed_of_the_original(speed):
    tone_N = np.sin(2 * np.pi * 440 / RATE * np.arange(RATE)).astype(np.float32)
    out_N = change_speed(tone_N, speed)
    assert len(out_N) == np.ceil(RATE / speed)
    expected_N = np.sin(2 * np.pi * 440 / RATE * speed * np.arange(len(out_N)))
    assert np.abs(out_N - expected_N)[200:-200].max() < 0.01


def test_one_speed_holds_for_the_whole_batch_and_is_returned():
    augment = Augment(AugmentConfig(speed_perturb=(0.9, 1.1)))
    seen = set()
    for seed in range(10):
        out, speed = augment.waves(waves(9900, 19800), rng(seed))
        seen.add(speed)
        assert [len(w) for w in out] == [np.ceil(9900 / speed), np.ceil(19800 / speed)]
    assert seen == {0.9, 1.1}


@settings(max_examples=30, deadline=None)
@given(st.floats(-5, 30), st.integers(0, 1000))
def test_noise_has_the_asked_level(snr_db, seed):
    speech_N = waves(16000)[0]
    noise_N = coloured(len(speech_N), rng(seed))
    added_N = mix(speech_N, noise_N, snr_db) - speech_N
    measured = 10 * np.log10(np.square(speech_N, dtype=np.float64).mean() / np.square(added_N, dtype=np.float64).mean())
    assert measured == pytest.approx(snr_db, abs=0.05)


def test_silence_gets_no_noise_and_silent_noise_adds_none():
    silence, speech = np.zeros(1000, np.float32), waves(1000)[0]
    assert np.array_equal(mix(silence, speech, 0.0), silence)
    assert np.array_equal(mix(speech, silence, 0.0), speech)


def test_babble_is_made_of_the_other_utterances_only():
    tones = [np.sin(2 * np.pi * hz / RATE * np.arange(RATE)).astype(np.float32) for hz in (300, 1000, 2000)]
    spectrum = np.abs(np.fft.rfft(babble(tones, 0, rng())))  # one bin is 1 Hz
    assert spectrum[300] < 1e-2 * spectrum.max() and spectrum[[1000, 2000]].min() > 0.1 * spectrum.max()


def test_noise_files_are_found_below_resampled_and_kept_within_the_bound(noise_dir):
    files = NoiseFiles(noise_dir, RATE, cache_bytes=70_000)  # each clip has 64,000 bytes
    drawn = [files.draw(RATE, rng(seed)) for seed in range(10)]
    assert all(len(d) == RATE and d.dtype == np.float32 for d in drawn)
    peaks = {int(np.argmax(np.abs(np.fft.rfft(d))[1:])) + 1 for d in drawn}
    hum_hz = round(8000 / 20 / (2 * np.pi))
    assert any(abs(p - hum_hz) <= 1 for p in peaks) and len(peaks) > 1
    assert files.cached_bytes <= 70_000


def test_a_folder_without_noise_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no recordings"):
        Augment(AugmentConfig(noise_prob=0.5, noise_dir=str(tmp_path)))


@pytest.mark.parametrize("content", [b"", b"this is no audio"])
def test_a_broken_noise_file_is_refused_by_name(tmp_path, content):
    (tmp_path / "broken.wav").write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.wav"):
        NoiseFiles(tmp_path, RATE).draw(100, rng())


@pytest.mark.skipif("ASR_KD_DATA" not in os.environ, reason="ASR_KD_DATA does not point at noise")
def test_esc10_serves_as_noise_also_where_libsndfile_cannot_decode_a_file_to_its_end():
    files = NoiseFiles(Path(os.environ["ASR_KD_DATA"]) / "esc10" / "002_Rain", RATE)
    assert len(files.paths) == 40
    for seed in range(60):
        noise_N = files.draw(16000, rng(seed))
        assert len(noise_N) == 16000 and np.isfinite(noise_N).all() and noise_N.any()


@settings(max_examples=30, deadline=None)
@given(st.floats(0.05, 0.8), st.floats(0, 15), st.integers(0, 1000))
def test_a_room_keeps_the_direct_sound_where_it_was(rt60_s, drr_db, seed):
    wave_N = waves(RATE)[0]
    response_N = polack_response(rt60_s, drr_db, RATE, rng(seed))
    assert response_N[0] == 1
    assert 10 * np.log10(1 / np.square(response_N[1:], dtype=np.float64).sum()) == pytest.approx(drr_db, abs=0.01)
    wet_N = reverberate(wave_N, response_N)
    assert len(wet_N) == len(wave_N)
    correlation = [np.dot(wet_N[400:-400], wave_N[400 - lag : len(wave_N) - 400 - lag]) for lag in range(-50, 51)]
    assert int(np.argmax(correlation)) == 50  # lag 0


def test_echoes_fall_by_sixty_decibels_in_t60():
    response_N = polack_response(0.5, 0.0, RATE, rng()).astype(np.float64)
    early, late = (np.square(response_N[i : i + 800]).mean() for i in (800, 4800))  # 0.25 s, half of t60, apart
    assert 10 * np.log10(early / late) == pytest.approx(30, abs=2)


def test_frames_of_a_reverberated_and_noisy_wave_stay_aligned():
    burst_N = np.zeros(RATE, np.float32)
    burst_N[8000:8800] = waves(800)[0]
    augment = Augment(AugmentConfig(reverb_prob=1.0, noise_prob=1.0, snr_db=(25.0, 25.0)))
    front_end = FrontEnd()
    clean_T = front_end.fbank(torch.from_numpy(burst_N)[None], torch.tensor([RATE]))[0][0].mean(1)
    for seed in range(5):
        (wet_N,), _ = augment.waves([burst_N], rng(seed))
        wet_T = front_end.fbank(torch.from_numpy(wet_N)[None], torch.tensor([RATE]))[0][0].mean(1)
        assert abs(int(wet_T.diff().argmax()) - int(clean_T.diff().argmax())) <= 1


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 30_000), min_size=1, max_size=4), st.booleans(), st.integers(1, 4), st.integers(0, 999))
def test_silence_is_whole_frames_before_a_wave_whose_own_frames_stay_the_same(lengths, snip_edges, stack, seed):
    batch = waves(*lengths)
    config = FrontEndConfig(cmn="none", snip_edges=snip_edges, frame_stacking=stack)
    front_end, augment = config.build(), Augment(AugmentConfig(silence_prob=0.7, silence_s=(0.1, 1.0)), config)
    longer, silent = augment.silence(batch, 160 * stack, rng(seed))
    again, same = augment.silence(batch, 160 * stack, rng(seed))
    assert silent == same and all(np.array_equal(x, y) for x, y in zip(longer, again, strict=True))
    for wave_N, longer_N, frames in zip(batch, longer, silent, strict=True):
        assert longer_N.dtype == np.float32 and np.array_equal(longer_N[frames * 160 * stack :], wave_N)
        own_TF, all_TF = (
            front_end(torch.from_numpy(w)[None], torch.tensor([len(w)]))[0][0] for w in (wave_N, longer_N)
        )
        assert not frames or round(10 / stack) <= frames <= round(100 / stack)
        if len(own_TF):  # without `snip_edges`, a wave's first window reaches before it
            first = 0 if snip_edges else 1
            assert torch.allclose(all_TF[frames:][first:], own_TF[first:], atol=1e-3)
            assert len(all_TF) == len(own_TF) + frames


def test_about_so_many_utterances_as_asked_begin_with_silence():
    _, silent = Augment(AugmentConfig(silence_prob=0.3, silence_s=(1.0, 1.0))).silence(waves(*[400] * 400), 480, rng())
    assert set(silent) == {0, 33} and 90 < sum(map(bool, silent)) < 150


def test_without_silence_nothing_is_drawn_and_configs_are_as_before():
    batch, drawn = waves(5000, 300), rng()
    longer, silent = Augment(AugmentConfig()).silence(batch, 480, drawn)
    assert silent == [0, 0] and all(x is y for x, y in zip(longer, batch, strict=True))
    assert drawn.bit_generator.state == rng().bit_generator.state
    assert not [key for key in to_dict(AugmentConfig()) if "silence" in key]
    changed = AugmentConfig(silence_prob=0.5, silence_s=(0.0, 2.0))
    assert load_config(AugmentConfig, to_dict(changed)) == changed


@settings(max_examples=20, deadline=None)
@given(st.floats(-70, -10), st.integers(0, 1000))
def test_room_tone_has_the_level_and_spectrum_of_the_quietest_stretch(level_db, seed):
    spectrum_S = np.fft.rfft(rng(seed).standard_normal(RATE))
    spectrum_S[2000:] = 0  # one bin is 1 Hz: a quarter of the band
    wave_N = np.fft.irfft(spectrum_S) * 2 * 10 ** (level_db / 20)
    wave_N[8000:] += rng(seed + 1).standard_normal(8000)
    tone_N = room_tone(wave_N.astype(np.float32), RATE, rng(seed)).astype(np.float64)
    assert 10 * np.log10(np.square(tone_N).mean()) == pytest.approx(level_db, abs=1.5)
    power_S = np.square(np.abs(np.fft.rfft(tone_N)))
    assert power_S[:2050].sum() > 0.97 * power_S.sum()


@pytest.mark.parametrize("samples", [0, 1, 3, 5000])
def test_the_tone_of_digital_silence_is_that_of_rounding(samples):
    tone_N = room_tone(np.zeros(samples, np.float32), 16000, rng())
    assert tone_N.dtype == np.float32 and np.sqrt(np.square(tone_N).mean()) * 2**15 == pytest.approx(0.289, rel=0.05)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=5), st.integers(0, 3), st.integers(0, 3), st.integers(0, 999))
def test_spec_augment_masks_whole_frames_and_the_same_mel_filters_of_each_stacked_frame(lengths, times, mels, seed):
    config = AugmentConfig(num_time_masks=times, max_time_width=10, num_freq_masks=mels, max_freq_width=12)
    x_BTF = torch.ones(len(lengths), max(lengths), 192)
    out_BTF = Augment(config).features(x_BTF, torch.tensor(lengths), rng(seed))
    assert torch.equal(x_BTF, torch.ones_like(x_BTF))
    for row, frames in enumerate(lengths):
        out_TSM = out_BTF[row].reshape(-1, 3, 64)
        assert torch.equal(out_TSM, out_TSM[:, :1].expand_as(out_TSM))
        kept_T, kept_M = out_TSM.any(dim=(1, 2)), out_TSM[:, 0].any(dim=0) if len(out_TSM) else torch.ones(64)
        assert kept_T[frames:].all()
        assert (~kept_T).sum() <= times * min(10, 0.2 * frames)
        assert (kept_M == 0).sum() <= mels * 12
        assert torch.equal(out_TSM[:, 0], kept_T[:, None] * kept_M[None] * 1.0)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("speed_perturb", ()),
        ("speed_perturb", (3.0,)),
        ("speed_perturb", (0.333,)),
        ("noise_prob", 1.5),
        ("snr_db", (10.0, 0.0)),
        ("rt60_s", (0.0, 0.5)),
        ("num_freq_masks", -1),
        ("silence_prob", -0.1),
        ("silence_s", (2.0, 1.0)),
        ("silence_s", (-1.0, 1.0)),
    ],
)
def test_an_impossible_config_is_refused_by_field(field, value):
    with pytest.raises(ValueError, match=f"augment.{field}"):
        AugmentConfig(**{field: value})
