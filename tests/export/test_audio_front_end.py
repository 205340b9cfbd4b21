"""The front end as ONNX nodes: the features of `FrontEnd`, and the network's answers from audio."""

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import soundfile
import torch
from exporting import SHERPA, SMALL, VARIANTS, random_model, waves

from asr_kd.export.audio_front_end import audio_form, chunk_samples, log_mel, window_samples
from asr_kd.export.export import describe_model
from asr_kd.export.int8 import int8_form
from asr_kd.export.int8_weights import int8_weights
from asr_kd.export.network import StreamingNetwork
from asr_kd.export.onnx_graph import TYPES, OnnxGraph
from asr_kd.frontend.fbank import PRESETS, FrontEnd, FrontEndConfig
from asr_kd.teachers.inference import Inference
from asr_kd.teachers.onnx_model import OnnxModel


def features_session(config):
    g = OnnxGraph()
    out = g.node("Identity", log_mel(g, "audio", config), name="features")
    inputs = {"audio": ("float", ("N", "samples"))}
    form = g.model(inputs, {out: ("float", ("N", "frames", config.mel_bins))}, {})
    return onnxruntime.InferenceSession(form.SerializeToString())


def difference(config, wave_N):
    """The largest of all log mel energies."""
    frontend = FrontEnd(config)
    expected_BTF, _ = frontend.fbank(torch.from_numpy(wave_N)[None], torch.tensor([len(wave_N)]))
    mirrored_N = np.concatenate([wave_N[: frontend.mirrored][::-1], wave_N])
    (found_BTF,) = features_session(config).run(None, {"audio": mirrored_N[None]})
    assert found_BTF.shape == expected_BTF.shape
    return np.abs(found_BTF - expected_BTF.numpy()).max()


@pytest.mark.parametrize("config", [FrontEndConfig(), PRESETS["sherpa-onnx"]], ids=["default", "sherpa-onnx"])
def test_nodes_compute_the_features_of_real_speech(config, an4_root):
    files = sorted(an4_root.rglob("*.flac"))[::130]
    assert files
    for file in files:
        assert difference(config, soundfile.read(file, dtype="float32")[0]) < 1e-3


def test_digital_silence_is_at_the_floor_and_an_offset_is_taken_off():
    silent_N, offset_N = waves(8000, 8000)
    silent_N[2000:5000] = 0
    assert difference(FrontEndConfig(), silent_N) < 1e-3
    assert difference(FrontEndConfig(), offset_N + np.float32(0.2)) < 0.02  # samples with an offset have fewer bits


@pytest.mark.parametrize("name", ["exponential mean, centred windows", "causal mean", "no mean, no look-ahead"])
def test_the_form_that_takes_audio_answers_as_the_model(name):
    config, frontend, chunk = VARIANTS[name]
    model = random_model(config, frontend)
    network = StreamingNetwork(model, chunk)
    form = audio_form(network, describe_model(model, chunk))
    session = onnxruntime.InferenceSession(form.SerializeToString())
    (wave_N,) = waves(30_000)
    (expected_TC,) = Inference(model, torch.device("cpu"), "float32").scores([wave_N], prior_scale=0.0)
    front_end = FrontEnd(frontend)
    rest_N = np.concatenate([wave_N[: front_end.mirrored][::-1], wave_N])
    state, count = np.zeros((1, network.state_values), np.float32), np.zeros(1, np.int64)
    answers = []
    for frames in range(front_end.num_frames(len(wave_N)), 0, -chunk):
        audio_N = np.zeros(window_samples(network), np.float32)
        audio_N[: len(rest_N)] = rest_N[: len(audio_N)]
        fed = {"audio": audio_N[None], "frames": np.array([min(frames, chunk + model.config.lookahead)])}
        log_p_NTC, state, count = session.run(None, fed | {"state": state, "count": count})
        answers.append(log_p_NTC[0, :frames])
        rest_N = rest_N[chunk_samples(network) :]
    np.testing.assert_allclose(np.concatenate(answers), expected_TC, atol=1e-3, rtol=0)


def test_weights_of_eight_bits_leave_the_front_end_as_it_is():
    model = random_model(replace(SMALL, hidden_size=64), SHERPA)
    form = audio_form(StreamingNetwork(model, 4), describe_model(model, 4))
    expected = {node.name: node.op_type for node in form.graph.node if node.name.startswith("unrounded_")}
    assert len(expected) == 3
    for small in (int8_form(form), int8_weights(form)):
        kept = {node.name: node.op_type for node in small.graph.node if node.name in expected}
        assert kept == expected
        float_values = sum(np.prod(c.dims) for c in small.graph.initializer if c.data_type == TYPES["float"])
        assert float_values > 400 * 2 * FrontEnd(SHERPA).fft // 4  # the matrix of the spectrum


def test_only_the_weights_rounded_is_near_float32_and_small():
    model = random_model(replace(SMALL, hidden_size=200, num_layers=3), SHERPA, scale=1.0)
    form = audio_form(StreamingNetwork(model, 4), describe_model(model, 4))
    (wave_N,) = waves(window_samples(StreamingNetwork(model, 4)))
    fed = {"audio": wave_N[None], "frames": np.array([7]), "count": np.zeros(1, np.int64)}
    answers = []
    for candidate in (form, int8_weights(form)):
        session = onnxruntime.InferenceSession(candidate.SerializeToString())
        state = np.zeros((1, session.get_inputs()[2].shape[1]), np.float32)
        answers.append(session.run(None, fed | {"state": state})[0])
    assert 0 < np.abs(answers[0] - answers[1]).max() < 0.02
    assert int8_weights(form).ByteSize() < 0.45 * form.ByteSize()


def test_the_file_is_no_model_for_features(tmp_path):
    model = random_model()
    (tmp_path / "audio.onnx").write_bytes(
        audio_form(StreamingNetwork(model, 4), describe_model(model, 4)).SerializeToString()
    )
    with pytest.raises(ValueError, match="holds asr_kd exported model that takes audio"):
        OnnxModel(tmp_path / "audio.onnx")
