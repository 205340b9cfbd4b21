import warnings

import numpy as np
import pytest
import torch

from asr_kd.frontend.fbank import FrontEndConfig
from asr_kd.inventory.senones import Senones
from asr_kd.models.acoustic import build_model
from asr_kd.models.config import ModelConfig
from asr_kd.models.quantisation import Int8Linear, encode, prepare_qat
from asr_kd.models.quantise import quantised
from asr_kd.teachers.ensemble import Ensemble
from asr_kd.teachers.inference import Inference
from asr_kd.teachers.int8_model import Int8Model, _Linear

CPU = torch.device("cpu")
INVENTORY = Senones.monophone(["SIL", "A", "B"])
CONFIGS = pytest.mark.parametrize(
    "config",
    [
        ModelConfig(num_layers=2, hidden_size=48, bidirectional=True),
        ModelConfig(num_layers=2, hidden_size=64, lookahead=3, proj_size=20),
    ],
    ids=["bidirectional", "lookahead"],
)


def model_of(config, seed=0):
    torch.manual_seed(seed)
    return quantised(build_model(config, INVENTORY, FrontEndConfig()))


def test_a_product_by_hand():
    layers = torch.nn.Sequential(torch.nn.Linear(3, 2))
    prepare_qat(layers)
    (linear,) = layers
    assert isinstance(linear, Int8Linear)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[127.0, -3.0, 5.0], [-1.27, 0.634, 0.25]]))
        linear.bias.copy_(torch.tensor([1.0, -2.0]))
    codes, _ = encode(linear.weight.detach())
    assert codes.tolist() == [[127, -3, 5], [-127, 63, 25]]
    x = torch.tensor([[0.0, 127.0, 3.0]])  # whole steps of its own 7-bit range: nothing of it is rounded
    by_hand = torch.tensor([[-3 * 127 + 5 * 3 + 1.0, 0.63 * 127 + 0.25 * 3 - 2]])
    torch.testing.assert_close(_Linear(linear)(x), by_hand, rtol=2**-15, atol=0)


@CONFIGS
def test_answers_are_nearly_those_of_the_same_weights_in_float(config):
    model = model_of(config)
    x_BTF, frames_B = torch.randn(3, 30, 192), torch.tensor([30, 17, 4])
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("error")  # what PyTorch is about to give up says so
        log_q_BTC = Inference(model, CPU, "int8").log_posteriors(x_BTF, frames_B)
        log_p_BTC = Inference(model, CPU, "float32").log_posteriors(x_BTF, frames_B)
    for log_p_TC, log_q_TC, n in zip(log_p_BTC, log_q_BTC, frames_B, strict=True):
        kl_T = (log_p_TC.exp() * (log_p_TC - log_q_TC))[:n].sum(-1)
        assert 0 < kl_T.mean() < 1e-3


@CONFIGS
def test_an_utterances_answer_does_not_depend_on_its_neighbours(config):
    inference = Inference(model_of(config), CPU, "int8")
    waves = [
        (s * np.random.default_rng(0).standard_normal(n)).astype(np.float32) for n, s in ((9000, 0.01), (20000, 1))
    ]
    together = inference.scores(waves)
    for wave_N, score_TC in zip(waves, together, strict=True):
        (alone_TC,) = inference.scores([wave_N])
        assert np.array_equal(alone_TC, score_TC)


def test_utterances_without_frames_and_padding_behind_all_of_them_are_no_trouble():
    model = Int8Model(model_of(ModelConfig(num_layers=1, hidden_size=8)))
    with torch.inference_mode():
        assert model(torch.randn(2, 9, 192), torch.tensor([0, 7])).shape == (2, 9, INVENTORY.num_classes)


def test_the_model_that_was_given_stays_as_it_is():
    model = model_of(ModelConfig(num_layers=1, hidden_size=8))
    count, names = model.parameter_count, list(model.state_dict())
    kernels = Int8Model(model)
    assert kernels.parameter_count == model.parameter_count == count and list(model.state_dict()) == names


def test_an_ensemble_is_the_mean_of_its_members():
    members = [model_of(ModelConfig(num_layers=1, hidden_size=8), seed) for seed in (0, 1)]
    x_BTF, frames_B = torch.randn(1, 6, 192), torch.tensor([6])
    with torch.inference_mode():
        both = Int8Model(Ensemble(members))(x_BTF, frames_B).exp()
        each = [Int8Model(m)(x_BTF, frames_B).softmax(-1) for m in members]
    torch.testing.assert_close(both, (each[0] + each[1]) / 2)


def test_float_weights_and_other_devices_are_refused():
    config = ModelConfig(num_layers=1, hidden_size=8)
    whole = build_model(config, INVENTORY, FrontEndConfig())
    for model in (whole, Ensemble([model_of(config), whole])):
        with pytest.raises(ValueError, match=r"has weights of float32.*asr-kd quantise"):
            Inference(model, CPU, "int8")
    with pytest.raises(ValueError, match=r"cuda has no kernels for.*--device cpu"):
        Inference(model_of(config), torch.device("cuda"), "int8")
