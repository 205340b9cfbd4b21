"""Models of eight-bit weights on a processor's eight-bit kernels: faster where a layer's weights leave the cache.

Measured on one core of an AVX512-VNNI Xeon, torch 2.11, an LSTM layer over 113 frames, milliseconds (float32 / int8):
768 cells, 1 utterance 53 / 12, 16 at a time 231 / 75; 256 cells, 1 utterance 2.6 / 2.1, 16 at a time 15 / 9.
A small model gets slower: AN4's student of 2 x 160 cells is half as fast so, its teacher of 3 x 256 1.3 times as fast.

The kernels multiply by the very codes that are stored. They also round what goes into each product, to 128 steps from
the smallest to the largest of its values; that range is taken over everything the product is given, so utterances are
asked one at a time: an answer does not depend on who shares the batch. Against the same model in float32, students and
teachers of AN4 lost 0.0003 nats per frame or less, and changed their first choice in less than half a percent of the
frames; rounding the weights alone is a fifth of that.
"""

import copy

import torch
from torch import Tensor, nn

from asr_kd.models.acoustic import AcousticModel
from asr_kd.models.quantisation import Int8Linear, Int8Lstm, Int8Rows, encode
from asr_kd.teachers.ensemble import Ensemble

NARROW_RANGE = True
"""128 steps instead of 256: without VNNI, kernels add pairs of products in 16 bits, which 256 would overflow."""


class Int8Model(nn.Module):
    """A model, or an ensemble, whose LSTM and linear layers are computed in eight bits. It can only be asked."""

    log_prior_C: Tensor

    def __init__(self, model: AcousticModel | Ensemble) -> None:
        """model: stays as it is, on the CPU. ValueError when its weights are not of eight bits."""
        super().__init__()
        for part in model.modules():
            if isinstance(part, AcousticModel) and part.config.weight_dtype != "int8":
                raise ValueError(
                    f"precision is int8: the model has weights of {part.config.weight_dtype}. "
                    "Round them with `asr-kd quantise`, or give another --precision."
                )
        self.inventory, self.frontend = model.inventory, model.frontend
        self.parameter_count = model.parameter_count
        self.register_buffer("log_prior_C", model.log_prior_C)
        self.model = copy.deepcopy(model)
        for parent in list(self.model.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, Int8Rows):
                    setattr(parent, name, _kernel(child))
        self.eval()

    def forward(self, x_BTF: Tensor, frames_B: Tensor) -> Tensor:
        """Logits (B, T, C), or what the ensemble answers; frames behind an utterance's end are undefined."""
        answers = [
            self.model(x_TF[None, : max(1, n)], torch.tensor([n]))[0]
            for x_TF, n in zip(x_BTF, frames_B.tolist(), strict=True)
        ]
        whole_TC = answers[0].new_zeros(x_BTF.shape[1], answers[0].shape[-1])
        return nn.utils.rnn.pad_sequence([*answers, whole_TC], batch_first=True)[:-1]


class _Linear(nn.Module):
    def __init__(self, linear: Int8Linear) -> None:
        super().__init__()
        self.packed = _packed(linear.weight, linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.quantized.linear_dynamic(x, self.packed, NARROW_RANGE)


class _Lstm(nn.Module):
    def __init__(self, lstm: Int8Lstm) -> None:
        super().__init__()
        self.hidden = lstm.hidden_size
        w_ih, w_hh, b_ih, b_hh = lstm.all_weights[0]
        self.packed = torch.ops.quantized.make_quantized_cell_params_dynamic(
            _packed(w_ih, b_ih), _packed(w_hh, b_hh), b_ih.detach(), b_hh.detach(), NARROW_RANGE
        )

    def forward(self, x_TBF: Tensor) -> tuple[Tensor]:
        zeros_1BH = x_TBF.new_zeros(1, x_TBF.shape[1], self.hidden)
        layers, dropout, training, bidirectional, batch_first = 1, 0.0, False, False, False
        how = True, layers, dropout, training, bidirectional, batch_first
        out_TBH, _, _ = torch.quantized_lstm(
            x_TBF, (zeros_1BH, zeros_1BH), [self.packed], *how, dtype=torch.qint8, use_dynamic=True
        )
        return (out_TBH,)


def _kernel(layer: Int8Rows) -> nn.Module:
    if isinstance(layer, Int8Lstm):
        return _Lstm(layer)
    assert isinstance(layer, Int8Linear)
    return _Linear(layer)


def _packed(weight_RF: Tensor, bias_R: Tensor | None) -> torch.ScriptObject:
    """The stored codes in the order that the kernels want."""
    codes_RF, scale_R = encode(weight_RF.detach())
    zeros_R = torch.zeros(len(scale_R), dtype=torch.long)
    coded = torch._make_per_channel_quantized_tensor(codes_RF, scale_R.double(), zeros_R, axis=0)
    return torch.ops.quantized.linear_prepack(coded, None if bias_R is None else bias_R.detach())
