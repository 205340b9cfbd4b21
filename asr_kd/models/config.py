"""What a model is made of: a config, named presets of it, and presets with changes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from asr_kd.core.config import to_dict

MAX_LAYERS = 1000
MAX_WIDTH = 65536
"""Largest values that a model is built with, so that one odd number in a config or a file cannot take all memory."""


@dataclass(frozen=True)
class ModelConfig:
    """An encoder over stacked frames of 30 ms, with a linear layer to the classes behind it."""

    encoder: str = "lstm"
    """Family of the encoder, of `encoders.ENCODERS`: lstm or conformer."""
    num_layers: int = 2
    """Number of LSTM or Conformer layers."""
    hidden_size: int = 256
    """Cells of an LSTM layer and direction; values of a frame in a Conformer."""
    bidirectional: bool = False
    """Read each utterance in both directions: better, but only once it has ended."""
    lookahead: int = 0
    """Look-ahead of a unidirectional model in frames of 30 ms; 5 are 150 ms of delay."""
    proj_size: int | None = None
    """Width of a linear layer behind each LSTM layer; None passes the cells on as they are."""
    num_heads: int = 4
    """Conformer: heads of self-attention; they share the `hidden_size` values."""
    conv_kernel_size: int = 15
    """Conformer: frames of 30 ms that a layer's convolution spans, an odd number (15 are 0.45 s)."""
    dropout: float = 0.2
    """Share of each layer's outputs that is dropped in training."""
    weight_dtype: Literal["float32", "int8"] = "float32"
    """What the matrices of LSTM and linear layers are rounded to, in training and on disk."""

    @staticmethod
    def expand_config(data: Mapping[str, Any]) -> dict[str, Any]:
        """Fields of a config file: those of `preset: NAME`, if it is there, and what differs from them.

        ValueError names an unknown preset.
        """
        fields = dict(data)
        preset = fields.pop("preset", None)
        if preset is None:
            return fields
        if preset not in PRESETS:
            raise ValueError(f"model.preset is {preset}; known: {', '.join(PRESETS)}")
        return to_dict(PRESETS[preset]) | fields

    def __post_init__(self) -> None:
        for name, most in (
            ("num_layers", MAX_LAYERS),
            ("hidden_size", MAX_WIDTH),
            ("num_heads", MAX_WIDTH),
            ("conv_kernel_size", MAX_WIDTH),
        ):
            if not 1 <= getattr(self, name) <= most:
                raise ValueError(f"model.{name} is {getattr(self, name)}; it must be 1 to {most}")
        if self.proj_size is not None and not 1 <= self.proj_size <= MAX_WIDTH:
            raise ValueError(f"model.proj_size is {self.proj_size}; it must be 1 to {MAX_WIDTH}, or null for none")
        if self.conv_kernel_size % 2 == 0:
            raise ValueError(f"model.conv_kernel_size is {self.conv_kernel_size}; it must be odd")
        if not 0 <= self.lookahead <= MAX_WIDTH:
            raise ValueError(f"model.lookahead is {self.lookahead}; it must be 0 to {MAX_WIDTH}")
        if self.bidirectional and self.lookahead:
            raise ValueError("model.lookahead: a bidirectional model reads the whole utterance. Set it to 0.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"model.dropout is {self.dropout}; it must lie in [0, 1)")


PRESETS: dict[str, ModelConfig] = {
    # Sizes with a few hundred to 3,183 classes behind them.
    "teacher-tiny": ModelConfig(num_layers=2, hidden_size=128, bidirectional=True),  # 0.8M: tests, quickstart
    "teacher-small": ModelConfig(num_layers=2, hidden_size=256, bidirectional=True),  # 2.6M
    "teacher-an4": ModelConfig(
        num_layers=3, hidden_size=256, bidirectional=True, dropout=0.3
    ),  # 4.2M: an hour of speech
    "teacher-paper": ModelConfig(
        num_layers=5, hidden_size=768, bidirectional=True
    ),  # 67M with 3,183 classes (arXiv 1904.01624)
    "teacher-conformer": ModelConfig(
        encoder="conformer", num_layers=8, hidden_size=144, bidirectional=True, dropout=0.1
    ),  # 4M: its attention needs a learning rate below an LSTM's, 0.001 or less
    "student-tiny": ModelConfig(num_layers=2, hidden_size=160, lookahead=5, dropout=0.1),  # 0.5M
    "student-small": ModelConfig(num_layers=3, hidden_size=256, lookahead=5, dropout=0.1),  # 1.6M
    "student-conformer": ModelConfig(
        encoder="conformer", num_layers=4, hidden_size=96, bidirectional=True, dropout=0.1
    ),  # 0.9M, not for streaming
    "student-paper": ModelConfig(
        num_layers=5, hidden_size=768, lookahead=5, dropout=0.1
    ),  # 24M with 3,183 classes (the paper's)
}
"""Models by name. A config says `model: {preset: teacher-an4}`, with other fields of `ModelConfig` as changes to it."""
