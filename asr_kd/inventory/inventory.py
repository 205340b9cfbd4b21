"""The inventory: which classes a model's frames are scored over. What all kinds of them have in common."""

from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from asr_kd.core.files import fingerprint, write_json
from asr_kd.corpora.languages import ENGLISH, language_code, language_name

INVENTORY_FILE = "inventory.json"


class Inventory(ABC):
    """Classes of a frame, and what each stands for. Frozen; equal inventories have equal fingerprints.

    A kind is one class in one file of this station, named in `kinds.KINDS`.
    """

    kind: ClassVar[str]
    """Name in descriptions."""
    accuracy_unit: ClassVar[str]
    """What is counted where a model's answers are compared with the reference."""
    default_prior_scale: ClassVar[float]
    """Share of the log-priors that is taken off in decoding, where no `asr-kd tune` has chosen one."""
    frame_shift_s: float
    """Seconds from one frame to the next."""
    language: str
    """Code of the language whose texts the classes spell or sound. Inventories of asr_kd 0.3 are English."""

    @property
    @abstractmethod
    def symbols(self) -> tuple[str, ...]:
        """One name a class."""

    @property
    @abstractmethod
    def phones_of_class_CP(self) -> np.ndarray:
        """Which sounds a class can be a part of, (C, P) bool: phones, or where classes are tokens, the tokens."""

    @property
    @abstractmethod
    def silence_classes(self) -> range:
        """The classes of frames that say nothing."""

    @property
    def soundless_classes(self) -> tuple[int, ...]:
        """These, and classes that are written but not heard."""
        return tuple(self.silence_classes)

    @property
    def num_classes(self) -> int:
        """C, the number of classes."""
        return len(self.symbols)

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Plain values that `kinds.inventory_from_dict` understands; `kind` is among them."""

    @classmethod
    @abstractmethod
    def from_dict(cls, data: dict[str, Any]) -> "Inventory":
        """The inventory of a description. KeyError, TypeError or ValueError when it is none of this kind."""

    def check_language(self, language: str, whose: object) -> None:
        """ValueError naming both when `language` is not this inventory's. whose: what is in that language."""
        if language != self.language:
            raise ValueError(
                f"{whose}: in {language_name(language)}, the inventory is {language_name(self.language)}. "
                "Give both of one language; `asr-kd prepare --language` says what a corpus is in."
            )

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the description, 64 hex digits."""
        return fingerprint(self.to_dict())

    def save(self, path: str | Path) -> None:
        """Write `inventory.json`, atomically."""
        write_json(path, self.to_dict() | {"fingerprint": self.fingerprint})


def language_entry(language: str) -> dict[str, str]:
    """Of a description; nothing for English, so that descriptions, and fingerprints, stay those of asr_kd 0.3."""
    return {} if language == ENGLISH else {"language": language}


def described_language(data: dict[str, Any]) -> str:
    """What `language_entry` wrote. ValueError when it is no code."""
    return language_code(str(data.get("language", ENGLISH)))
