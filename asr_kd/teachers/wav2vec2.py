"""wav2vec 2.0 and HuBERT with a CTC layer (torchaudio's ASR bundles) as an acoustic model that is only asked.

Source: Baevski et al., "wav2vec 2.0" (arXiv 2006.11477); Hsu et al., "HuBERT" (arXiv 2106.07447).
"""

import hashlib
import json
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torchaudio.models import wav2vec2_model

from asr_kd.core.config import to_dict
from asr_kd.frontend.raw_waveform import WaveformFrontEndConfig, unframe
from asr_kd.inventory.tokens import SPACE, Tokens

NORM_EPSILON = 1e-5  # torch's layer_norm, which torchaudio normalises waveforms with
CONVOLUTIONS = ((512, 10, 5), *[(512, 3, 2)] * 4, *[(512, 2, 2)] * 2)
"""Channels, kernel and stride of torchaudio's layers where an architecture does not say."""


@dataclass(frozen=True)
class Wav2Vec2Config:
    """What a bundle is, without its weights."""

    architecture: dict[str, Any]
    """Arguments of `torchaudio.models.wav2vec2_model`; `aux_num_out` is the number of labels."""
    labels: tuple[str, ...]
    """What each output of the network stands for, in its order."""
    normalise_waveform: bool = False
    """Bring each utterance to mean 0 and variance 1 first."""
    blank: str = "-"
    """The label that is CTC's blank."""
    space: str = "|"
    """The label between words."""

    def __post_init__(self) -> None:
        if len(set(self.labels)) < len(self.labels) or self.blank not in self.labels:
            raise ValueError(f"labels: {len(self.labels)}, each is needed once, the blank {self.blank!r} among them")
        outputs = self.architecture.get("aux_num_out")
        if outputs != len(self.labels):
            raise ValueError(f"architecture.aux_num_out is {outputs}, there are {len(self.labels)} labels")

    @property
    def hops(self) -> WaveformFrontEndConfig:
        """Receptive field of one output frame, and the hop to the next, from the convolutions."""
        hop, window = 1, 1
        for _, kernel, stride in self.architecture.get("extractor_conv_layer_config") or CONVOLUTIONS:
            window += (kernel - 1) * hop
            hop *= stride
        return WaveformFrontEndConfig(hop, window)

    def units(self) -> dict[str, str]:
        """The unit of `Tokens` that each label but the blank is: upper case, as the text normaliser writes."""
        units = {label: SPACE if label == self.space else label.upper() for label in self.labels if label != self.blank}
        if len(set(units.values())) < len(units):
            raise ValueError("labels: two are the same in upper case, which all text here is written in")
        return units

    def inventory(self) -> Tokens:
        """The labels as `Tokens.characters` orders them: the blank, SPACE, the others sorted."""
        units = sorted(self.units().values(), key=lambda unit: (unit != SPACE, unit))
        return Tokens(tuple(units), frame_shift_s=self.hops.hop / self.hops.sample_rate)


class Wav2Vec2Teacher(nn.Module):
    """Answers like an `AcousticModel` over `Tokens`, one frame each 20 ms; its front end hands audio through.

    log_prior_C is uniform: CTC posteriors are not divided by priors.
    """

    log_prior_C: Tensor
    order_C: Tensor

    def __init__(self, config: Wav2Vec2Config) -> None:
        """Random weights. ValueError when torchaudio does not know an argument of the architecture."""
        super().__init__()
        self.config, self.inventory, self.frontend = config, config.inventory(), config.hops
        try:
            self.network = wav2vec2_model(**config.architecture)
        except (TypeError, ValueError, AttributeError, AssertionError) as e:
            raise ValueError(f"architecture: {e}") from None
        units = {unit: label for label, unit in config.units().items()}
        labels = [config.blank, *(units[unit] for unit in self.inventory.units)]
        order = torch.tensor([config.labels.index(label) for label in labels])
        self.register_buffer("order_C", order, persistent=False)
        uniform_C = torch.full((self.inventory.num_classes,), -math.log(self.inventory.num_classes))
        self.register_buffer("log_prior_C", uniform_C, persistent=False)

    def forward(self, x_BTF: Tensor, frames_B: Tensor) -> Tensor:
        """Logits (B, T, C) in the inventory's order; frames behind an utterance's end are undefined.

        x_BTF: what `Hops` made.  An utterance's logits do not depend on who shares its batch.
        """
        frames_B = frames_B.clamp(min=1)
        wave_BN = unframe(x_BTF, frames_B, self.frontend.hop)
        samples_B = (frames_B - 1) * self.frontend.hop + self.frontend.window
        if self.config.normalise_waveform:
            wave_BN = _normalised(wave_BN, samples_B)
        if self.exact_in_batches:
            return self.network(wave_BN, samples_B)[0][..., self.order_C]
        answers = [self.network(wave_N[None, :n])[0][0] for wave_N, n in zip(wave_BN, samples_B.tolist(), strict=True)]
        return nn.utils.rnn.pad_sequence(answers, batch_first=True)[..., self.order_C]

    @property
    def exact_in_batches(self) -> bool:
        """Whether padding changes nothing. Group norm (the `BASE` models) takes means over time, padding included."""
        return self.config.architecture["extractor_mode"] == "layer_norm"

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over description and weights, 64 hex digits, whatever file they came from."""
        digest = hashlib.sha256(json.dumps(to_dict(self.config), sort_keys=True).encode())
        for name, tensor in sorted(self.network.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()

    @property
    def parameter_count(self) -> int:
        """Trained values."""
        return sum(p.numel() for p in self.parameters())


def _normalised(wave_BN: Tensor, samples_B: Tensor) -> Tensor:
    """Each utterance less its mean, over its standard deviation; torchaudio would take both over the whole batch."""
    inside_BN = torch.arange(wave_BN.shape[1], device=wave_BN.device) < samples_B[:, None]
    mean_B1 = torch.where(inside_BN, wave_BN, 0).sum(1, keepdim=True) / samples_B[:, None]
    centred_BN = torch.where(inside_BN, wave_BN - mean_B1, 0)
    variance_B1 = centred_BN.square().sum(1, keepdim=True) / samples_B[:, None]
    return centred_BN / (variance_B1 + NORM_EPSILON).sqrt()
