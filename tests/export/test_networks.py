"""An exported network answers as the model it was made of, window by window, whatever its parts."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from exporting import SMALL, VARIANTS, random_model, stored, waves

from asr_kd.export.export import describe_model
from asr_kd.export.forms import plain_form, sherpa_form
from asr_kd.export.int8 import int8_form
from asr_kd.export.network import StreamingNetwork
from asr_kd.teachers.inference import Inference
from asr_kd.teachers.onnx_model import OnnxModel, OnnxStream


def exported(model, folder, chunk=4, is_int8=False):
    form = plain_form(StreamingNetwork(model, chunk), describe_model(model, chunk))
    folder.mkdir(exist_ok=True)
    onnx.save(int8_form(form) if is_int8 else form, folder / "model.onnx")
    return OnnxModel(folder)


@pytest.mark.parametrize("name", VARIANTS)
def test_an_exported_network_answers_as_the_model(name, tmp_path):
    config, frontend, chunk = VARIANTS[name]
    model = stored(random_model(config, frontend), tmp_path)
    audio = waves(32_000, 9_000, 700, 16_000)
    ours = Inference(model, torch.device("cpu"), "float32").scores(audio, prior_scale=0.0)
    found = Inference(exported(model, tmp_path, chunk), torch.device("cpu")).scores(audio, prior_scale=0.0)
    assert [len(x) for x in ours] == [len(x) for x in found]
    assert max(len(x) for x in ours) > 40
    for expected_TC, log_p_TC in zip(ours, found, strict=True):
        np.testing.assert_allclose(log_p_TC, expected_TC, atol=1e-4, rtol=0)


def test_a_stream_answers_as_the_whole_whatever_the_pieces(tmp_path):
    model = exported(random_model(), tmp_path)
    inference = Inference(model, torch.device("cpu"))
    x_BTF, frames_B = inference.features(waves(33_333))
    whole_TC = inference.log_posteriors(x_BTF, frames_B)[0]
    rng = np.random.default_rng(0)
    for _ in range(5):
        stream, answers, rest_TF = OnnxStream(model), [], x_BTF[0]
        while len(rest_TF):
            n = int(rng.integers(0, 9))
            answers.append(stream.accept(rest_TF[:n]))
            rest_TF = rest_TF[n:]
        answers.append(stream.finish())
        torch.testing.assert_close(torch.cat(answers), whole_TC, atol=1e-5, rtol=0)


def test_streams_of_a_batch_may_be_at_different_places(tmp_path):
    model = exported(random_model(), tmp_path)
    session, bins = model._session, model.frontend.mel_bins
    x_BTF, _ = Inference(model, torch.device("cpu")).features(waves(32_000, 32_000))
    x_BUF = x_BTF.numpy().reshape(2, -1, bins)
    window, hop = (model.chunk + model.lookahead) * 4, model.chunk * 4

    def run(rows, starts, state, count):
        features = np.stack([x_BUF[row, start : start + window] for row, start in zip(rows, starts, strict=True)])
        frames = np.full(len(rows), window // 4)
        return session.run(None, {"features": features, "frames": frames, "state": state, "count": count})

    size = session.get_inputs()[2].shape[1]
    _, state, count = run([0], [0], np.zeros((1, size), np.float32), np.zeros(1, np.int64))
    alone, *_ = run([0], [hop], state, count)
    new, *_ = run([1], [0], np.zeros((1, size), np.float32), np.zeros(1, np.int64))
    both, *_ = run(
        [0, 1], [hop, 0], np.concatenate([state, np.zeros((1, size), np.float32)]), np.array([count[0], 0], np.int64)
    )
    np.testing.assert_allclose(both, np.concatenate([alone, new]), atol=1e-5)


def test_int8_answers_nearly_alike_and_is_a_quarter_of_the_size(tmp_path):
    model = random_model(replace(SMALL, hidden_size=200), scale=1.0)
    expected, found = (
        Inference(exported(model, tmp_path / name, is_int8=is_int8), torch.device("cpu")).scores(waves(32_000), 0.0)[0]
        for name, is_int8 in (("a", False), ("b", True))
    )
    assert 0 < np.abs(expected - found).max() < 0.1
    sizes = [(tmp_path / name / "model.onnx").stat().st_size for name in "ab"]
    assert sizes[1] < 0.35 * sizes[0]


@pytest.mark.parametrize("hidden", [24, 700], ids=["fits the cache", "needs a second cache"])
@pytest.mark.parametrize("is_int8", [False, True], ids=["float32", "int8"])
def test_sherpa_onnx_says_what_the_model_says(hidden, is_int8, tmp_path):
    sherpa_onnx = pytest.importorskip("sherpa_onnx", reason="the package sherpa-onnx is not installed")
    model = random_model(replace(SMALL, hidden_size=hidden, lookahead=6), scale=4.0)
    form = sherpa_form(StreamingNetwork(model, 4))
    onnx.save(int8_form(form) if is_int8 else form, tmp_path / "model.onnx")
    symbols = ["<blk>", *model.inventory.units]
    (tmp_path / "tokens.txt").write_text("".join(f"{symbol} {i}\n" for i, symbol in enumerate(symbols)))
    recognizer = sherpa_onnx.OnlineRecognizer.from_zipformer2_ctc(
        tokens=str(tmp_path / "tokens.txt"), model=str(tmp_path / "model.onnx"), feature_dim=20, num_threads=1
    )
    audio = waves(40_000, 24_000, 50_000)
    streams = []
    for wave_N in audio:
        streams.append(recognizer.create_stream())
        streams[-1].accept_waveform(16_000, wave_N)
        streams[-1].input_finished()
    while ready := [s for s in streams if recognizer.is_ready(s)]:
        recognizer.decode_streams(ready)  # as the server does: in one batch
    plain = Inference(exported(model, tmp_path / "plain", is_int8=is_int8), torch.device("cpu"))
    words = 0
    for stream, log_p_TC in zip(streams, plain.scores(audio, prior_scale=0.0), strict=True):
        answered = 4 * ((len(log_p_TC) - model.config.lookahead) // 4)  # sherpa-onnx waits for whole windows
        best_T = log_p_TC[:answered].argmax(1)
        said = [(symbols[c], 0.04 * t) for t, c in enumerate(best_T) if c and (t == 0 or c != best_T[t - 1])]
        result = recognizer.get_result_all(stream)
        assert [token.replace(" ", "▁") for token in result.tokens] == [symbol for symbol, _ in said]
        np.testing.assert_allclose(result.timestamps, [seconds for _, seconds in said], atol=1e-3)
        words += len(said)
    assert words > 10
