"""A model that is fed frame by frame says what it says of the whole."""

import numpy as np
import pytest
import torch

from asr_kd.frontend.fbank import FrontEndConfig
from asr_kd.inventory.tokens import Tokens
from asr_kd.models.acoustic import build_model
from asr_kd.models.config import PRESETS, ModelConfig
from asr_kd.models.quantisation import freeze_quantised
from asr_kd.models.streaming import ModelStream, streams

TOKENS = Tokens.characters(["ABCDE"], frame_shift_s=0.03)
CONFIGS = {
    "plain": ModelConfig(num_layers=2, hidden_size=12),
    "look-ahead": ModelConfig(num_layers=2, hidden_size=12, lookahead=5),
    "look-ahead in one layer": ModelConfig(num_layers=3, hidden_size=8, lookahead=1, proj_size=6),
    "int8": ModelConfig(num_layers=1, hidden_size=8, lookahead=3, weight_dtype="int8"),
}


def model_of(config):
    torch.manual_seed(1)
    model = build_model(config, TOKENS, FrontEndConfig()).eval()
    freeze_quantised(model)
    for lookahead in getattr(model.encoder, "lookaheads", ()):
        for weight in lookahead.parameters():
            torch.nn.init.normal_(weight)
    return model


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("frames", [0, 1, 3, 4, 29])
def test_frames_in_portions_of_any_size_have_the_posteriors_of_the_whole(name, frames):
    model = model_of(CONFIGS[name])
    x_TF = torch.randn(frames, 192)
    rng, stream, parts, fed = np.random.default_rng(frames), ModelStream(model), [], 0
    while fed < frames:
        portion_TF = x_TF[fed : fed + int(rng.integers(1, 6))]
        fed += len(portion_TF)
        parts.append(stream.accept(portion_TF))
        assert sum(map(len, parts)) == max(0, fed - CONFIGS[name].lookahead)
    parts.append(stream.finish())
    assert sum(map(len, parts)) == frames
    if frames:
        with torch.inference_mode():
            whole_TC = model(x_TF[None], torch.tensor([frames]))[0].log_softmax(-1)
        torch.testing.assert_close(torch.cat(parts), whole_TC, rtol=0, atol=1e-5)


def test_streams_share_a_model_and_nothing_else():
    model, x_TF = model_of(CONFIGS["look-ahead"]), torch.randn(20, 192)
    one, other, alone = ModelStream(model), ModelStream(model), ModelStream(model)
    parts = []
    for frame_TF in x_TF.split(3):
        parts.append(one.accept(frame_TF))
        other.accept(torch.randn(5, 192))
    expected = torch.cat([alone.accept(frame_TF) for frame_TF in x_TF.split(3)] + [alone.finish()])
    assert torch.equal(torch.cat([*parts, one.finish()]), expected)


def test_only_models_that_wait_for_nothing_stream():
    def build(config, cmn="causal"):
        return build_model(config, TOKENS, FrontEndConfig(cmn=cmn))

    assert streams(build(PRESETS["student-tiny"]))
    assert not streams(build(PRESETS["teacher-tiny"]))
    assert not streams(build(PRESETS["student-conformer"]))
    assert not streams(build(PRESETS["teacher-tiny"], "utterance"))
    assert not streams("a model")
