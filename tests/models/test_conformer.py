import pytest
import torch

from asr_kd.core.config import load_config
from asr_kd.frontend.fbank import FrontEndConfig
from asr_kd.inventory.tokens import Tokens
from asr_kd.models.acoustic import build_model
from asr_kd.models.checkpoint import load_model, save_model
from asr_kd.models.config import PRESETS, ModelConfig
from asr_kd.models.registry import ENCODERS

TOKENS = Tokens.characters(["AB"])
SMALL = {
    "encoder": "conformer",
    "num_layers": 2,
    "hidden_size": 8,
    "num_heads": 2,
    "conv_kernel_size": 5,
    "bidirectional": True,
    "dropout": 0.0,
}


def model_of(**changes):
    torch.manual_seed(0)
    return build_model(load_config(ModelConfig, SMALL | changes), TOKENS, FrontEndConfig())


def test_neighbours_count_for_nothing_in_training_either():
    model = model_of().train()
    x_BTF, frames_B = torch.randn(3, 12, 192), torch.tensor([12, 3, 7])
    batch_BTC = model(x_BTF, frames_B)
    for x_TF, logits_TC, n in zip(x_BTF, batch_BTC, frames_B.tolist(), strict=True):
        alone_1TC = model(x_TF[None, :n], torch.tensor([n]))
        torch.testing.assert_close(logits_TC[:n], alone_1TC[0], atol=1e-5, rtol=1e-5)


def test_every_frame_hears_the_whole_utterance_and_nothing_behind_its_end():
    model = model_of().eval()
    x_BTF = torch.randn(2, 30, 192, requires_grad=True)
    (slope_BTF,) = torch.autograd.grad(model(x_BTF, torch.tensor([30, 20]))[:, 0].sum(), x_BTF)
    heard_BT = slope_BTF.abs().sum(-1) > 0
    assert heard_BT.sum(1).tolist() == [30, 20] and heard_BT[1, :20].all()


def test_the_order_of_frames_matters():
    model = model_of().eval()
    x_BTF, frames_B = torch.randn(1, 9, 192), torch.tensor([9])
    backwards_BTC = model(x_BTF.flip(1), frames_B).flip(1)
    assert not torch.allclose(backwards_BTC, model(x_BTF, frames_B), atol=1e-3)


def test_each_layer_is_shown_and_the_last_leads_to_the_answer():
    model = model_of().eval()
    x_BTF, frames_B = torch.randn(2, 6, 192), torch.tensor([6, 4])
    trace = model(x_BTF, frames_B, return_hidden=True)
    torch.testing.assert_close(trace.logits_BTC, model(x_BTF, frames_B))
    assert {name: layer.shape for name, layer in trace.hidden_states.items()} == {
        "layer0": (2, 6, 8),
        "layer1": (2, 6, 8),
    }
    torch.testing.assert_close(model.output(trace.hidden_states["layer1"]), trace.logits_BTC)


def test_utterances_without_a_frame_do_no_harm():
    model = model_of().eval()
    x_BTF = torch.randn(2, 6, 192)
    logits_BTC = model(x_BTF, torch.tensor([6, 0]))
    torch.testing.assert_close(logits_BTC[:1], model(x_BTF[:1], torch.tensor([6])), atol=1e-5, rtol=1e-5)
    assert logits_BTC.isfinite().all()


def test_a_checkpoint_rebuilds_it(tmp_path):
    model = model_of().eval()
    save_model(tmp_path, model)
    x_BTF, frames_B = torch.randn(1, 9, 192), torch.tensor([9])
    assert torch.equal(load_model(tmp_path)(x_BTF, frames_B), model(x_BTF, frames_B))


def test_presets_have_the_size_they_promise():
    sizes = {
        name: build_model(PRESETS[name], TOKENS, FrontEndConfig()).parameter_count / 1e6
        for name in ("teacher-conformer", "student-conformer")
    }
    assert sizes == {"teacher-conformer": pytest.approx(3.9, abs=0.1), "student-conformer": pytest.approx(0.9, abs=0.1)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bidirectional": False}, "model.bidirectional: a conformer attends to the whole.*Set it to true"),
        ({"proj_size": 3}, "model.proj_size is 3: a conformer has none"),
        ({"num_heads": 3}, "model.hidden_size is 8; model.num_heads, 3, must divide it"),
        ({"conv_kernel_size": 4}, "model.conv_kernel_size is 4; it must be odd"),
        ({"encoder": "transformer"}, f"model.encoder is transformer; known: {', '.join(ENCODERS)}"),
    ],
)
def test_a_wrong_config_says_what_to_change(changes, message):
    with pytest.raises(ValueError, match=message):
        model_of(**changes)
