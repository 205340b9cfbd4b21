"""The text normaliser: what is scored and what language models are trained on."""

import re
import unicodedata
from functools import lru_cache

from asr_kd.corpora.languages import ENGLISH, language_code
from asr_kd.corpora.quotations import APOSTROPHES, is_word_character, unquoted
from asr_kd.corpora.text_of_language import joined, normalise_by_rules
from asr_kd.corpora.text_of_language import lower_case as _lower_case
from asr_kd.corpora.text_rules import TextRules, rules_of

__all__ = ["NORMALISER_VERSION", "has_spaces", "joined", "lower_case", "normalise"]
NORMALISER_VERSION = "3"
"""Raised with every change that can change a score; results made with different versions do not compare."""

_APOSTROPHES = re.compile(f"[{APOSTROPHES}]")
_VARIATION_SELECTORS = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_REPEATED = re.compile("'{2,}")


def normalise(text: str, language: str = ENGLISH) -> str:
    """Upper-case words of letters, digits and apostrophes, one space between them. Idempotent.

    language: a code or tag, see `languages.language_code`; ValueError when it is unknown. Decisions, in writing; where
    languages differ, `text_rules.py` has them and docs/languages.md explains them:

    - Upper case, as in AN4, speechocean762 and LibriSpeech. Accented letters stay what they are.
    - Apostrophes stay inside and at one edge of a word (DON'T, 'TIS, DOGS'); a pair around a word, or
      around several, is a quotation (`asr_kd.corpora.quotations`).
    - Digits stay digits. How a number is read aloud cannot be seen from it (1994, 90 210), and a guess would train
      on words that were not said; `prepare` counts such transcripts, a lexicon rejects them, and
      `prepare --spell-numbers` spells them.
    - Characters that nobody sees (soft hyphen, word joiner, zero-width joiner, byte order mark, selectors of an emoji's
      form) are left out: they do not separate words.
    - Everything else, hyphens and full stops included, separates words: TWENTY-ONE is two words, U.S. is U S.
    """
    rules = _rules(language)
    return _normalise_english(text) if rules is None else normalise_by_rules(text, rules)


@lru_cache(maxsize=256)
def has_spaces(language: str) -> bool:
    """Whether words are separated by spaces. Where not, each character is a word and the measure is CER."""
    return rules_of(language_code(language)).has_spaces


def lower_case(text: str, language: str = ENGLISH) -> str:
    """Normalised text in small letters, as the language writes them (İ and I of Turkish are i and ı)."""
    return _lower_case(text, rules_of(language_code(language)).case == "turkic")


@lru_cache(maxsize=256)
def _rules(language: str) -> TextRules | None:
    """None for English, whose quotations have rules of their own."""
    code = language_code(language)
    return None if code == ENGLISH else rules_of(code)


def _normalise_english(text: str) -> str:
    text = "".join(c for c in _VARIATION_SELECTORS.sub("", text) if unicodedata.category(c) != "Cf")
    text = unicodedata.normalize("NFKC", _APOSTROPHES.sub("'", text)).upper()
    text = unquoted(_APOSTROPHES.sub("'", unicodedata.normalize("NFKC", text)))
    text = "".join(c if is_word_character(c) else " " for c in text)
    words = _REPEATED.sub("'", text).split()
    return " ".join(word for word in words if any(unicodedata.category(c)[0] in "LN" for c in word))
