"""Tokens: the classes of a CTC model, which spells words in characters or pieces of words.

Source: Graves et al., "Connectionist temporal classification" (2006).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any, ClassVar

import numpy as np

from asr_kd.corpora.languages import ENGLISH
from asr_kd.inventory.inventory import Inventory, described_language, language_entry

BLANK = "<blank>"
"""The class of frames that say nothing new; always class 0."""
SPACE = "▁"
"""Stands before the first unit of each word (U+2581, as sentencepiece writes it)."""


@dataclass(frozen=True)
class Tokens(Inventory):
    """Blank, and units that words are spelt with.

    A word is spelt as the fewest units whose texts, one after the other, are SPACE + the word. With characters, SPACE
    alone is a unit.
    """

    kind: ClassVar[str] = "tokens"
    accuracy_unit: ClassVar[str] = "tokens"
    default_prior_scale: ClassVar[float] = (
        0.0  # CTC makes the blank likely on purpose: paths are what has a probability
    )
    units: tuple[str, ...]
    """Without the blank; unit u is class u + 1."""
    frame_shift_s: float = 0.030
    language: str = ENGLISH

    def __post_init__(self) -> None:
        if not self.units or len(set(self.units)) < len(self.units) or BLANK in self.units or "" in self.units:
            raise ValueError(f"tokens: {len(self.units)} units; at least one is needed, each once, none {BLANK} or ''")

    @classmethod
    def characters(cls, words: Iterable[str], **other: Any) -> "Tokens":
        """SPACE and every character of the words, in order. ValueError when there are none."""
        found = sorted({character for word in words for character in word})
        return cls((SPACE, *found), **other)

    @cached_property
    def symbols(self) -> tuple[str, ...]:
        """The blank, then the units."""
        return (BLANK, *self.units)

    @cached_property
    def _classes(self) -> dict[str, int]:
        return {unit: number for number, unit in enumerate(self.units, 1)}

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self.units))

    @property
    def phones_of_class_CP(self) -> np.ndarray:
        """Each class is a sound of its own, (C, C) bool."""
        return np.eye(self.num_classes, dtype=bool)

    @property
    def silence_classes(self) -> range:
        """The blank."""
        return range(1)

    @property
    def soundless_classes(self) -> tuple[int, ...]:
        """The blank, and the space between words, with which models begin whether someone speaks or not."""
        return (0, *(number for unit, number in self._classes.items() if unit == SPACE))

    def tokenise_word(self, word: str) -> tuple[int, ...]:
        """Classes of a word's units. ValueError when the units cannot spell it."""
        text = SPACE + word
        # best[n]: the fewest classes for the first n characters; the longest last unit where there are several ways
        best: list[tuple[int, ...] | None] = [()]
        for end in range(1, len(text) + 1):
            ways = [
                (*before, self._classes[text[start:end]])
                for start in range(max(0, end - self._longest), end)
                if (before := best[start]) is not None and text[start:end] in self._classes
            ]
            best.append(min(ways, key=len, default=None))
        spelt = best[-1]
        if spelt is None:
            raise ValueError(f"{word}: cannot be spelt with these tokens ({', '.join(self.units[:8])}, ...)")
        return spelt

    def encode(self, text: str) -> tuple[int, ...]:
        """Classes of a normalised text, word after word. ValueError names a word that cannot be spelt."""
        return tuple(number for word in text.split() for number in self.tokenise_word(word))

    def decode(self, classes: Iterable[int]) -> str:
        """The text of classes that `collapse` left."""
        return " ".join("".join(self.symbols[c] for c in classes if c).replace(SPACE, " ").split())

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        data = {"kind": self.kind, "units": list(self.units), "frame_shift_s": self.frame_shift_s}
        return data | language_entry(self.language)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Tokens":
        """ValueError, KeyError or TypeError when `data` does not describe tokens."""
        if not all(isinstance(unit, str) for unit in data["units"]):
            raise ValueError("units are not all text")
        return cls(tuple(data["units"]), float(data["frame_shift_s"]), described_language(data))


def ctc_collapse(classes: Iterable[int]) -> tuple[int, ...]:
    """What the frames of a path say: each class once however long it is held, then without the blanks."""
    return tuple(cls for cls, _ in groupby(int(c) for c in classes) if cls)
