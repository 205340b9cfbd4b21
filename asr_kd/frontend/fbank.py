"""The front end: Kaldi's log mel filter banks, their mean taken off, three frames stacked; all on padded batches."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

import torch
from torch import Tensor
from torchaudio.compliance.kaldi import get_mel_banks
from torchaudio.functional import create_dct

from asr_kd.core.config import to_dict
from asr_kd.core.files import fingerprint

INT16_SCALE = 32768.0  # Kaldi reads 16-bit samples as they are; ours lie in [-1, 1)
POVEY_POWER = 0.85
LOG_FLOOR = torch.finfo(torch.float32).eps  # Kaldi's floor of a mel energy before the log
DELTA_WINDOW = 2  # Kaldi's: a slope over 2 frames to either side
MEAN_BLOCK_FRAMES = 64
CPU_BLOCK_FRAMES = 256  # so many frames of 512 samples stay in a core's cache
GPU_BLOCK_FRAMES = 1 << 18
MEL_BANDS = 4  # products of the mel bank; with 4 they take 0.4 of the time of one, with 8 nearly as long again


@dataclass(frozen=True)
class FrontEndConfig:
    """How waves become features. Part of every checkpoint: a model only reads what its own front end makes."""

    sample_rate: int = 16000
    """Sample rate, Hz."""
    mel_bins: int = 64
    """Filters of the mel bank."""
    frame_length_s: float = 0.025
    """Length of the analysis window, seconds."""
    frame_shift_s: float = 0.010
    """Time between windows before stacking, seconds."""
    low_hz: float = 20.0
    """Lower edge of the first mel filter."""
    high_hz: float | None = None
    """Upper edge of the last mel filter; None is half the sample rate."""
    preemphasis: float = 0.97
    """Weight of the previous sample that is subtracted from each."""
    frame_stacking: int = 3
    """Frames stacked into one (and the factor by which the frame rate falls)."""
    cmn: Literal["causal", "exponential", "utterance", "none"] = "causal"
    """Mean that is subtracted from each frame: of the last seconds (causal) or of all audio so far, the older the less
    (exponential), for streaming models; of the whole utterance, for teachers; none where the network does it."""
    cmn_window_s: float = 3.0
    """`causal`: the mean of so many seconds up to and including the present frame is subtracted from it.
    `exponential`: time constant of the mean, which begins as `cmn_init`."""
    cmn_init_s: float = 0.5
    """An utterance counts as preceded by so many seconds of `cmn_init`, so that its first frames are not zeroed."""
    cmn_init: float = 13.5
    """Log mel energy of typical speech, the initial mean (AN4: 13.2, speechocean762: 14.3)."""
    cepstra: int = 13
    """Cepstral coefficients of `mfcc`, c0 included, before deltas."""
    cepstral_lifter: float = 22.0
    """Kaldi's liftering of cepstra; 0 turns it off."""
    snip_edges: bool = True
    """Kaldi's: the first window begins with the audio. False centres it on the first frame shift and mirrors what is
    missing before the audio. Windows always end within the audio."""
    sample_scale: float = INT16_SCALE
    """Samples in [-1, 1) are multiplied by this first: 32768 as in Kaldi, 1 as in sherpa-onnx."""

    @staticmethod
    def expand_config(data: Mapping[str, Any]) -> dict[str, Any]:
        """Fields of a config file: those of `preset: NAME`, if it is there, and what differs from them.

        ValueError names an unknown preset.
        """
        given = dict(data)
        preset = given.pop("preset", None)
        if preset is None:
            return given
        if preset not in PRESETS:
            raise ValueError(f"frontend.preset is {preset}; known: {', '.join(PRESETS)}")
        return to_dict(PRESETS[preset]) | given

    @staticmethod
    def contract_config(data: Mapping[str, Any]) -> dict[str, Any]:
        """Without fields of version 0.4 that are at their defaults: older fingerprints and files stay as they are."""
        new = {f.name: f.default for f in fields(FrontEndConfig) if f.name in ("snip_edges", "sample_scale")}
        return {key: value for key, value in data.items() if key not in new or value != new[key]}

    def __post_init__(self) -> None:
        for name in (
            "sample_rate",
            "mel_bins",
            "frame_length_s",
            "frame_shift_s",
            "frame_stacking",
            "cmn_window_s",
            "cepstra",
            "sample_scale",
        ):
            if getattr(self, name) <= 0:
                raise ValueError(f"frontend.{name} is {getattr(self, name)}; it must be positive")
        if self.mel_bins < 4:
            raise ValueError(f"frontend.mel_bins is {self.mel_bins}; at least 4 filters are needed")
        if self.cepstra > self.mel_bins:
            raise ValueError(f"frontend.cepstra is {self.cepstra}; at most mel_bins = {self.mel_bins} exist")
        if not 0 <= self.low_hz < self.top_hz <= self.sample_rate / 2:
            raise ValueError(
                f"frontend.low_hz {self.low_hz} and high_hz {self.top_hz} do not fit: "
                f"0 <= low_hz < high_hz <= {self.sample_rate / 2:g} is needed"
            )
        if self.cmn_window_s < self.cmn_init_s or self.cmn_init_s < 0:
            raise ValueError(
                f"frontend.cmn_init_s is {self.cmn_init_s}; it must lie between 0 and "
                f"cmn_window_s = {self.cmn_window_s}"
            )

    @property
    def top_hz(self) -> float:
        """Upper edge of the mel bank in Hz."""
        return self.sample_rate / 2 if self.high_hz is None else self.high_hz

    @property
    def fingerprint(self) -> str:
        """Digest of all fields; equal only for front ends that make the same features."""
        return fingerprint(to_dict(self))

    def build(self) -> "FrontEnd":
        """The front end."""
        return FrontEnd(self)


PRESETS: dict[str, FrontEndConfig] = {
    # What sherpa-onnx computes itself, at its default of 80 bins and the 40 ms that it takes a frame of a model to be.
    "sherpa-onnx": FrontEndConfig(
        mel_bins=80,
        high_hz=7600.0,
        frame_stacking=4,
        cmn="exponential",
        cmn_init=-7.3,
        snip_edges=False,
        sample_scale=1.0,
    ),
}
"""Front ends by name: `frontend: {preset: sherpa-onnx}`, with other fields of `FrontEndConfig` as changes to it."""


class FrontEnd:
    """Features of padded batches of waves, on the device that holds the waves. It has no state between calls."""

    def __init__(self, config: FrontEndConfig | None = None) -> None:
        self.config = config or FrontEndConfig()
        c = self.config
        self.window = round(c.frame_length_s * c.sample_rate)
        self.shift = round(c.frame_shift_s * c.sample_rate)
        self.mirrored = 0 if c.snip_edges else self.window // 2 - self.shift // 2
        """Samples that count as preceding the audio: its first ones, mirrored."""
        self.fft = 1 << (self.window - 1).bit_length()
        self.frame_shift_s = c.frame_shift_s * c.frame_stacking
        """Time between stacked frames, seconds (0.030)."""
        self.dim = c.mel_bins * c.frame_stacking
        """Values in a stacked frame (192): the mel bins of the first frame, then of the second, ..."""
        self._constants: dict[torch.device, _Constants] = {}

    def num_frames(self, samples: int) -> int:
        """Stacked frames of an utterance of so many samples; 0 when it is shorter than a stack."""
        samples += self.mirrored
        unstacked = 0 if samples < self.window else 1 + (samples - self.window) // self.shift
        return unstacked // self.config.frame_stacking

    @torch.no_grad()
    def fbank(self, wave_BN: Tensor, samples_B: Tensor) -> tuple[Tensor, Tensor]:
        """Kaldi's log mel energies, natural log, shape (B, T, mel_bins), and the number of frames (B,), int64.

        wave_BN: float in [-1, 1), 16 kHz; what lies behind `samples_B` is not read.  Frames behind the end are 0.
        As torchaudio.compliance.kaldi.fbank without dither: whole windows only, DC removed, Povey window.
        Without `snip_edges`: as kaldi-native-fbank's OnlineFbank before `input_finished`.
        """
        with torch.autocast(wave_BN.device.type, enabled=False):
            x_BTF, frames_B = self._log_mel(wave_BN.float(), samples_B)
            return x_BTF * _mask(frames_B, x_BTF.shape[1]), frames_B

    @torch.no_grad()
    def __call__(self, wave_BN: Tensor, samples_B: Tensor) -> tuple[Tensor, Tensor]:
        """Log mel energies less their mean, stacked: (B, T, dim), and frames (B,), int64.

        With a causal or exponential mean, a frame depends on nothing behind its own last sample: features of a prefix
        are the prefix of the features. Left-over frames that do not fill a stack are dropped; frames behind the end
        are 0.
        """
        with torch.autocast(wave_BN.device.type, enabled=False):
            x_BTF, frames_B = self._log_mel(wave_BN.float(), samples_B)
            stack = self.config.frame_stacking
            frames_B = frames_B // stack
            steps = x_BTF.shape[1] // stack
            x_BTF = x_BTF[:, : steps * stack]
            if self.config.cmn == "causal":
                x_BTF = self._subtract_causal_mean(x_BTF)
            elif self.config.cmn == "exponential":
                init_BF = x_BTF.new_full((len(x_BTF), x_BTF.shape[2]), self.config.cmn_init)
                x_BTF = x_BTF - exponential_mean(x_BTF, init_BF, exponential_decay(self.config))
            elif self.config.cmn == "utterance":
                x_BTF = _subtract_mean(x_BTF, frames_B * stack)
            return x_BTF.reshape(x_BTF.shape[0], steps, self.dim) * _mask(frames_B, steps), frames_B

    @torch.no_grad()
    def mfcc(self, wave_BN: Tensor, samples_B: Tensor) -> tuple[Tensor, Tensor]:
        """Cepstra with deltas and delta-deltas, each less its mean over the utterance, one frame every `frame_shift_s`.

        Returns (B, T, 3 * cepstra) and frames (B,), int64; frames behind the end are 0.  For Gaussian flat start:
        it looks at the whole utterance, so it does not stream.
        """
        with torch.autocast(wave_BN.device.type, enabled=False):
            x_BTF, frames_B = self._log_mel(wave_BN.float(), samples_B)
            steps = x_BTF.shape[1]
            if not steps:
                return x_BTF.new_zeros(x_BTF.shape[0], 0, 3 * self.config.cepstra), frames_B
            c_BTC = x_BTF @ self._on(wave_BN.device).dct_FC
            c_BTC = torch.cat([_slopes(c_BTC, frames_B, taps) for taps in _delta_taps(orders=2)], dim=2)
            return _subtract_mean(c_BTC, frames_B) * _mask(frames_B, steps), frames_B

    def _log_mel(self, wave_BN: Tensor, samples_B: Tensor) -> tuple[Tensor, Tensor]:
        """As `fbank`, with garbage in the frames behind the end."""
        assert samples_B.shape == wave_BN.shape[:1], f"{len(wave_BN)} waves, lengths of {tuple(samples_B.shape)}"
        if self.mirrored:  # an utterance that is shorter has no whole window
            wave_BN = torch.cat([wave_BN[:, : self.mirrored].flip(1), wave_BN], dim=1)
            samples_B = samples_B + self.mirrored
        batch, samples = wave_BN.shape
        frames_B = (samples_B.to(wave_BN.device, torch.int64) - self.window).div(self.shift, rounding_mode="floor") + 1
        frames_B = frames_B.clamp(min=0)
        steps = 0 if samples < self.window else 1 + (samples - self.window) // self.shift
        energy_BTF = wave_BN.new_empty(batch, steps, self.config.mel_bins)
        if not energy_BTF.numel():
            return energy_BTF, frames_B
        k = self._on(wave_BN.device)
        # Pre-emphasis is linear, so it runs once over the wave instead of over every overlapping frame. What Kaldi
        # does differently within a frame is its first sample, which the Povey window multiplies by 0, and that the
        # frame's mean m is taken off before: that leaves a constant (1 - preemphasis) m to subtract afterwards.
        wave_BN = wave_BN * self.config.sample_scale
        emphasised_BN = torch.empty_like(wave_BN)
        emphasised_BN[:, 0] = wave_BN[:, 0]
        torch.sub(wave_BN[:, 1:], wave_BN[:, :-1], alpha=self.config.preemphasis, out=emphasised_BN[:, 1:])
        raw_BTL = wave_BN.unfold(1, self.window, self.shift)
        emphasised_BTL = emphasised_BN.unfold(1, self.window, self.shift)
        block = CPU_BLOCK_FRAMES if wave_BN.device.type == "cpu" else GPU_BLOCK_FRAMES
        per_step = max(1, block // batch)
        padded_BTS = wave_BN.new_zeros(batch, min(per_step, steps), self.fft)  # rfft() would copy each block to pad it
        for start in range(0, steps, per_step):
            block_T = slice(start, start + per_step)
            mean_BT1 = raw_BTL[:, block_T].mean(2, keepdim=True)
            block_BTS = padded_BTS[:, : mean_BT1.shape[1]]
            windowed_BTL = block_BTS[..., : self.window]
            torch.mul(emphasised_BTL[:, block_T], k.window_L, out=windowed_BTL)
            windowed_BTL.addcmul_(mean_BT1, k.mean_window_L)
            spectrum_BTS = torch.view_as_real(torch.fft.rfft(block_BTS)).flatten(2)
            spectrum_BTS.square_()
            for bins, filters, mel_SF in k.mel_bands:
                energy_BTF[:, block_T, filters] = spectrum_BTS[..., bins] @ mel_SF
        return energy_BTF.clamp_(min=LOG_FLOOR).log_(), frames_B

    def _subtract_causal_mean(self, x_BTF: Tensor) -> Tensor:
        """Each frame less the mean of the last `cmn_window_s`, itself included.

        The utterance counts as preceded by `cmn_init_s` of the constant `cmn_init`; those frames leave the window
        as it slides on. Running sums are in float64: they grow without end while their differences must stay exact.
        """
        c = self.config
        window = max(1, round(c.cmn_window_s / c.frame_shift_s))
        prior = min(round(c.cmn_init_s / c.frame_shift_s), window)
        steps = x_BTF.shape[1]
        total_BTF = x_BTF.double().cumsum_(1)  # measured: 3 times as fast as cumsum(dtype=torch.float64)
        sum_BTF = total_BTF.float()
        sum_BTF[:, window:] = total_BTF[:, window:] - total_BTF[:, :-window]
        seen_T = torch.arange(1, steps + 1, device=x_BTF.device, dtype=torch.float64).clamp_(max=window)
        prior_T = (window - seen_T).clamp_(max=prior)
        scale_T1 = (1 / (seen_T + prior_T)).float()[:, None]
        offset_T1 = (c.cmn_init * prior_T / (seen_T + prior_T)).float()[:, None]
        return torch.addcmul(x_BTF, sum_BTF, scale_T1, value=-1).sub_(offset_T1)

    def _on(self, device: torch.device) -> "_Constants":
        if device not in self._constants:
            self._constants[device] = _Constants(self, device)
        return self._constants[device]


class _Constants:
    """Windows and matrices of a front end on one device."""

    def __init__(self, front_end: FrontEnd, device: torch.device) -> None:
        c = front_end.config
        self.window_L = torch.hann_window(front_end.window, periodic=False).pow(POVEY_POWER).to(device)
        self.mean_window_L = self.window_L * (c.preemphasis - 1)
        bank_FS, _ = get_mel_banks(
            c.mel_bins, front_end.fft, float(c.sample_rate), c.low_hz, c.top_hz, 100.0, -500.0, 1.0
        )
        bank_FS = torch.nn.functional.pad(bank_FS, (0, 1))  # Kaldi leaves the bin at half the sample rate out
        # Twice each row: real and imaginary parts lie side by side, and their squares add up in the product.
        mel_SF = bank_FS.T.repeat_interleave(2, dim=0).to(device)
        self.mel_bands = [_mel_band(mel_SF, filters) for filters in torch.arange(c.mel_bins).chunk(MEL_BANDS)]
        """Neighbouring filters with the bins that they look at, (bins, filters, matrix): most of a bank is zeros."""
        dct_FC = create_dct(c.mel_bins, c.mel_bins, "ortho")[:, : c.cepstra]
        if c.cepstral_lifter:
            lifter_C = 1 + c.cepstral_lifter / 2 * torch.sin(math.pi * torch.arange(c.cepstra) / c.cepstral_lifter)
            dct_FC = dct_FC * lifter_C
        self.dct_FC = dct_FC.contiguous().to(device)


def _mel_band(mel_SF: Tensor, filters_F: Tensor) -> tuple[slice, slice, Tensor]:
    filters = slice(int(filters_F[0]), int(filters_F[-1]) + 1)
    bins_S = mel_SF[:, filters].any(1).nonzero()[:, 0].tolist() or [0]
    bins = slice(bins_S[0], bins_S[-1] + 1)
    return bins, filters, mel_SF[bins, filters].contiguous()


def exponential_decay(config: FrontEndConfig) -> float:
    """What the exponential mean keeps of itself from one frame (before stacking) to the next."""
    return math.exp(-config.frame_shift_s / config.cmn_window_s)


def exponential_mean(x_BTF: Tensor, mean_BF: Tensor, decay: float) -> Tensor:
    """Mean of the frames so far, (B, T, F): m_t = decay m_{t-1} + (1 - decay) x_t, where m_{-1} is `mean_BF`.

    Source: Viikki, Bye and Laurila, "A recursive feature vector normalization approach for robust speech recognition
    in noise" (ICASSP 1998), for the mean alone. A block of frames is one product with the powers of `decay`.
    """
    mean_BTF = torch.empty_like(x_BTF)
    for start in range(0, x_BTF.shape[1], MEAN_BLOCK_FRAMES):
        block_BTF = x_BTF[:, start : start + MEAN_BLOCK_FRAMES]
        weights_TT, kept_T = (w.to(x_BTF) for w in exponential_weights(block_BTF.shape[1], decay))
        out_BTF = mean_BTF[:, start : start + MEAN_BLOCK_FRAMES]
        out_BTF.copy_(weights_TT @ block_BTF + kept_T[:, None] * mean_BF[:, None])
        mean_BF = out_BTF[:, -1]
    return mean_BTF


def exponential_weights(frames: int, decay: float) -> tuple[Tensor, Tensor]:
    """What each of `frames` means takes of each frame, (T, T), and of the mean before them, (T,), in float64."""
    time_T = torch.arange(frames, dtype=torch.float64)
    weights_TT = ((1 - decay) * decay ** (time_T[:, None] - time_T).clamp(min=0)).tril()
    return weights_TT, decay ** (time_T + 1)


def _subtract_mean(x_BTF: Tensor, frames_B: Tensor) -> Tensor:
    """Each utterance less its mean over its frames."""
    masked_BTF = x_BTF * _mask(frames_B, x_BTF.shape[1])
    return x_BTF - masked_BTF.sum(1, keepdim=True) / frames_B.clamp(min=1)[:, None, None]


def _mask(frames_B: Tensor, steps: int) -> Tensor:
    """(B, steps, 1), true within the utterance."""
    return (torch.arange(steps, device=frames_B.device) < frames_B[:, None])[..., None]


def _delta_taps(orders: int) -> list[Tensor]:
    """Filters that give the features themselves, their slope, the slope of the slope, ... (Kaldi's)."""
    slope = torch.arange(-DELTA_WINDOW, DELTA_WINDOW + 1, dtype=torch.float32)
    slope /= slope.square().sum()
    taps = [torch.ones(1)]
    for _ in range(orders):
        taps.append(
            torch.nn.functional.conv1d(taps[-1][None, None], slope.flip(0)[None, None], padding=len(slope) - 1)[0, 0]
        )
    return taps


def _slopes(x_BTC: Tensor, frames_B: Tensor, taps: Tensor) -> Tensor:
    """x filtered along time by `taps` (an odd number); the first and last frame of each utterance are repeated."""
    reach = len(taps) // 2
    last_B1 = (frames_B - 1).clamp(min=0)[:, None]
    time_T = torch.arange(x_BTC.shape[1], device=x_BTC.device)
    out_BTC = torch.zeros_like(x_BTC)
    for offset, tap in enumerate(taps.tolist(), start=-reach):
        at_BT = torch.minimum((time_T + offset).clamp(min=0).expand(len(frames_B), -1), last_B1)
        out_BTC.add_(x_BTC.gather(1, at_BT[..., None].expand_as(x_BTC)), alpha=tap)
    return out_BTC
