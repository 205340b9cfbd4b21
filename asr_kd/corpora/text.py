"""The text normaliser: what is scored and what language models are trained on."""

import re
import unicodedata

NORMALISER_VERSION = "2"
"""Raised with every change that can change a score; results made with different versions do not compare."""

_APOSTROPHES = re.compile("[\u2018\u2019\u02bc\u00b4`\uff07]")
_VARIATION_SELECTORS = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_REPEATED = re.compile("'{2,}")


def normalise(text: str) -> str:
    """Upper-case words of letters, digits and apostrophes, one space between them. Idempotent.

    Decisions, in writing:
    - Upper case, as in AN4, speechocean762 and LibriSpeech. Accented letters stay what they are.
    - Apostrophes stay inside and at one edge of a word (DON'T, 'TIS, DOGS'); a pair around a word is a quotation.
    - Digits stay digits. How a number is read aloud cannot be seen from it (1994, 90 210), and a guess would train
      on words that were not said; `prepare` counts such transcripts, a lexicon sets them aside.
    - Characters that nobody sees (soft hyphen, word joiner, zero-width joiner, byte order mark, selectors of an emoji's
      form) are left out: they do not separate words.
    - Everything else, hyphens and full stops included, separates words: TWENTY-ONE is two words, U.S. is U S.
    """
    text = "".join(c for c in _VARIATION_SELECTORS.sub("", text) if unicodedata.category(c) != "Cf")
    text = unicodedata.normalize("NFKC", _APOSTROPHES.sub("'", text)).upper()
    text = _APOSTROPHES.sub("'", unicodedata.normalize("NFKC", text))
    text = "".join(c if is_word_character(c) else " " for c in text)
    words = (_trim(word) for word in _REPEATED.sub("'", text).split())
    return " ".join(word for word in words if word)


def is_word_character(c: str) -> bool:
    """Whether a character is part of words, not between them."""
    return c == "'" or unicodedata.category(c)[0] in "LM" or unicodedata.category(c) == "Nd"


def _trim(word: str) -> str:
    """Drop quotation marks around a word, and words of nothing but marks."""
    if len(word) > 1 and word[0] == word[-1] == "'":
        word = word[1:-1]
    return word if any(unicodedata.category(c)[0] in "LN" for c in word) else ""
