import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from asr_kd.core.config import load_config
from asr_kd.frontend.fbank import FrontEndConfig
from asr_kd.inventory.senones import Senones
from asr_kd.models.acoustic import build_model
from asr_kd.models.config import PRESETS, ModelConfig
from asr_kd.models.lstm import MIN_STEPS, LstmEncoder, active_segments

INVENTORY = Senones.monophone(["SIL", "A", "B"])
BOTH_WAYS = ModelConfig(num_layers=2, hidden_size=6, bidirectional=True)
ONE_WAY = ModelConfig(num_layers=2, hidden_size=6, lookahead=3, proj_size=5)
CONFORMER = ModelConfig(
    encoder="conformer", num_layers=2, hidden_size=8, num_heads=2, conv_kernel_size=5, bidirectional=True
)
KINDS = pytest.mark.parametrize(
    "config", [BOTH_WAYS, ONE_WAY, CONFORMER], ids=["bidirectional", "lookahead", "conformer"]
)


def model_of(config):
    torch.manual_seed(0)
    model = build_model(config, INVENTORY, FrontEndConfig())
    model.set_normalisation(torch.full((192,), 0.5), torch.full((192,), 2.0))
    return model.eval()


@KINDS
@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=5))
def test_an_utterances_scores_do_not_depend_on_its_neighbours(config, lengths):
    model = model_of(config)
    x_BTF = torch.randn(len(lengths), max(lengths), 192)  # what lies behind an end is not even zero
    batch_BTC = model(x_BTF, torch.tensor(lengths))
    for x_TF, logits_TC, n in zip(x_BTF, batch_BTC, lengths, strict=True):
        alone_1TC = model(x_TF[None, :n], torch.tensor([n]))
        torch.testing.assert_close(logits_TC[:n], alone_1TC[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("config", [BOTH_WAYS, ONE_WAY], ids=["bidirectional", "lookahead"])
@given(lengths=st.lists(st.integers(1, 30), min_size=2, max_size=8))
def test_a_model_that_is_only_asked_leaves_padding_out_and_answers_the_same(config, lengths):
    model = model_of(config)
    x_BTF, frames_B = torch.randn(len(lengths), max(lengths) + 2, 192), torch.tensor(lengths)
    whole_BTC = model(x_BTF, frames_B)
    with torch.inference_mode():
        trimmed_BTC = model(x_BTF, frames_B)
    assert trimmed_BTC.shape == whole_BTC.shape
    for trimmed_TC, whole_TC, n in zip(trimmed_BTC, whole_BTC, lengths, strict=True):
        torch.testing.assert_close(trimmed_TC[:n], whole_TC[:n], atol=1e-5, rtol=1e-5)


@given(lengths=st.lists(st.integers(0, 300), min_size=1, max_size=60))
def test_stretches_hold_every_frame_once_and_little_else(lengths):
    frames = sorted(lengths, reverse=True)
    cut = active_segments(frames)
    assert [start for start, _, _ in cut] == [0, *(stop for _, stop, _ in cut[:-1])]
    assert cut[-1][1] == max(1, frames[0])
    assert all(active >= sum(n > start for n in frames) for start, _, active in cut)
    assert all(stop - start >= MIN_STEPS for start, stop, _ in cut[:-1])
    assert sum((stop - start) * active for start, stop, active in cut) <= max(1, frames[0]) * len(frames)


def test_a_batch_of_very_different_lengths_is_hardly_padded():
    frames = list(range(200, 0, -2))
    computed = sum((stop - start) * active for start, stop, active in active_segments(frames))
    assert computed < 1.12 * sum(frames) < len(frames) * frames[0]


def test_the_bidirectional_encoder_is_pytorchs_packed_lstm():
    encoder = LstmEncoder(BOTH_WAYS, 7).eval()
    packed = nn.LSTM(7, 6, num_layers=2, bidirectional=True, batch_first=True)
    for i, layer in enumerate(encoder.layers):
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(packed, f"{name}_l{i}").data = getattr(layer.forwards, f"{name}_l0").data
            getattr(packed, f"{name}_l{i}_reverse").data = getattr(layer.backwards, f"{name}_l0").data
    x_BTF, frames_B = torch.randn(3, 9, 7), torch.tensor([9, 2, 5])
    ours = x_BTF.clone().requires_grad_()
    theirs = x_BTF.clone().requires_grad_()
    h_BTH = encoder(ours, frames_B)
    sequence = nn.utils.rnn.pack_padded_sequence(theirs, frames_B, batch_first=True, enforce_sorted=False)
    expected_BTH, _ = nn.utils.rnn.pad_packed_sequence(packed(sequence)[0], batch_first=True)
    inside_BT1 = (torch.arange(9) < frames_B[:, None])[..., None]
    torch.testing.assert_close(h_BTH * inside_BT1, expected_BTH)
    (h_BTH * inside_BT1).square().sum().backward()
    expected_BTH.square().sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize("lookahead", [0, 1, 5])
def test_a_students_answer_waits_for_its_lookahead_and_nothing_more(lookahead):
    model = model_of(ModelConfig(num_layers=2, hidden_size=6, lookahead=lookahead))
    frames_B = torch.tensor([20])
    x_BTF = torch.randn(1, 20, 192)
    before_TC = model(x_BTF, frames_B)[0]
    for t in (0, 7, 19 - lookahead):
        later_BTF = x_BTF.clone()
        later_BTF[:, t + lookahead + 1 :] += 1
        assert torch.equal(model(later_BTF, frames_B)[0, : t + 1], before_TC[: t + 1])
        now_BTF = x_BTF.clone()
        now_BTF[:, t + lookahead] += 1
        assert not torch.equal(model(now_BTF, frames_B)[0, t], before_TC[t])


def test_an_utterance_shorter_than_the_lookahead_is_answered():
    assert model_of(ModelConfig(num_layers=1, hidden_size=6, lookahead=5))(
        torch.randn(1, 2, 192), torch.tensor([2])
    ).shape == (
        1,
        2,
        INVENTORY.num_classes,
    )


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_builds(name):
    with torch.device("meta"):
        assert build_model(PRESETS[name], INVENTORY, FrontEndConfig()).parameter_count > 1e5


def test_the_papers_student_has_24_million_parameters():
    with torch.device("meta"):
        model = build_model(PRESETS["student-paper"], INVENTORY, FrontEndConfig())
    with_paper_classes = model.parameter_count + (3183 - INVENTORY.num_classes) * (768 + 1)
    assert round(with_paper_classes / 1e6) == 24


def test_a_preset_takes_changes():
    changed = load_config(ModelConfig, {"preset": "student-tiny", "hidden_size": 32})
    assert changed.hidden_size == 32 and changed.lookahead == PRESETS["student-tiny"].lookahead


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"preset": "teacher-huge"}, "teacher-huge.*known: teacher-tiny"),
        ({"hiden": 3}, "hiden.*Did you mean hidden"),
        ({"bidirectional": True, "lookahead": 2}, "lookahead.*Set it to 0"),
        ({"dropout": 1.0}, "dropout"),
    ],
)
def test_a_wrong_model_config_says_what_to_change(model, message):
    with pytest.raises(ValueError, match=message):
        load_config(ModelConfig, model)


def test_a_front_end_with_other_frames_than_the_inventory_is_refused():
    with pytest.raises(ValueError, match="20 ms, the inventory has 30 ms"):
        build_model(BOTH_WAYS, INVENTORY, FrontEndConfig(frame_stacking=2))


def test_a_streaming_model_is_refused_a_front_end_that_waits_for_the_end():
    waits = FrontEndConfig(cmn="utterance")
    build_model(BOTH_WAYS, INVENTORY, waits)
    with pytest.raises(ValueError, match=r"frontend\.cmn is utterance.*Set it to causal"):
        build_model(PRESETS["student-tiny"], INVENTORY, waits)
