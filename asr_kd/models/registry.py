"""The encoders by name: one file and one line here for each."""

from asr_kd.models.config import ModelConfig
from asr_kd.models.conformer import ConformerEncoder
from asr_kd.models.lstm import LstmEncoder

Encoder = LstmEncoder | ConformerEncoder
"""forward(x_BTF, frames_B, layers=None) gives (B, T, width), exact under padding; `widths` of all layers."""

ENCODERS: dict[str, type[Encoder]] = {
    "lstm": LstmEncoder,
    "conformer": ConformerEncoder,
}


def build_encoder(config: ModelConfig, input_dim: int) -> Encoder:
    """A new encoder with random weights. ValueError when there is none of that kind, or not with those fields."""
    if config.encoder not in ENCODERS:
        raise ValueError(f"model.encoder is {config.encoder}; known: {', '.join(ENCODERS)}")
    return ENCODERS[config.encoder](config, input_dim)
