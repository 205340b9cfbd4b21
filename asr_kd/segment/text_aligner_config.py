"""With what the text of recordings is aligned, in plain values."""

from dataclasses import asdict, dataclass
from typing import Any

from asr_kd.core.files import sha256_file
from asr_kd.corpora.languages import ENGLISH


@dataclass(frozen=True)
class TextAlignerConfig:
    """What text is aligned with, in plain values."""

    model: tuple[str, ...]
    lexicon: str | None = None
    """For senones: pronunciations."""
    scales: str | None = None
    """What `asr-kd tune` wrote."""
    language: str = ENGLISH
    max_word_errors: float = 0.75
    """A segment's text is kept when recognition differs from it in up to this share of its words."""

    def settings(self) -> dict[str, Any]:
        """What decides the texts."""
        from asr_kd.graph.scales import DecodingScales  # slow to import, and most recordings have no text
        from asr_kd.teachers.registry import models_fingerprint

        return {
            "model": models_fingerprint(self.model),
            "lexicon": None if self.lexicon is None else sha256_file(self.lexicon),
            "scales": None if self.scales is None else asdict(DecodingScales.load(self.scales)),
            "language": self.language,
            "max_word_errors": self.max_word_errors,
        }

    def __post_init__(self) -> None:
        if not 0 <= self.max_word_errors <= 1:
            raise ValueError(f"max_word_errors is {self.max_word_errors}; it must lie in [0, 1]")
