import pytest
import torch

from asr_kd.frontend.fbank import FrontEndConfig
from asr_kd.inventory.senones import Senones
from asr_kd.models.acoustic import build_model
from asr_kd.models.checkpoint import model_fingerprint, save_model
from asr_kd.models.config import ModelConfig
from asr_kd.teachers.ensemble import Ensemble
from asr_kd.teachers.registry import load_models, models_fingerprint

INVENTORY = Senones.monophone(["SIL", "A", "B"])
FRONTEND = FrontEndConfig(mel_bins=20)


def new_model(seed, inventory=INVENTORY, frontend=FRONTEND, hidden=8):
    torch.manual_seed(seed)
    model = build_model(ModelConfig(num_layers=1, hidden_size=hidden, bidirectional=True), inventory, frontend)
    model.log_prior_C.copy_(torch.randn(inventory.num_classes).log_softmax(0))
    return model.eval()


@pytest.fixture
def saved(tmp_path):
    paths = [tmp_path / name for name in "abc"]
    for seed, path in enumerate(paths):
        save_model(path, new_model(seed, hidden=8 + seed))
    return paths


def test_posteriors_and_priors_are_the_members_means(saved):
    ensemble = load_models(saved)
    members = [load_models([path]) for path in saved]
    x_BTF, frames_B = torch.randn(2, 9, 60), torch.tensor([9, 4])
    expected_BTC = sum(m(x_BTF, frames_B).softmax(-1) for m in members) / 3
    torch.testing.assert_close(ensemble(x_BTF, frames_B).exp(), expected_BTC)
    torch.testing.assert_close(ensemble.log_prior_C.exp(), sum(m.log_prior_C.exp() for m in members) / 3)
    assert ensemble.parameter_count == sum(m.parameter_count for m in members)


def test_one_model_is_itself_and_the_order_of_several_does_not_matter(saved):
    assert models_fingerprint(saved[:1]) == model_fingerprint(saved[0])
    assert models_fingerprint(saved) == models_fingerprint(saved[::-1]) != models_fingerprint(saved[:2])


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (new_model(1, inventory=Senones.monophone(["SIL", "A", "C"])), "model 2 of 2: its inventory is .* average"),
        (new_model(1, frontend=FrontEndConfig(mel_bins=20, low_hz=80.0)), "model 2 of 2: its frontend is .* average"),
    ],
)
def test_models_that_do_not_belong_together_are_refused(other, message):
    with pytest.raises(ValueError, match=message):
        Ensemble([new_model(0), other])
