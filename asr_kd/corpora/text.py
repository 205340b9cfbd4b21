"""The text normaliser: what is scored and what language models are trained on."""

import re
import unicodedata

from asr_kd.corpora.languages import ENGLISH, language_code
from asr_kd.corpora.quotations import APOSTROPHES, is_word_character, unquoted

NORMALISER_VERSION = "3"
"""Raised with every change that can change a score; results made with different versions do not compare."""

_APOSTROPHES = re.compile(f"[{APOSTROPHES}]")
_VARIATION_SELECTORS = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_REPEATED = re.compile("'{2,}")


def normalise(text: str, language: str = ENGLISH) -> str:
    """The text as it is scored and learnt from; see `_normalise_english`. ValueError for an unknown language."""
    language_code(language, "language")
    return _normalise_english(text)


def _normalise_english(text: str) -> str:
    """Upper-case words of letters, digits and apostrophes, one space between them. Idempotent.

    Decisions, in writing:
    - Upper case, as in AN4, speechocean762 and LibriSpeech. Accented letters stay what they are.
    - Apostrophes stay inside and at one edge of a word (DON'T, 'TIS, DOGS'); a pair around a word, or
      around several, is a quotation (`asr_kd.corpora.quotations`).
    - Digits stay digits. How a number is read aloud cannot be seen from it (1994, 90 210), and a guess would train
      on words that were not said; `prepare` counts such transcripts, a lexicon rejects them.
    - Characters that nobody sees (soft hyphen, word joiner, zero-width joiner, byte order mark, selectors of an emoji's
      form) are left out: they do not separate words.
    - Everything else, hyphens and full stops included, separates words: TWENTY-ONE is two words, U.S. is U S.
    """
    text = "".join(c for c in _VARIATION_SELECTORS.sub("", text) if unicodedata.category(c) != "Cf")
    text = unicodedata.normalize("NFKC", _APOSTROPHES.sub("'", text)).upper()
    text = unquoted(_APOSTROPHES.sub("'", unicodedata.normalize("NFKC", text)))
    text = "".join(c if is_word_character(c) else " " for c in text)
    words = _REPEATED.sub("'", text).split()
    return " ".join(word for word in words if any(unicodedata.category(c)[0] in "LN" for c in word))
