"""The LSTM encoder: exact under padding, and in the unidirectional form causal up to a declared look-ahead.

Each direction is an `nn.LSTM` of its own over padded, time-major input; the backward one reads every utterance
reversed within its own length. That equals packed sequences and is faster: packing leaves oneDNN's LSTM kernels.
Measured on 2 cores of an AVX512 Xeon, torch 2.11, 2 bidirectional layers, forward and backward, milliseconds
(packed / two directions): 128 cells, 32 x 200 frames 2345 / 279; 256 cells, 16 x 200 frames 1515 / 267.

Inference computes little padding: utterances that have ended leave the batch in a few steps
(`active_segments`). Measured with 5 x 768 cells on a batch of speechocean762's longest utterances, 22 of 3 to 11 s,
49% of it padding: 17.7 s of one core's time before, 12.9 s so.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from asr_kd.models.config import ModelConfig

ACTIVE_SHARE = 0.9
"""A new segment begins where so many of the last one's utterances are left, or fewer."""
MIN_STEPS = 4
"""Steps of the shortest segment: each begins with some work of its own (oneDNN orders the weights anew). A guess."""

Segment = tuple[int, int, int]
"""First time step, the one behind the last, and how many utterances go through them."""


class LstmEncoder(nn.Module):
    """LSTM layers, each with an optional projection and its share of the look-ahead, dropout behind each."""

    def __init__(self, config: ModelConfig, input_dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        self.lookaheads = nn.ModuleList()
        self.output_dim = input_dim
        """Values in an output frame."""
        for number in range(config.num_layers):
            layer = LstmLayer(self.output_dim, config)
            self.layers.append(layer)
            self.output_dim = layer.output_dim
            share = config.lookahead // config.num_layers + (number < config.lookahead % config.num_layers)
            self.lookaheads.append(LookAhead(self.output_dim, share) if share else nn.Identity())
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x_BTF: Tensor, frames_B: Tensor, layers: list[Tensor] | None = None) -> Tensor:
        """Hidden layer of each frame, (B, T, width). x_BTF: zeros behind `frames_B`. Frames there are undefined.

        Output t has seen inputs up to t + lookahead; behind the end of an utterance it sees zeros.
        layers: is given the output of every layer before dropout, (B, T, width of the layer).
        """
        frames_B = frames_B.to(x_BTF.device)
        if layers is not None:
            return self._forward(x_BTF, frames_B, None, layers)
        if torch.is_grad_enabled() or x_BTF.device.type != "cpu" or len(x_BTF) == 1:
            return self._forward(x_BTF, frames_B, None)
        falling_B, order_B = frames_B.sort(descending=True, stable=True)
        trimmed = active_segments(falling_B.tolist())
        if torch.equal(falling_B, frames_B):
            return self._forward(x_BTF, frames_B, trimmed)
        return self._forward(x_BTF[order_B], falling_B, trimmed)[order_B.argsort()]

    @property
    def hidden_dims(self) -> tuple[int, ...]:
        """Values in an output frame of each layer."""
        return tuple(layer.output_dim for layer in self.layers)  # type: ignore[misc]

    def _forward(
        self, x_BTF: Tensor, frames_B: Tensor, trimmed: list[Segment] | None, layers: list[Tensor] | None = None
    ) -> Tensor:
        x_TBF = x_BTF.transpose(0, 1).contiguous()
        reversal_TB = reversal(frames_B, x_TBF.shape[0])
        mask_TB1 = (torch.arange(x_TBF.shape[0], device=x_TBF.device)[:, None] < frames_B).unsqueeze(-1)
        for layer, lookahead in zip(self.layers, self.lookaheads, strict=True):
            x_TBF = layer(x_TBF, reversal_TB, trimmed)
            if isinstance(lookahead, LookAhead):
                x_TBF = lookahead(x_TBF * mask_TB1)
            if layers is not None:
                layers.append(x_TBF.transpose(0, 1))
            x_TBF = self.dropout(x_TBF)
        return x_TBF.transpose(0, 1)


class LookAhead(nn.Module):
    """Each value plus a learnt mixture of its next `frames` values: a row convolution.

    A student that answers late instead must carry what it heard through its cells until the answer is due, which takes
    it many more steps to learn.
    Source: Wang et al., "Lookahead convolution layer for unidirectional recurrent neural networks" (2016).
    """

    def __init__(self, width: int, frames: int) -> None:
        super().__init__()
        self.weight_JF = nn.Parameter(torch.full((frames, width), 1 / (frames + 1)))

    def forward(self, x_TBF: Tensor) -> Tensor:
        """(T, B, F), zeros behind each utterance's end; the same shape."""
        mixed_TBF = x_TBF
        for j, weight_F in enumerate(self.weight_JF, 1):
            later_TBF = nn.functional.pad(x_TBF[j:], (0, 0, 0, 0, 0, min(j, x_TBF.shape[0])))
            mixed_TBF = torch.addcmul(mixed_TBF, later_TBF, weight_F)
        return mixed_TBF


class LstmLayer(nn.Module):
    """One LSTM layer over time-major input, in one or both directions."""

    def __init__(self, input_dim: int, config: ModelConfig) -> None:
        super().__init__()
        self.forwards = _lstm(input_dim, config.hidden_size)
        self.backwards = _lstm(input_dim, config.hidden_size) if config.bidirectional else None
        cells = config.hidden_size * (2 if config.bidirectional else 1)
        self.projection = nn.Linear(cells, config.proj_size, bias=False) if config.proj_size else None
        self.output_dim = config.proj_size or cells

    def forward(self, x_TBF: Tensor, reversal_TB: Tensor, trimmed: list[Segment] | None = None) -> Tensor:
        """(T, B, width). reversal_TB: see `reversal`; only read when there is a backward direction.

        trimmed: `stretches` of the batch, longest utterance first; None computes all of its padding.
        """
        h_TBH = _run(self.forwards, x_TBF, trimmed)
        if self.backwards is not None:
            back_TBH = _run(self.backwards, _Reverse.apply(x_TBF, reversal_TB), trimmed)  # type: ignore[no-untyped-call]
            h_TBH = torch.cat([h_TBH, _Reverse.apply(back_TBH, reversal_TB)], dim=-1)  # type: ignore[no-untyped-call]
        return h_TBH if self.projection is None else self.projection(h_TBH)


def active_segments(frames: Sequence[int]) -> list[Segment]:
    """Segments of time with about the same active utterances. frames: of each utterance, falling."""
    cut: list[Segment] = []
    start, active = 0, len(frames)
    last = max(1, frames[0])
    for left in range(len(frames) - 1, 0, -1):
        end = frames[left]  # behind it, the first `left` utterances go on
        if left <= ACTIVE_SHARE * active and end - start >= MIN_STEPS and end < last:
            cut.append((start, end, active))
            start, active = end, left
    return [*cut, (start, last, active)]


def _run(lstm: nn.LSTM, x_TBF: Tensor, trimmed: list[Segment] | None) -> Tensor:
    """The LSTM's output (T, B, H); zeros where `trimmed` leaves frames out."""
    if trimmed is None or len(trimmed) == 1:
        return lstm(x_TBF)[0]
    out_TBH = None
    state: tuple[Tensor, Tensor] | None = None
    for start, stop, active in trimmed:
        if state is not None:
            state = (state[0][:, :active].contiguous(), state[1][:, :active].contiguous())
        h_TBH, state = lstm(x_TBF[start:stop, :active].contiguous(), state)
        if out_TBH is None:  # only now is its type known: autocast may have changed it
            out_TBH = h_TBH.new_zeros(*x_TBF.shape[:2], h_TBH.shape[-1])
        out_TBH[start:stop, :active] = h_TBH
    assert out_TBH is not None
    return out_TBH


def reversal(frames_B: Tensor, steps: int) -> Tensor:
    """Where frame t of each reversed utterance comes from, (T, B): n - 1 - t within its n frames, t itself behind."""
    time_T1 = torch.arange(steps, device=frames_B.device)[:, None]
    return torch.where(time_T1 < frames_B, frames_B - 1 - time_T1, time_T1)


class _Reverse(torch.autograd.Function):
    """Reverses utterances in time. It is its own inverse, so its gradient is one more gather, never a scatter."""

    @staticmethod
    def forward(ctx: Any, x_TBF: Tensor, reversal_TB: Tensor) -> Tensor:
        ctx.save_for_backward(reversal_TB)
        return x_TBF.gather(0, reversal_TB[..., None].expand_as(x_TBF))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (grad_TBF,) = gradients
        (reversal_TB,) = ctx.saved_tensors
        return grad_TBF.gather(0, reversal_TB[..., None].expand_as(grad_TBF)), None


def _lstm(input_dim: int, hidden: int) -> nn.LSTM:
    """An LSTM that starts out remembering: its forget gates begin at sigmoid(1)."""
    lstm = nn.LSTM(input_dim, hidden)
    with torch.no_grad():
        for name, bias_4H in lstm.named_parameters():
            if name.startswith("bias_"):
                bias_4H[hidden : 2 * hidden] = 0.5  # there are two biases, which are added
    return lstm
