"""Weights of eight bits: what is stored, and how a model is trained to answer well with them.

A model whose config says `weights: int8` computes with the matrices of its LSTM and linear layers rounded to 255 steps
of a scale of each row's own (symmetric, weights only: activations stay as they are). In training the rounding happens
anew in every forward pass and the gradient goes straight through to the float32 weights underneath, which optimiser
and running average keep. On disk there are the codes and the scales, a quarter of the bytes; they give back the very
weights that were computed with, bit for bit.

A model that is loaded has its matrices in float32: it takes a quarter of the disk, and as long as any other to answer.
`models.int8_kernels` computes with the codes themselves.
"""

from typing import Any

import torch
from torch import Tensor, nn

MAX_CODE = 127
"""Codes go from -127 to 127: as many below zero as above."""
SCALE_BITS = 16
"""Significant bits of a scale. With 7 of a code they fit float32's 24, so code times scale is exact, and rounding what
is rounded changes nothing."""
SMALLEST = 1e-30
"""A row of smaller weights is a row of zeros."""
SCALE_SUFFIX = ".scale"
"""On disk, NAME's scales are beside it as NAME.scale."""


class Int8Rows(nn.Module):
    """Base of layers that compute with rounded matrices. `settled`: they are rounded already; training unsettles."""

    settled: bool = False

    def train(self, mode: bool = True) -> "Int8Rows":
        """As in `nn.Module`."""
        self.settled = self.settled and not mode
        return super().train(mode)

    def used(self, weight: Tensor) -> Tensor:
        """What the layer computes with: vectors as they are, matrices rounded."""
        return weight if self.settled or weight.dim() < 2 else fake_quantise(weight)


class Int8Lstm(Int8Rows, nn.LSTM):
    """An `nn.LSTM` of one layer and direction over (T, B, F) with rounded matrices."""

    def forward(self, x_TBF: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Any, ...]:
        """As `nn.LSTM`: (T, B, H), and hidden and cell state (1, B, H)."""
        if state is None:
            zeros_1BH = x_TBF.new_zeros(1, x_TBF.shape[1], self.hidden_size)
            state = zeros_1BH, zeros_1BH
        weights = [self.used(weight) for weight in self.all_weights[0]]
        layers, dropout = 1, 0.0
        out_TBH, hidden, cell = torch.lstm(
            x_TBF, state, weights, self.bias, layers, dropout, self.training, self.bidirectional, self.batch_first
        )
        return out_TBH, (hidden, cell)


class Int8Linear(Int8Rows, nn.Linear):
    """An `nn.Linear` with a rounded matrix."""

    def forward(self, x: Tensor) -> Tensor:
        """As `nn.Linear`."""
        return nn.functional.linear(x, self.used(self.weight), self.bias)


def prepare_qat(model: nn.Module) -> None:
    """Make every LSTM and linear layer of a model compute with rounded matrices. Weights and their names stay."""
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = Int8Linear
        elif type(module) is nn.LSTM:
            assert module.num_layers == 1 and not module.bidirectional and not module.batch_first
            module.__class__ = Int8Lstm


def freeze_quantised(model: nn.Module) -> None:
    """Tell a model in evaluation mode that its matrices are rounded already: it then asks no more, until trained."""
    assert not model.training
    for module in model.modules():
        if isinstance(module, Int8Rows):
            module.settled = True


def scales(weight_RF: Tensor) -> Tensor:
    """The step between codes of each row (R,): its largest weight is 127 of them, rounded up to `SCALE_BITS`."""
    largest_R = weight_RF.detach().abs().flatten(1).amax(1).clamp(min=SMALLEST)
    mantissa_R, exponent_R = torch.frexp(largest_R / MAX_CODE)
    return torch.ldexp((mantissa_R * 2**SCALE_BITS).ceil() / 2**SCALE_BITS, exponent_R)


def fake_quantise(weight_RF: Tensor) -> Tensor:
    """A float32 matrix with each row rounded to whole multiples of its scale.

    The gradient is that of the identity: steps are taken as if nothing were rounded, the scale as a constant
    (straight-through estimator, Bengio et al., arXiv 1308.3432; scales by row: Krishnamoorthi, arXiv 1806.08342).
    """
    scale_R = scales(weight_RF)
    zeros_R = torch.zeros_like(scale_R, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight_RF, scale_R, zeros_R, 0, -MAX_CODE, MAX_CODE)


def encode(weight_RF: Tensor) -> tuple[Tensor, Tensor]:
    """Codes (R, F) from -127 to 127 and scales (R,) whose product is `fake_quantise(weight_RF)`, exactly."""
    scale_R = scales(weight_RF)
    return (fake_quantise(weight_RF) / _by_row(scale_R, weight_RF)).round().to(torch.int8), scale_R


def stored_state(model: nn.Module) -> dict[str, Tensor]:
    """A model's state as it is stored: int8 codes and float32 scales for matrices that are rounded, else as it is.

    ValueError when a weight is not finite.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    for name in rounded_names(model):
        weight_RF = tensors[name].float()
        if not weight_RF.isfinite().all():
            raise ValueError(f"{name}: holds weights that are not finite, which have no code. Train again.")
        tensors[name], tensors[name + SCALE_SUFFIX] = encode(weight_RF)
    return tensors


def restored_state(model: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state that `stored_state` stored. ValueError names what is no code or no scale."""
    state = dict(tensors)
    for name in rounded_names(model):
        codes_RF, scale_R = state[name], state.pop(name + SCALE_SUFFIX)
        if codes_RF.dtype != torch.int8 or codes_RF.dim() < 2 or int(codes_RF.min()) < -MAX_CODE:
            raise ValueError(f"{name} holds {codes_RF.dtype} {tuple(codes_RF.shape)}, not codes from -127 to 127")
        fits = scale_R.dtype == torch.float32 and scale_R.shape == codes_RF.shape[:1]
        if not fits or not (scale_R.isfinite() & (scale_R > 0)).all():
            raise ValueError(f"{name}{SCALE_SUFFIX} is no positive float32 scale for each of {len(codes_RF)} rows")
        state[name] = codes_RF.float() * _by_row(scale_R, codes_RF)
    return state


def rounded_names(model: nn.Module) -> list[str]:
    """Names, in the model's state, of the matrices that are rounded."""
    return [
        f"{prefix}.{name}"
        for prefix, module in model.named_modules()
        if isinstance(module, Int8Rows)
        for name, weight in module.named_parameters(recurse=False)
        if weight.dim() >= 2
    ]


def _by_row(scale_R: Tensor, like: Tensor) -> Tensor:
    return scale_R.reshape(-1, *[1] * (like.dim() - 1))
