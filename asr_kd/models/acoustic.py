"""The acoustic model: normalisation, encoder and classes, with what it needs to be understood elsewhere."""

import os
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from asr_kd.frontend.fbank import FrontEnd, FrontEndConfig
from asr_kd.inventory.inventory import Inventory
from asr_kd.models.config import ModelConfig
from asr_kd.models.quantisation import prepare_qat
from asr_kd.models.registry import build_encoder

STD_FLOOR = 1e-3  # a feature that never changes must not divide by zero


@dataclass(frozen=True)
class ModelOutput:
    """Output of a model on a batch."""

    logits_BTC: Tensor
    hidden_states: dict[str, Tensor]
    """(B, T, width) by name, see `AcousticModel.hidden_dims`; frames behind an utterance's end are undefined."""

    def detach(self) -> "ModelOutput":
        """The same values without gradient."""
        return ModelOutput(self.logits_BTC.detach(), {name: x.detach() for name, x in self.hidden_states.items()})


class AcousticModel(nn.Module):
    """Scores every frame over the inventory's classes. Buffers are part of the weights:

    feature_mean_F, feature_std_F normalise the front end's output (192 values); log_prior_C is the natural log of how
    often each class is expected, which decoding subtracts.
    """

    feature_mean_F: Tensor
    feature_std_F: Tensor
    log_prior_C: Tensor

    def __init__(self, config: ModelConfig, inventory: Inventory, frontend: FrontEndConfig) -> None:
        super().__init__()
        self.config, self.inventory, self.frontend = config, inventory, frontend
        features = FrontEnd(frontend).dim
        self.register_buffer("feature_mean_F", torch.zeros(features))
        self.register_buffer("feature_std_F", torch.ones(features))
        # On the CPU also in a model that is only counted: a logarithm on "meta" imports two seconds of compiler.
        self.register_buffer(
            "log_prior_C", torch.full((inventory.num_classes,), 1 / inventory.num_classes, device="cpu").log()
        )
        self.encoder = build_encoder(config, features)
        self.output = nn.Linear(self.encoder.output_dim, inventory.num_classes)
        if config.weight_dtype == "int8":
            prepare_qat(self)

    def forward(self, x_BTF: Tensor, frames_B: Tensor, return_hidden: bool = False) -> Tensor | ModelOutput:
        """Logits (B, T, C), with `return_hidden` and the output of every layer; frames behind an utterance's end are
        undefined.

        x_BTF: the front end's output, not normalised.  An utterance's logits do not depend on the others of its batch.
        Output t belongs to frame t: a look-ahead is inside the encoder.
        """
        x_BTF = self._normalised(x_BTF, frames_B)
        if not return_hidden:
            return self.output(self.encoder(x_BTF, frames_B))
        layers: list[Tensor] = []
        hidden_BTH = self.encoder(x_BTF, frames_B, layers)
        return ModelOutput(self.output(hidden_BTH), dict(zip(self.hidden_dims, layers, strict=True)))

    def _normalised(self, x_BTF: Tensor, frames_B: Tensor) -> Tensor:
        inside_BT1 = (torch.arange(x_BTF.shape[1], device=x_BTF.device) < frames_B.to(x_BTF.device)[:, None])[..., None]
        return torch.where(inside_BT1, (x_BTF - self.feature_mean_F) / self.feature_std_F, 0)

    @property
    def hidden_dims(self) -> dict[str, int]:
        """Name and output size of each layer of the encoder, from the first on."""
        return {f"layer{number}": width for number, width in enumerate(self.encoder.hidden_dims)}

    def set_normalisation(self, mean_F: Tensor, std_F: Tensor) -> None:
        """Normalise features by this mean and standard deviation from now on."""
        self.feature_mean_F.copy_(mean_F)
        self.feature_std_F.copy_(std_F.clamp(min=STD_FLOOR))

    @property
    def parameter_count(self) -> int:
        """Trained values."""
        return sum(p.numel() for p in self.parameters())


def build_model(config: ModelConfig, inventory: Inventory, frontend: FrontEndConfig) -> AcousticModel:
    """A new model with random weights. ValueError when the front end's frames are not the inventory's, or wait."""
    if frontend.cmn == "utterance" and not config.bidirectional:
        raise ValueError(
            "frontend.cmn is utterance, which a streaming model cannot know. Set it to causal, "
            "or model.bidirectional to true."
        )
    shift = FrontEnd(frontend).frame_shift_s
    if abs(shift - inventory.frame_shift_s) > 1e-6:
        raise ValueError(
            f"frontend: one frame every {shift * 1000:g} ms, the inventory has {inventory.frame_shift_s * 1000:g} ms. "
            "Align again with this front end, or set frontend.frame_shift_s and frame_stacking to the inventory's."
        )
    with torch.device("meta"):  # only counts
        needed = 4 * AcousticModel(config, inventory, frontend).parameter_count
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > memory:
        raise ValueError(
            f"model: {needed / 4e6:.0f}M parameters take {needed / 1e9:.0f} GB, "
            f"this machine has {memory / 1e9:.0f} GB. "
            "Lower model.hidden_size or model.num_layers, or use a larger machine."
        )
    return AcousticModel(config, inventory, frontend)
