"""The weights of an acoustic model and the word insertion penalty of a search."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asr_kd.core.files import read_json


@dataclass(frozen=True)
class DecodingScales:
    """What a search weighs its models by; `asr-kd tune` chooses it on labelled held-out data."""

    acoustic: float = 1.0
    """Multiplies the scores: small values trust the language model."""
    prior: float = 1.0
    """Share of the log-priors taken off the log-posteriors."""
    word_insertion_penalty: float = 0.0
    """Nats added to the cost of each word, as in Kaldi: larger ones make hypotheses shorter."""

    @classmethod
    def load(cls, path: str | Path) -> "DecodingScales":
        """Read what `asr-kd tune` wrote (`tune.json`, or its folder)."""
        file = Path(path) / "tune.json" if Path(path).is_dir() else Path(path)
        data = read_json(file)
        try:
            return cls(float(data["acoustic"]), float(data["prior"]), float(data.get("word_insertion_penalty", 0.0)))
        except (AttributeError, KeyError, TypeError, ValueError):
            raise ValueError(f"{file}: not written by `asr-kd tune`") from None

    def apply(self, log_p_TC: np.ndarray, log_prior_C: np.ndarray) -> np.ndarray:
        """Log-posteriors as scaled log-likelihoods, up to a constant of each frame."""
        return self.acoustic * (log_p_TC - self.prior * log_prior_C)
