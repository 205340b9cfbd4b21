import pytest
import torch

from asr_kd.frontend.fbank import FrontEndConfig
from asr_kd.inventory.senones import Senones
from asr_kd.models.acoustic import AcousticModel
from asr_kd.models.config import ModelConfig
from asr_kd.teachers.inference import Inference

FRAMES_THAT_FIT = 40


class Cramped(AcousticModel):
    """A model on a machine with little memory."""

    def forward(self, x_BTF, frames_B):
        self.asked.append(tuple(x_BTF.shape[:2]))
        if x_BTF.shape[0] * x_BTF.shape[1] > FRAMES_THAT_FIT:
            raise RuntimeError(
                "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: not enough memory: you tried to"
            )
        return super().forward(x_BTF, frames_B)


def inference(kind):
    torch.manual_seed(0)
    config = ModelConfig(num_layers=1, hidden_size=8, bidirectional=True)
    model = kind(config, Senones.monophone(["SIL", "A", "B"]), FrontEndConfig())
    model.asked = []
    return Inference(model, torch.device("cpu"), "float32")


def test_posteriors_are_the_log_softmax_of_the_logits():
    roomy = inference(AcousticModel)
    x_BTF, frames_B = torch.randn(3, 300, 192), torch.tensor([300, 120, 7])
    with torch.inference_mode():
        expected_BTC = roomy.model(x_BTF, frames_B).log_softmax(-1)
    assert torch.equal(roomy.log_posteriors(x_BTF, frames_B), expected_BTC)


def test_a_batch_that_does_not_fit_is_split_and_answered_the_same():
    cramped, roomy = inference(Cramped), inference(AcousticModel)
    frames = [30, 21, 20, 11, 5]
    x_BTF, frames_B = torch.randn(5, 30, 192), torch.tensor(frames)
    got_BTC, expected_BTC = cramped.log_posteriors(x_BTF, frames_B), roomy.log_posteriors(x_BTF, frames_B)
    assert got_BTC.shape == expected_BTC.shape
    for got_TC, expected_TC, n in zip(got_BTC, expected_BTC, frames, strict=True):
        torch.testing.assert_close(got_TC[:n], expected_TC[:n], atol=1e-5, rtol=1e-5)
    # Halves hold no longer padding than they need: the last two fit together.
    assert cramped.model.asked == [(5, 30), (2, 30), (1, 30), (1, 21), (3, 20), (1, 20), (2, 11)]


def test_an_utterance_that_does_not_fit_alone_and_other_errors_are_told():
    with pytest.raises(RuntimeError, match="not enough memory"):
        inference(Cramped).log_posteriors(torch.randn(2, 50, 192), torch.tensor([50, 4]))
    with pytest.raises(RuntimeError, match="size of tensor"):
        inference(Cramped).log_posteriors(torch.randn(2, 10, 5), torch.tensor([10, 4]))
