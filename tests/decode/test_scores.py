import numpy as np
import pytest
import torch

from asr_kd.frontend.fbank import FrontEndConfig
from asr_kd.inventory.senones import Senones
from asr_kd.models.acoustic import build_model
from asr_kd.models.config import ModelConfig
from asr_kd.teachers.inference import Inference, pad_waves

INVENTORY = Senones.monophone(["SIL", "A", "B"])
LENGTHS = (16000, 700, 100, 9000, 0, 16000)


@pytest.fixture(scope="module", params=[{"bidirectional": True}, {"lookahead": 4}], ids=["bidirectional", "lookahead"])
def inference(request):
    torch.manual_seed(0)
    model = build_model(ModelConfig(num_layers=2, hidden_size=12, **request.param), INVENTORY, FrontEndConfig())
    model.set_normalisation(torch.full((192,), -1.0), torch.full((192,), 3.0))
    model.log_prior_C.copy_(torch.tensor([0.6, 0.1, 0.1, 0.1, 0.1]).log())
    model.train()  # Inference turns dropout off
    return Inference(model, torch.device("cpu"), "float32")


@pytest.fixture(scope="module")
def waves():
    rng = np.random.default_rng(0)
    return [rng.normal(0, 0.1, n).astype(np.float32) for n in LENGTHS]


def test_an_utterances_scores_do_not_depend_on_its_batch(inference, waves):
    alone = [inference.scores([w])[0] for w in waves]
    assert [len(s) for s in alone] == [inference.frontend.num_frames(n) for n in LENGTHS]
    for order in (range(6), [4, 2, 1, 3, 0, 5], [5, 1]):
        together = inference.scores([waves[i] for i in order])
        for i, score_TC in zip(order, together, strict=True):
            np.testing.assert_allclose(score_TC, alone[i], atol=2e-4)


def test_scores_are_log_posteriors_less_the_share_of_the_priors_asked_for(inference, waves):
    (log_p_TC,) = inference.scores(waves[:1], prior_scale=0.0)
    np.testing.assert_allclose(np.exp(log_p_TC).sum(1), 1, rtol=1e-5)
    log_prior_C = np.log([0.6, 0.1, 0.1, 0.1, 0.1])
    for share in (0.5, 1.0):
        (score_TC,) = inference.scores(waves[:1], prior_scale=share)
        np.testing.assert_allclose(score_TC, log_p_TC - share * log_prior_C, atol=1e-5)
    np.testing.assert_array_equal(inference.scores(waves[:1])[0], score_TC)


def test_utterances_shorter_than_a_frame_have_no_scores(inference, waves):
    for score_TC in inference.scores([waves[2], waves[4]]):
        assert score_TC.shape == (0, INVENTORY.num_classes)


def test_padding_is_zeros_behind_the_end():
    wave_BN, samples_B = pad_waves([np.ones(2), np.arange(6, dtype=np.int16)[::2]])
    assert wave_BN.tolist() == [[1, 1, 0], [0, 2, 4]] and wave_BN.dtype == torch.float32
    assert samples_B.tolist() == [2, 3]
