import json
import struct

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.torch import load_file, save_file
from torch import nn

from asr_kd.cli import main
from asr_kd.frontend.fbank import FrontEndConfig
from asr_kd.inventory.senones import Senones
from asr_kd.models.acoustic import build_model
from asr_kd.models.checkpoint import load_model, model_fingerprint, read_description, save_model
from asr_kd.models.config import ModelConfig
from asr_kd.models.quantisation import MAX_CODE, fake_quantise, rounded_names, scales
from asr_kd.models.quantise import quantised
from asr_kd.models.size import model_size

INVENTORY = Senones.monophone(["SIL", "A", "B"])
BOTH_WAYS = ModelConfig(num_layers=2, hidden_size=24, bidirectional=True)
ONE_WAY = ModelConfig(num_layers=2, hidden_size=32, lookahead=3, proj_size=20)
CONFIGS = pytest.mark.parametrize("config", [BOTH_WAYS, ONE_WAY], ids=["bidirectional", "lookahead"])


def model_of(config, **changes):
    torch.manual_seed(0)
    model = build_model(ModelConfig(**{**vars(config), **changes}), INVENTORY, FrontEndConfig())
    model.set_normalisation(torch.full((192,), 0.5), torch.full((192,), 2.0))
    return model.eval()


def asked(model):
    """Logits of a batch whose second utterance leaves it early, as decoding asks for them."""
    x_BTF = torch.randn(2, 40, 192, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return model(x_BTF, torch.tensor([40, 9]))


def test_rounding_by_hand():
    weight = torch.tensor([[127.0, -63.4, 0.6, 0.4], [-2.54, 0.021, 0.029, 2.0], [0.0, 0.0, 0.0, 0.0]])
    assert scales(weight)[0] == 1.0
    assert scales(weight)[1].item() == pytest.approx(0.02, rel=2**-15)
    expected = torch.tensor([[127.0, -63.0, 1.0, 0.0], [-2.54, 0.02, 0.02, 2.0], [0.0, 0.0, 0.0, 0.0]])
    torch.testing.assert_close(fake_quantise(weight), expected, rtol=2**-15, atol=0)


@given(weight=hnp.arrays("float32", (3, 5), elements=st.floats(-(2.0**60), 2.0**60, width=32)))
def test_rounding_errs_by_half_a_step_and_rounding_what_is_rounded_changes_nothing(weight):
    weight = torch.from_numpy(weight)
    rounded, scale_R = fake_quantise(weight), scales(weight)
    assert ((rounded - weight).abs() <= scale_R[:, None] * (0.5 + 1e-4)).all()
    codes = rounded / scale_R[:, None]
    assert torch.equal(codes, codes.round()) and codes.abs().max() <= MAX_CODE
    assert torch.equal(fake_quantise(rounded), rounded)


def test_gradients_go_straight_through_to_the_weights_underneath():
    weight = torch.randn(4, 6, requires_grad=True)
    pull = torch.randn(4, 6)
    (fake_quantise(weight) * pull).sum().backward()
    assert torch.equal(weight.grad, pull)  # also at each row's largest weight, on which the scale depends


@CONFIGS
def test_a_model_learns_as_one_would_that_had_the_rounded_weights(config):
    model, plain = model_of(config, weight_dtype="int8"), model_of(config)
    plain.load_state_dict(load_rounded(model))
    x_BTF, frames_B = torch.randn(2, 12, 192), torch.tensor([12, 7])
    for m in (model, plain):
        m.train()
        m.encoder.dropout.p = 0.0
        m(x_BTF, frames_B)[0].square().sum().backward()
    ours, theirs = dict(model.named_parameters()), dict(plain.named_parameters())
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(ours[name].grad, theirs[name].grad, msg=name)


def load_rounded(model):
    rounded = rounded_names(model)
    return {name: fake_quantise(v) if name in rounded else v for name, v in model.state_dict().items()}


@CONFIGS
def test_every_matrix_of_lstm_and_linear_layers_is_rounded_and_nothing_else(config):
    model = model_of(config, weight_dtype="int8")
    owners = [(p, m) for p, m in model.named_modules() if isinstance(m, (nn.LSTM, nn.Linear))]
    matrices = {f"{p}.{n}" for p, m in owners for n, w in m.named_parameters() if w.dim() == 2}
    assert set(rounded_names(model)) == matrices and len(matrices) > 4
    assert not rounded_names(model_of(config))


@CONFIGS
def test_what_was_saved_answers_bit_for_bit_as_what_was_trained(config, tmp_path):
    model = model_of(config, weight_dtype="int8")
    save_model(tmp_path / "a", model)
    again = load_model(tmp_path / "a")
    assert again.config == model.config
    assert torch.equal(asked(again), asked(model))
    save_model(tmp_path / "b", again)
    assert (tmp_path / "b/model.safetensors").read_bytes() == (tmp_path / "a/model.safetensors").read_bytes()


def test_a_loaded_model_that_is_trained_on_is_rounded_anew(tmp_path):
    save_model(tmp_path, model_of(ONE_WAY, weight_dtype="int8"))
    model = load_model(tmp_path)
    model.train()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    model.eval()
    plain = model_of(ONE_WAY)
    plain.load_state_dict(load_rounded(model))
    assert torch.equal(asked(model), asked(plain))


def test_eight_bits_take_a_quarter_of_the_bytes_and_answer_nearly_the_same(tmp_path, capsys):
    model = model_of(BOTH_WAYS, hidden_size=128)
    save_model(tmp_path / "whole", model, {"step": 7})
    assert main(["quantise", str(tmp_path / "whole"), "--out", str(tmp_path / "small")]) == 0
    assert "0.73M parameters, 2.91 -> 0.76 MB" in capsys.readouterr().err
    whole, small = model_size(tmp_path / "whole"), model_size(tmp_path / "small" / "model.safetensors")
    assert small.parameters == whole.parameters == model.parameter_count
    assert small.bytes == (tmp_path / "small/model.safetensors").stat().st_size < whole.bytes / 3.8
    notes = read_description(tmp_path / "small")["notes"]
    assert notes == {"step": 7, "quantised_from": model_fingerprint(tmp_path / "whole")}
    log_p, log_q = (asked(load_model(tmp_path / name)).log_softmax(-1)[0] for name in ("whole", "small"))
    assert 0 < (log_p.exp() * (log_p - log_q)).sum(-1).mean() < 1e-4
    assert model_fingerprint(tmp_path / "small") != model_fingerprint(tmp_path / "whole")


def test_quantising_a_model_trained_rounded_is_what_saving_it_does(tmp_path):
    trained = model_of(ONE_WAY, weight_dtype="int8")
    plain = model_of(ONE_WAY)
    plain.load_state_dict(trained.state_dict())
    assert torch.equal(asked(quantised(plain)), asked(trained))


def test_what_cannot_be_quantised_is_refused_in_a_line(tmp_path, capsys):
    model = model_of(ONE_WAY)
    with torch.no_grad():
        model.output.weight[1, 2] = float("nan")
    save_model(tmp_path / "nan", model)
    save_model(tmp_path / "small", model_of(ONE_WAY, weight_dtype="int8"))
    for name, out, message in (
        ("nan", "out", "output.weight holds weights that are not finite"),
        ("small", "out", "small: has weights of eight bits already"),
        ("small", "small", "is the model itself"),
        ("none", "out", "no model there"),
    ):
        assert main(["quantise", str(tmp_path / name), "--out", str(tmp_path / out)]) == 2
        said = capsys.readouterr().err
        assert message in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("output.weight", lambda t: t.float()),
        ("output.weight", lambda t: torch.full_like(t, -128)),
        ("output.weight", lambda t: t[:-1].contiguous()),
        ("output.weight", None),
        ("output.weight.scale", lambda t: t[:-1].contiguous()),
        ("output.weight.scale", lambda t: -t),
        ("output.weight.scale", lambda t: t * float("inf")),
        ("output.weight.scale", lambda t: t.half()),
        ("encoder.layers.0.forwards.weight_hh_l0.scale", None),
    ],
)
def test_damaged_codes_and_scales_are_refused_by_file(name, damage, tmp_path):
    save_model(tmp_path, model_of(ONE_WAY, weight_dtype="int8"))
    file = tmp_path / "model.safetensors"
    tensors, description = load_file(file), read_description(file)
    tensor = tensors.pop(name)
    if damage is not None:
        tensors[name] = damage(tensor)
    save_file(tensors, file, metadata={"asr_kd": json.dumps(description)})
    with pytest.raises(ValueError, match=r"model\.safetensors: its weights or description are damaged"):
        load_model(tmp_path)


def test_who_reads_version_3_is_told_that_a_model_in_codes_is_another(tmp_path):
    for weights, version in (("float32", 3), ("int8", 4)):
        save_model(tmp_path, model_of(ONE_WAY, weight_dtype=weights))
        raw = (tmp_path / "model.safetensors").read_bytes()
        header = json.loads(raw[8 : 8 + struct.unpack("<Q", raw[:8])[0]])
        assert json.loads(header["__metadata__"]["asr_kd"])["version"] == version
