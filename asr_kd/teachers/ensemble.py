"""The mean of several models' posteriors, usually more accurate than one of them."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from asr_kd.models.acoustic import AcousticModel, ModelOutput
from asr_kd.teachers.onnx_model import OnnxModel
from asr_kd.teachers.wav2vec2 import Wav2Vec2Teacher


class Ensemble(nn.Module):
    """Models of one inventory and front end, for inference: labelling, tuning, decoding.

    What the members' mistakes do not share is averaged out: with little labelled speech, that is much of them.
    Source: Hinton et al., "Distilling the knowledge in a neural network" (arXiv 1503.02531), sections 3 and 5.
    """

    log_prior_C: Tensor

    def __init__(self, members: Sequence[AcousticModel | Wav2Vec2Teacher | OnnxModel]) -> None:
        """ValueError when the members differ in inventory or front end."""
        super().__init__()
        first = members[0]
        for number, member in enumerate(members[1:], 2):
            for what in ("inventory", "frontend"):
                ours, theirs = getattr(first, what).fingerprint, getattr(member, what).fingerprint
                if ours != theirs:
                    raise ValueError(
                        f"model {number} of {len(members)}: its {what} is {theirs[:8]}, that of the first is "
                        f"{ours[:8]}. Posteriors can only be averaged over one inventory and one front end."
                    )
        self.members = nn.ModuleList(members)
        self.inventory, self.frontend = first.inventory, first.frontend
        self.register_buffer("log_prior_C", _log_mean([m.log_prior_C for m in members]))

    def forward(self, x_BTF: Tensor, frames_B: Tensor, return_hidden: bool = False) -> Tensor | ModelOutput:
        """Log of the members' mean posteriors, (B, T, C); frames behind an utterance's end are undefined.

        return_hidden: as a ModelOutput, which has no layers: members have none in common.
        """
        log_p_BTC = _log_mean([member(x_BTF, frames_B).float().log_softmax(-1) for member in self.members])
        return ModelOutput(log_p_BTC, {}) if return_hidden else log_p_BTC

    @property
    def hidden_dims(self) -> dict[str, int]:
        """None."""
        return {}

    @property
    def parameter_count(self) -> int:
        """Trained values of all members."""
        return sum(p.numel() for p in self.parameters())


def _log_mean(logs: list[Tensor]) -> Tensor:
    return torch.stack(logs).logsumexp(0) - math.log(len(logs))
