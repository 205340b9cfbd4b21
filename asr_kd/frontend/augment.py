"""Augmentation of waves (speed, room, noise, volume, silence) and of features, with the caller's randomness."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torchaudio.functional import resample

from asr_kd.frontend import noise, room
from asr_kd.frontend.fbank import FrontEndConfig
from asr_kd.frontend.specaugment import spec_augment

NoiseKind = Literal["coloured", "babble", "files"]
MAX_SPEED_DENOMINATOR = 100  # the resampler's cost and filter grow with it; 0.95 is 19/20
FULL_SCALE = 1 - 2**-15


@dataclass(frozen=True)
class AugmentConfig:
    """What is done to training audio; the defaults do nothing."""

    speed_perturb: tuple[float, ...] = (1.0,)
    """One of these is drawn for each batch; 1.1 plays 10% faster, pitch included."""
    reverb_prob: float = 0.0
    """Share of the utterances that are put into a simulated room."""
    rt60_s: tuple[float, float] = (0.1, 0.6)
    """Seconds in which a room's echo falls by 60 dB, least and most."""
    drr_db: tuple[float, float] = (0.0, 12.0)
    """Energy of the direct sound over that of the echo, dB, least and most."""
    noise_prob: float = 0.0
    """Share of the utterances that noise is added to."""
    snr_db: tuple[float, float] = (0.0, 20.0)
    """Signal-to-noise ratio, dB, least and most."""
    noise_kinds: tuple[NoiseKind, ...] = ("coloured", "babble", "files")
    """Kinds drawn from, evenly; `files` only counts with `noise_dir`, `babble` only in batches of two or more."""
    noise_dir: str | None = None
    """Folder with recordings of noise (wav, flac, ogg, opus, mp3), searched with all folders below."""
    volume_db: tuple[float, float] = (0.0, 0.0)
    """Change of volume, dB, least and most; waves that would pass full scale are turned down to it."""
    silence_prob: float = 0.0
    """Share of the utterances that silence is put before: noise like the utterance's quietest 0.1 s, with silence as
    the target of its frames. For streaming models, which miss words behind more silence than they know. It comes on
    top of `train.max_frames_per_batch`."""
    silence_s: tuple[float, float] = (0.0, 3.0)
    """Seconds of such a silence, least and most."""
    num_time_masks: int = 0
    """SpecAugment: spans of time masked in each utterance."""
    max_time_width: int = 20
    """Longest such span in stacked frames (20 of 30 ms are 0.6 s)."""
    max_time_ratio: float = 0.2
    """Largest part of an utterance that one span may cover."""
    num_freq_masks: int = 0
    """SpecAugment: bands of mel filters masked in each utterance."""
    max_freq_width: int = 15
    """Widest such band in mel filters."""

    @staticmethod
    def contract_config(data: Mapping[str, Any]) -> dict[str, Any]:
        """Without fields of version 0.4 that are at their defaults: runs of before go on."""
        off = {"silence_prob": 0.0, "silence_s": [0.0, 3.0]}
        return {key: value for key, value in data.items() if key not in off or value != off[key]}

    def __post_init__(self) -> None:
        if not self.speed_perturb:
            raise ValueError("augment.speed_perturb is empty; write [1.0] for no change")
        for speed in self.speed_perturb:
            if not 0.5 <= speed <= 2 or Fraction(str(speed)).denominator > MAX_SPEED_DENOMINATOR:
                raise ValueError(
                    f"augment.speed_perturb holds {speed}; it must lie in [0.5, 2] with at most two decimals"
                )
        for name in ("reverb_prob", "noise_prob", "silence_prob", "max_time_ratio"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"augment.{name} is {getattr(self, name)}; it must lie in [0, 1]")
        for name in ("rt60_s", "drr_db", "snr_db", "volume_db", "silence_s"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"augment.{name} is ({low}, {high}); the least comes first")
        if self.rt60_s[0] <= 0:
            raise ValueError(f"augment.rt60_s is {self.rt60_s}; echoes last longer than 0 s")
        if self.silence_s[0] < 0:
            raise ValueError(f"augment.silence_s is {self.silence_s}; it cannot be negative")
        for name in ("num_time_masks", "max_time_width", "num_freq_masks", "max_freq_width"):
            if getattr(self, name) < 0:
                raise ValueError(f"augment.{name} is {getattr(self, name)}; it cannot be negative")
        usable = [k for k in self.noise_kinds if k != "files" or self.noise_dir]
        if self.noise_prob and not usable:
            raise ValueError("augment.noise_kinds leaves no noise to add. Set augment.noise_dir or add `coloured`.")


class Augment:
    """Applies an AugmentConfig. It has no state but a cache of noise files: the same rng gives the same bits."""

    def __init__(self, config: AugmentConfig, frontend: FrontEndConfig | None = None) -> None:
        """frontend: the waves' sample rate, the features' mel bins. ValueError when `noise_dir` holds no audio."""
        self.config = config
        self.frontend = frontend or FrontEndConfig()
        self._files: noise.NoiseFiles | None = None
        if config.noise_dir and config.noise_prob and "files" in config.noise_kinds:
            self._files = noise.NoiseFiles(config.noise_dir, self.frontend.sample_rate)

    def waves(self, waves: Sequence[np.ndarray], rng: np.random.Generator) -> tuple[list[np.ndarray], float]:
        """Speed, room, noise and volume, in this order.

        waves: float32 (N,) each, in [-1, 1).  Returns new waves and the speed that all of them were played at: sample n
        of the result is sample n * speed of the original, so a target frame t comes from round(t * speed).
        """
        speed = self.config.speed_perturb[rng.integers(len(self.config.speed_perturb))]
        dry = [change_speed(w, speed) for w in waves]
        return [self._one(dry, row, rng) for row in range(len(dry))], speed

    def silence(
        self, waves: Sequence[np.ndarray], frame_samples: int, rng: np.random.Generator
    ) -> tuple[list[np.ndarray], list[int]]:
        """Silence before some of the waves, and how many frames of `frame_samples` each has of it.

        What follows are the frames that the wave had, but for their mean.
        """
        if not self.config.silence_prob:
            return list(waves), [0] * len(waves)
        longer, added = [], []
        for wave_N in waves:
            frames = 0
            if rng.random() < self.config.silence_prob:
                frames = round(rng.uniform(*self.config.silence_s) * self.frontend.sample_rate / frame_samples)
                wave_N = np.concatenate([noise.room_tone(wave_N, frames * frame_samples, rng), wave_N])
            longer.append(wave_N)
            added.append(frames)
        return longer, added

    def features(self, x_BTF: Tensor, frames_B: Tensor, rng: np.random.Generator) -> Tensor:
        """SpecAugment on the front end's output; a new tensor, or the same one when no masks are asked for."""
        c = self.config
        if not c.num_time_masks and not c.num_freq_masks:
            return x_BTF
        return spec_augment(
            x_BTF,
            frames_B,
            self.frontend.mel_bins,
            rng,
            time_masks=c.num_time_masks,
            time_width=c.max_time_width,
            time_fraction=c.max_time_ratio,
            mel_masks=c.num_freq_masks,
            mel_width=c.max_freq_width,
        )

    def _one(self, dry: Sequence[np.ndarray], row: int, rng: np.random.Generator) -> np.ndarray:
        c = self.config
        wave_N = dry[row]
        if rng.random() < c.reverb_prob:
            response_N = room.polack_response(
                rng.uniform(*c.rt60_s), rng.uniform(*c.drr_db), self.frontend.sample_rate, rng
            )
            wave_N = room.reverberate(wave_N, response_N)
        if rng.random() < c.noise_prob:
            noise_N = self._noise(dry, row, rng)
            if noise_N is not None:
                wave_N = noise.mix(wave_N, noise_N, rng.uniform(*c.snr_db))
        gain = np.float32(10 ** (rng.uniform(*c.volume_db) / 20))
        if gain != 1:
            wave_N = wave_N * gain
        peak = max(wave_N.max(initial=0), -wave_N.min(initial=0))
        return wave_N * np.float32(FULL_SCALE / peak) if peak > FULL_SCALE else wave_N

    def _noise(self, dry: Sequence[np.ndarray], row: int, rng: np.random.Generator) -> np.ndarray | None:
        """Noise as long as the utterance; None when babble alone is wanted and the utterance is alone in its batch."""
        kinds = [k for k in self.config.noise_kinds if k != "files" or self._files]
        if not any(len(w) for i, w in enumerate(dry) if i != row):
            kinds = [k for k in kinds if k != "babble"]
        if not kinds:
            return None
        kind = kinds[rng.integers(len(kinds))]
        if kind == "coloured":
            return noise.coloured(len(dry[row]), rng)
        if kind == "babble":
            return noise.babble(dry, row, rng)
        assert self._files is not None
        return self._files.draw(len(dry[row]), rng)


def change_speed(wave_N: np.ndarray, speed: float) -> np.ndarray:
    """The wave played `speed` times as fast, by windowed-sinc interpolation; ceil(N / speed) samples."""
    ratio = Fraction(str(speed))
    if ratio == 1 or not len(wave_N):
        return wave_N
    return resample(torch.from_numpy(wave_N), ratio.numerator, ratio.denominator).numpy()
