"""The front end at work on audio that is still coming in: the same features, some samples at a time."""

from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from asr_kd.frontend.fbank import FrontEnd, FrontEndConfig, exponential_decay, exponential_mean


class StreamingFrontEnd:
    """Features of one stream of audio. A frame comes out as soon as its last sample is in."""

    def __init__(self, config: FrontEndConfig) -> None:
        """ValueError for a front end that looks at the whole utterance."""
        if config.cmn == "utterance":
            raise ValueError(
                "frontend.cmn is utterance: the mean of audio that is still coming in is not known. "
                "Train with frontend.cmn=causal for streaming."
            )
        self._mirrored = FrontEnd(config).mirrored
        """Samples at the begin of the stream that are waited for and mirrored; then 0."""
        self._frontend = FrontEnd(replace(config, snip_edges=True))
        self._samples_N = torch.zeros(0)
        self._means = _MEANS[config.cmn](config)

    @property
    def frame_samples(self) -> int:
        """Samples from the begin of one stacked frame to the begin of the next."""
        return self._frontend.shift * self._frontend.config.frame_stacking

    def missing(self, frames: int) -> int:
        """Samples that are still needed for so many more stacked frames, one or more."""
        f = self._frontend
        needed = f.window + (frames * f.config.frame_stacking - 1) * f.shift
        return max(needed - len(self._samples_N) - self._mirrored, self._mirrored - len(self._samples_N))

    def accept(self, wave_N: np.ndarray) -> Tensor:
        """Stacked frames (T, dim) that are complete with these samples. wave_N: float32 in [-1, 1)."""
        f = self._frontend
        self._samples_N = torch.cat([self._samples_N, torch.from_numpy(np.asarray(wave_N, dtype=np.float32))])
        if self._mirrored:
            if len(self._samples_N) < self._mirrored:
                return torch.zeros(0, f.dim)
            self._samples_N = torch.cat([self._samples_N[: self._mirrored].flip(0), self._samples_N])
            self._mirrored = 0
        steps = f.num_frames(len(self._samples_N))
        if not steps:
            return torch.zeros(0, f.dim)
        unstacked = steps * f.config.frame_stacking
        needed = f.window + (unstacked - 1) * f.shift
        x_BTF, _ = f.fbank(self._samples_N[None, :needed], torch.tensor([needed]))
        # Kaldi's window is 0 at its first sample, the only one that pre-emphasis would need a sample before it for.
        self._samples_N = self._samples_N[unstacked * f.shift :]
        return self._means.subtract(x_BTF[0]).reshape(steps, f.dim)


class RunningMean(Protocol):
    """What is subtracted from frame after frame."""

    def subtract(self, x_TF: Tensor) -> Tensor:
        """Frames less their mean, (T, mel_bins)."""
        ...


class NoMean:
    """`cmn: none`."""

    def __init__(self, config: FrontEndConfig) -> None:
        pass

    def subtract(self, x_TF: Tensor) -> Tensor:
        """The frames."""
        return x_TF


class ExponentialMean:
    """What `cmn: exponential` subtracts."""

    def __init__(self, config: FrontEndConfig) -> None:
        self._decay = exponential_decay(config)
        self._mean_F = torch.full((config.mel_bins,), config.cmn_init)

    def subtract(self, x_TF: Tensor) -> Tensor:
        """Frames less their mean, (T, mel_bins)."""
        mean_TF = exponential_mean(x_TF[None], self._mean_F[None], self._decay)[0]
        self._mean_F = mean_TF[-1]
        return x_TF - mean_TF


class CausalMean:
    """What `cmn: causal` subtracts, frame after frame: running sums of the last window, in float64 as in one go."""

    def __init__(self, config: FrontEndConfig) -> None:
        self._window = max(1, round(config.cmn_window_s / config.frame_shift_s))
        self._prior = min(round(config.cmn_init_s / config.frame_shift_s), self._window)
        self._init = config.cmn_init
        self._seen = 0
        self._totals_WF = torch.zeros(1, config.mel_bins, dtype=torch.float64)
        """Sums of all frames up to the last ones, the oldest first: the sum of a window is the difference of two."""

    def subtract(self, x_TF: Tensor) -> Tensor:
        """Frames less their mean, (T, mel_bins)."""
        steps = len(x_TF)
        totals_WF = torch.cat([self._totals_WF, x_TF.double()])
        totals_WF[-steps - 1 :].cumsum_(0)
        first = self._seen + 1 + torch.arange(steps)
        behind_T = len(totals_WF) - steps + torch.arange(steps)
        before_T = behind_T - first.clamp(max=self._window)
        sum_TF = (totals_WF[behind_T] - totals_WF[before_T]).float()
        seen_T = first.clamp(max=self._window).double()
        prior_T = (self._window - seen_T).clamp_(max=self._prior)
        scale_T1 = (1 / (seen_T + prior_T)).float()[:, None]
        offset_T1 = (self._init * prior_T / (seen_T + prior_T)).float()[:, None]
        self._seen += steps
        self._totals_WF = totals_WF[-min(self._window, self._seen) - 1 :].clone()
        return torch.addcmul(x_TF, sum_TF, scale_T1, value=-1).sub_(offset_T1)


_MEANS: dict[str, type[CausalMean] | type[ExponentialMean] | type[NoMean]] = {
    "causal": CausalMean,
    "exponential": ExponentialMean,
    "none": NoMean,
}
