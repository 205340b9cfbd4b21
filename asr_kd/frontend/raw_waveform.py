"""Raw audio as "features", for models of the waveform: frame t holds the samples that output t belongs to.

It has the face of `FrontEnd`, so labelling, alignment and decoding need not know which of the two a model wants.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from asr_kd.core.config import to_dict
from asr_kd.core.files import fingerprint


@dataclass(frozen=True)
class WaveformFrontEndConfig:
    """Windows of samples; the defaults are the receptive field of wav2vec 2.0's convolutions."""

    hop: int = 320
    """Samples from one frame to the next (320: 20 ms)."""
    window: int = 400
    """Samples of a frame (400: 25 ms), its hop and what overlaps with the next."""
    sample_rate: int = 16000
    """Hz."""

    def __post_init__(self) -> None:
        if not 0 < self.hop <= self.window:
            raise ValueError(f"hops: hop {self.hop} and window {self.window}; 0 < hop <= window is needed")

    @property
    def fingerprint(self) -> str:
        """Digest of all fields and of the kind of front end."""
        return fingerprint({"kind": "hops", **to_dict(self)})

    def build(self) -> "WaveformFrontEnd":
        """The front end."""
        return WaveformFrontEnd(self)


class WaveformFrontEnd:
    """Overlapping windows of padded batches of waves, on the device that holds the waves."""

    def __init__(self, config: WaveformFrontEndConfig) -> None:
        self.config = config
        self.dim = config.window
        """Values in a frame."""
        self.frame_shift_s = config.hop / config.sample_rate
        """Time between frames, seconds (0.020)."""

    def num_frames(self, samples: int) -> int:
        """Whole windows: (samples - window) // hop + 1, 0 for fewer samples than a window."""
        return max(0, (samples - self.config.window) // self.config.hop + 1)

    @torch.no_grad()
    def __call__(self, wave_BN: Tensor, samples_B: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, window) samples as they are, and frames (B,), int64; frames behind the end are 0.

        What follows an utterance's last whole window, less than a hop, is dropped.
        """
        window, hop = self.config.window, self.config.hop
        frames_B = (samples_B.to(wave_BN.device, torch.int64) - window).div(hop, rounding_mode="floor") + 1
        frames_B = frames_B.clamp(min=0)
        steps = self.num_frames(wave_BN.shape[1])
        if not steps:
            return wave_BN.new_zeros(len(wave_BN), 0, window), frames_B
        x_BTF = wave_BN.unfold(1, window, hop)
        inside_BT1 = (torch.arange(steps, device=x_BTF.device) < frames_B[:, None])[..., None]
        return torch.where(inside_BT1, x_BTF, 0), frames_B


def unframe(x_BTF: Tensor, frames_B: Tensor, hop: int) -> Tensor:
    """The waves (B, (T - 1) * hop + window) that `WaveformFrontEnd` made frames of; 0 behind the last whole window.

    frames_B: 1 or more of each utterance.
    """
    batch, steps, window = x_BTF.shape
    at_N = torch.arange((steps - 1) * hop + window, device=x_BTF.device)
    frame_BN = torch.minimum(at_N // hop, frames_B.to(x_BTF.device)[:, None] - 1)
    within_BN = at_N - frame_BN * hop
    wave_BN = x_BTF.reshape(batch, -1).gather(1, frame_BN * window + within_BN.clamp(max=window - 1))
    return torch.where(within_BN < window, wave_BN, 0)
