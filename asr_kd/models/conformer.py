"""The Conformer encoder: self-attention over the whole utterance, and convolution over a few frames, in every layer.

Feed-forward and attention are torchaudio's; the convolution is ours for two reasons, both of padding. torchaudio's lets
a convolution see what the layers before made of padded frames, so that the last frames of an utterance would depend on
its neighbours in the batch. And its normalisations take statistics over time, of padding too: batch norm in training
and group norm always. Here the padding is zeroed before the convolution, and each frame is normalised by itself.
Source: Gulati et al., "Conformer" (2020). Positions are told by the convolutions alone.
"""

import torch
from torch import Tensor, nn
from torchaudio.models.conformer import ConformerLayer

from asr_kd.models.config import ModelConfig

FEED_FORWARD = 4
"""Width of the feed-forward layers, as a multiple of the model's (as in the paper)."""


class ConformerEncoder(nn.Module):
    """A linear layer to `hidden` values, then Conformer layers of that width."""

    def __init__(self, config: ModelConfig, input_dim: int) -> None:
        """ValueError when the config asks for what a Conformer is not."""
        super().__init__()
        if not config.bidirectional:
            raise ValueError("model.bidirectional: a conformer attends to the whole utterance. Set it to true.")
        if config.proj_size is not None:
            raise ValueError(f"model.proj_size is {config.proj_size}: a conformer has none. Set it to null.")
        if config.hidden_size % config.num_heads:
            raise ValueError(
                f"model.hidden_size is {config.hidden_size}; model.num_heads, {config.num_heads}, must divide it"
            )
        self.output_dim = config.hidden_size
        """Values in an output frame."""
        self.input = nn.Linear(input_dim, config.hidden_size)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.num_layers))

    def forward(self, x_BTF: Tensor, frames_B: Tensor, layers: list[Tensor] | None = None) -> Tensor:
        """Hidden layer of each frame, (B, T, width). x_BTF: zeros behind `frames_B`. Frames there are undefined.

        layers: is given the output of every layer, (B, T, width).
        """
        # an utterance without a frame attends to its first, that there be no mean over nothing
        frames_B1 = frames_B.to(x_BTF.device).clamp(min=1)[:, None]
        padding_BT = torch.arange(x_BTF.shape[1], device=x_BTF.device) >= frames_B1
        x_TBH = self.dropout(self.input(x_BTF)).transpose(0, 1)
        for layer in self.layers:
            x_TBH = layer(x_TBH, padding_BT)
            if layers is not None:
                layers.append(x_TBH.transpose(0, 1))
        return x_TBH.transpose(0, 1)

    @property
    def hidden_dims(self) -> tuple[int, ...]:
        """Values in an output frame of each layer."""
        return (self.output_dim,) * len(self.layers)


class _Layer(ConformerLayer):  # type: ignore[misc]  # it has no types
    """torchaudio's layer around our convolution."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(
            config.hidden_size,
            FEED_FORWARD * config.hidden_size,
            config.num_heads,
            config.conv_kernel_size,
            config.dropout,
        )
        self.conv_module = _Convolution(config)

    def forward(self, input: Tensor, key_padding_mask: Tensor | None) -> Tensor:
        """(T, B, H), and which frames are padding, (B, T)."""
        assert key_padding_mask is not None
        x_TBH = input + 0.5 * self.ffn1(input)
        a_TBH = self.self_attn_layer_norm(x_TBH)
        a_TBH, _ = self.self_attn(a_TBH, a_TBH, a_TBH, key_padding_mask=key_padding_mask, need_weights=False)
        x_TBH = x_TBH + self.self_attn_dropout(a_TBH)
        x_TBH = x_TBH + self.conv_module(x_TBH, key_padding_mask)
        x_TBH = x_TBH + 0.5 * self.ffn2(x_TBH)
        return self.final_layer_norm(x_TBH)


class _Convolution(nn.Module):
    """Pointwise with a gate, over `kernel` frames of each channel, pointwise again."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.norm = nn.LayerNorm(width)
        self.gated = nn.Linear(width, 2 * width)
        self.over_time = nn.Conv1d(
            width, width, config.conv_kernel_size, padding=config.conv_kernel_size // 2, groups=width
        )
        self.frame_norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x_TBH: Tensor, padding_BT: Tensor) -> Tensor:
        """(T, B, H), the same shape."""
        h_TBH = nn.functional.glu(self.gated(self.norm(x_TBH)), dim=-1)
        h_TBH = h_TBH.masked_fill(padding_BT.transpose(0, 1)[..., None], 0)
        h_TBH = self.over_time(h_TBH.permute(1, 2, 0)).permute(2, 0, 1)
        return self.dropout(self.out(nn.functional.silu(self.frame_norm(h_TBH))))
