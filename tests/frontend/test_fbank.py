"""Promises of the front end: Kaldi's filter banks, batches that change nothing, features that stream."""

import os
from dataclasses import replace
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
import torch
import torchaudio
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_kd.core.config import load_config, to_dict
from asr_kd.frontend.fbank import FrontEnd, FrontEndConfig

RATE = 16000


def speech_like(samples: int, seed: int = 0) -> torch.Tensor:
    """Noise with a changing level, an offset and a hum: (samples,), within [-1, 1)."""
    g = torch.Generator().manual_seed(seed)
    time = torch.arange(samples) / RATE
    level = 0.02 + 0.1 * torch.sin(2 * torch.pi * 3 * time) ** 2
    return 0.01 + 0.05 * torch.sin(2 * torch.pi * 50 * time) + level * torch.randn(samples, generator=g).clamp(-3, 3)


def padded(lengths: list[int], filler: float = 0.5) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch whose padding is not silence: nothing may be read there."""
    batch = torch.full((len(lengths), max(lengths)), filler)
    for row, samples in enumerate(lengths):
        batch[row, :samples] = speech_like(samples, seed=row)
    return batch, torch.tensor(lengths)


def kaldi(wave: torch.Tensor, mel_bins: int = 64) -> torch.Tensor:
    return torchaudio.compliance.kaldi.fbank(wave[None] * 2**15, num_mel_bins=mel_bins, dither=0.0)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(400, 12000), min_size=1, max_size=5), st.sampled_from([40, 64, 80]))
def test_each_utterance_of_a_padded_batch_is_kaldis_filter_bank(lengths, mel_bins):
    wave_BN, samples_B = padded(lengths)
    x_BTF, frames_B = FrontEnd(FrontEndConfig(mel_bins=mel_bins)).fbank(wave_BN, samples_B)
    for row, samples in enumerate(lengths):
        expected = kaldi(wave_BN[row, :samples], mel_bins)
        assert frames_B[row] == len(expected)
        torch.testing.assert_close(x_BTF[row, : len(expected)], expected, atol=1e-3, rtol=0)
        assert not x_BTF[row, len(expected) :].any()


def test_silence_is_kaldis_floor():
    wave_BN = torch.zeros(1, RATE)
    x_BTF, _ = FrontEnd().fbank(wave_BN, torch.tensor([RATE]))
    torch.testing.assert_close(x_BTF[0], kaldi(wave_BN[0]))


@pytest.mark.skipif("ASR_KD_DATA" not in os.environ, reason="ASR_KD_DATA does not point at speech")
def test_real_speech_is_kaldis_filter_bank():
    for path in sorted((Path(os.environ["ASR_KD_DATA"]) / "an4/wav/an4_clstk").rglob("*.flac"))[:800:100]:
        wave_N = torch.from_numpy(soundfile.read(path, dtype="float32")[0])
        x_BTF, _ = FrontEnd().fbank(wave_N[None], torch.tensor([len(wave_N)]))
        torch.testing.assert_close(x_BTF[0], kaldi(wave_N), atol=1e-3, rtol=0)


def test_energies_are_librosas_power_spectrum_under_librosas_htk_mel_scale():
    """librosa builds triangles over hertz, Kaldi over mels: energies of broad-band sound agree within 0.1."""
    wave_N = speech_like(RATE)
    config = FrontEndConfig(preemphasis=0.0)
    x_BTF, _ = FrontEnd(config).fbank(wave_N[None], torch.tensor([RATE]))
    frames_LT = librosa.util.frame(wave_N.numpy() * 2**15, frame_length=400, hop_length=160)
    frames_LT = frames_LT - frames_LT.mean(axis=0)
    povey_L = np.hanning(400) ** 0.85
    power_ST = np.abs(np.fft.rfft(frames_LT * povey_L[:, None], n=512, axis=0)) ** 2
    bank_FS = librosa.filters.mel(sr=RATE, n_fft=512, n_mels=64, fmin=20, fmax=8000, htk=True, norm=None)
    wide = 16  # filters below span so few bins that the triangles' shape decides
    difference = np.log(bank_FS[wide:] @ power_ST) - x_BTF[0].numpy().T[wide:]
    assert np.abs(difference).max() < 0.1


def test_a_tone_is_loudest_in_the_filter_that_librosa_centres_on_it():
    centres = librosa.mel_frequencies(n_mels=66, fmin=20, fmax=8000, htk=True)[1:-1]
    for filter_index in (20, 40, 60):
        tone_N = 0.3 * torch.sin(2 * torch.pi * centres[filter_index] * torch.arange(RATE) / RATE)
        x_BTF, _ = FrontEnd().fbank(tone_N[None], torch.tensor([RATE]))
        assert set(x_BTF[0].argmax(1).tolist()) == {filter_index}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 9000), st.integers(0, 9000))
def test_features_of_a_prefix_are_the_prefix_of_the_features(cut, rest):
    front_end = FrontEnd(FrontEndConfig(cmn_window_s=0.2, cmn_init_s=0.1))  # so that the window slides
    wave_BN = speech_like(cut + rest)[None]
    whole_BTF, _ = front_end(wave_BN, torch.tensor([cut + rest]))
    part_BTF, frames_B = front_end(wave_BN[:, :cut], torch.tensor([cut]))
    assert frames_B[0] == front_end.num_frames(cut) == part_BTF.shape[1]
    torch.testing.assert_close(part_BTF, whole_BTF[:, : part_BTF.shape[1]], atol=1e-4, rtol=0)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 12000), min_size=1, max_size=4), st.integers(1, 4))
def test_stacked_frames_are_counted_ahead_and_zero_behind_the_end(lengths, stack):
    front_end = FrontEnd(FrontEndConfig(frame_stacking=stack))
    x_BTF, frames_B = front_end(*padded(lengths))
    assert x_BTF.shape[2] == front_end.dim == 64 * stack
    assert frames_B.tolist() == [front_end.num_frames(n) for n in lengths]
    assert x_BTF.shape[1] == max(frames_B)
    for row, frames in enumerate(frames_B):
        assert not x_BTF[row, frames:].any() and x_BTF[row, :frames].any(dim=1).all()


def test_the_mean_of_the_present_and_past_window_is_subtracted_and_three_frames_stacked():
    config = FrontEndConfig(cmn_window_s=1.0, cmn_init_s=0.3, cmn_init=10.0)
    front_end = FrontEnd(config)
    wave_BN, samples_B = padded([4 * RATE])
    raw_TF = front_end.fbank(wave_BN, samples_B)[0][0]
    x_TF = front_end(wave_BN, samples_B)[0][0].reshape(-1, 64)
    padded_TF = torch.cat([torch.full((30, 64), 10.0), raw_TF])
    for t in (0, 1, 50, 69, 70, 99, 100, 101, 395):
        window_TF = padded_TF[: t + 31][-100:]
        torch.testing.assert_close(x_TF[t], raw_TF[t] - window_TF.mean(0), atol=1e-3, rtol=0)


def test_a_louder_recording_has_the_same_features_once_the_window_is_full():
    wave_BN, samples_B = padded([5 * RATE])
    front_end = FrontEnd()
    quiet, loud = front_end(wave_BN, samples_B)[0], front_end(wave_BN * 3, samples_B)[0]
    torch.testing.assert_close(quiet[:, 100:], loud[:, 100:], atol=2e-3, rtol=0)


def test_the_utterances_own_mean_is_subtracted_whatever_shares_its_batch():
    front_end = FrontEnd(FrontEndConfig(cmn="utterance"))
    wave_BN, samples_B = padded([2 * RATE, 9000, 300])
    raw_BTF, _ = front_end.fbank(wave_BN, samples_B)
    x_BTF, frames_B = front_end(wave_BN, samples_B)
    for row, frames in enumerate(frames_B.tolist()):
        raw_TF = raw_BTF[row, : 3 * frames]
        expected_TF = (raw_TF - raw_TF.mean(0)).reshape(frames, front_end.dim)
        torch.testing.assert_close(x_BTF[row, :frames], expected_TF, atol=1e-3, rtol=0)
        assert not x_BTF[row, frames:].any()


def test_mfcc_of_a_padded_batch_equals_mfcc_alone():
    wave_BN, samples_B = padded([8000, 3000, 300, 16000])
    front_end = FrontEnd()
    x_BTC, frames_B = front_end.mfcc(wave_BN, samples_B)
    assert x_BTC.shape == (4, frames_B.max(), 39)
    for row, samples in enumerate(samples_B.tolist()):
        alone_BTC, frames_1 = front_end.mfcc(wave_BN[row : row + 1, :samples], samples_B[row : row + 1])
        assert frames_1[0] == frames_B[row] == alone_BTC.shape[1]
        torch.testing.assert_close(x_BTC[row, : frames_B[row]], alone_BTC[0], atol=1e-3, rtol=0)
        assert not x_BTC[row, frames_B[row] :].any()


def test_mfcc_is_kaldis_with_torchaudios_deltas():
    wave_BN, samples_B = padded([2 * RATE])
    x_TC = FrontEnd().mfcc(wave_BN, samples_B)[0][0]
    expected_TC = torchaudio.compliance.kaldi.mfcc(wave_BN * 2**15, num_mel_bins=64, num_ceps=13, dither=0.0)
    expected_TC = expected_TC - expected_TC.mean(0)
    torch.testing.assert_close(x_TC[:, :13], expected_TC, atol=5e-3, rtol=0)
    delta_CT = torchaudio.functional.compute_deltas(expected_TC.T)
    torch.testing.assert_close(x_TC[:, 13:26], (delta_CT - delta_CT.mean(1, keepdim=True)).T, atol=5e-3, rtol=0)
    second_CT = torchaudio.functional.compute_deltas(delta_CT)[:, 4:-4]
    difference_TC = x_TC[4:-4, 26:] - second_CT.T  # constant: the mean over the edges, where the two repeat differently
    assert difference_TC.std(0).max() < 1e-3


def test_config_survives_json_and_its_fingerprint_tells_front_ends_apart():
    config = FrontEndConfig(mel_bins=40)
    assert load_config(FrontEndConfig, to_dict(config)) == config
    assert config.fingerprint == FrontEndConfig(mel_bins=40).fingerprint != FrontEndConfig().fingerprint


@pytest.mark.parametrize(
    "change",
    [{"mel_bins": 0}, {"high_hz": 9000.0}, {"frame_stacking": 0}, {"cepstra": 65}, {"cmn_init_s": 4.0}],
)
def test_an_impossible_front_end_is_refused_by_field(change):
    with pytest.raises(ValueError, match=f"frontend.*{next(iter(change))}"):
        replace(FrontEndConfig(), **change)


def sherpa_fbank(wave_N: np.ndarray, piece: int, mel_bins: int = 80) -> np.ndarray:
    """Features that sherpa-onnx computes of audio that comes in pieces, before the input is finished."""
    import kaldi_native_fbank as knf  # in the extra `dev`

    options = knf.FbankOptions()
    options.frame_opts.dither, options.frame_opts.snip_edges, options.frame_opts.samp_freq = 0, False, RATE
    options.mel_opts.num_bins, options.mel_opts.high_freq = mel_bins, -400
    fbank = knf.OnlineFbank(options)
    for start in range(0, len(wave_N), piece):
        fbank.accept_waveform(RATE, wave_N[start : start + piece].tolist())
    return np.stack([fbank.get_frame(i) for i in range(fbank.num_frames_ready)])


@pytest.mark.skipif("ASR_KD_DATA" not in os.environ, reason="ASR_KD_DATA does not point at speech")
@pytest.mark.parametrize("piece", [1_000_000, 777])
def test_the_sherpa_onnx_preset_is_what_sherpa_onnx_computes(piece):
    front_end = FrontEnd(load_config(FrontEndConfig, {"preset": "sherpa-onnx"}))
    for path in sorted((Path(os.environ["ASR_KD_DATA"]) / "an4/wav/an4_clstk").rglob("*.flac"))[:800:200]:
        wave_N = soundfile.read(path, dtype="float32")[0]
        x_BTF, frames_B = front_end.fbank(torch.from_numpy(wave_N)[None], torch.tensor([len(wave_N)]))
        expected = sherpa_fbank(wave_N, piece)
        assert frames_B[0] == len(expected) and frames_B[0] // 4 == front_end.num_frames(len(wave_N))
        torch.testing.assert_close(x_BTF[0], torch.from_numpy(expected), atol=1e-3, rtol=0)


def test_the_exponential_mean_is_its_recursion_and_a_prefix_has_the_prefix_of_the_features():
    front_end = FrontEnd(load_config(FrontEndConfig, {"preset": "sherpa-onnx"}))
    wave_BN, samples_B = padded([3 * RATE, 200, 279, 280])
    x_BTF, frames_B = front_end(wave_BN, samples_B)
    assert frames_B.tolist() == [74, 0, 0, 0] and not x_BTF[1:].any()
    raw_TF = front_end.fbank(wave_BN[:1], samples_B[:1])[0][0, : 4 * 74].double()
    decay, mean_F = np.exp(-0.01 / 3), torch.full((80,), -7.3, dtype=torch.float64)
    for t, raw_F in enumerate(raw_TF):
        mean_F = decay * mean_F + (1 - decay) * raw_F
        raw_TF[t] = raw_F - mean_F
    torch.testing.assert_close(x_BTF[0], raw_TF.float().reshape(74, 320), atol=1e-4, rtol=0)
    half = RATE + 123
    prefix_BTF, _ = front_end(wave_BN[:1, :half], torch.tensor([half]))
    torch.testing.assert_close(prefix_BTF[0], x_BTF[0, : prefix_BTF.shape[1]], atol=1e-5, rtol=0)


def test_new_fields_at_their_defaults_leave_the_fingerprints_of_older_models_alone():
    assert not {"snip_edges", "sample_scale"} & set(to_dict(FrontEndConfig()))
    assert FrontEndConfig(snip_edges=False).fingerprint != FrontEndConfig().fingerprint
    preset = load_config(FrontEndConfig, {"preset": "sherpa-onnx"})
    assert load_config(FrontEndConfig, to_dict(preset)) == preset
    with pytest.raises(ValueError, match=r"frontend\.preset is kaldi; known: sherpa-onnx"):
        load_config(FrontEndConfig, {"preset": "kaldi"})
