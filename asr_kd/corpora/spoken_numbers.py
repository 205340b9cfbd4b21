"""Numbers spelt as they are read aloud, by the library num2words (extra `languages`)."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from decimal import Decimal

from asr_kd.core.extras import how_to_install
from asr_kd.corpora.languages import language_code, language_name

LONGEST = 12
"""Digits of a number that is read as one; longer ones, and those that begin with 0, are read digit by digit."""
_LONGEST_OF = {"am": 6}
"""Where the library takes minutes for longer ones."""
_POINT = frozenset({"am", "ar", "bn", "cy", "en", "fa", "he", "ja", "kn", "ko", "te", "th", "zh"})
"""Languages with 3.5 and 1,000; others write 3,5 and 1.000."""
_THEIR_CODES = {"kk": "kz"}
_SPACES = " \u00a0\u202f"


_ASKED = ContextVar("spelling numbers", default=False)


@contextmanager
def spelling_numbers(asked: bool) -> Iterator[None]:
    """Within it, `numbers_as_asked` spells numbers or leaves them, for every reader of a corpus alike."""
    before = _ASKED.set(asked)
    try:
        yield
    finally:
        _ASKED.reset(before)


def numbers_as_asked(text: str, language: str) -> str:
    """`text`, its numbers in words within `spelling_numbers(True)`."""
    return spell_numbers(text, language) if _ASKED.get() else text


def spell_numbers(text: str, language: str) -> str:
    """`text` with every number in words: cardinal numbers, decimals as `3,5` of the language.

    How years, telephone numbers and ordinals are read cannot be seen; they come out as cardinals.
    ValueError when num2words is missing or does not know the language.
    """
    if not any(c.isdecimal() for c in text):
        return text
    try:
        from num2words import CONVERTER_CLASSES, num2words  # an extra
    except ImportError:
        raise ValueError(f"--spell-numbers: num2words is not installed. {how_to_install('languages')}") from None
    code = language_code(language)
    theirs = _THEIR_CODES.get(code, code)
    if theirs not in CONVERTER_CLASSES:
        known = sorted({c for c in CONVERTER_CLASSES if "_" not in c})
        raise ValueError(f"--spell-numbers: num2words has no {language_name(code)}. It knows {', '.join(known)}.")
    mark, group = (".", ",") if code in _POINT else (",", ".")
    grouped = rf"\d{{1,3}}(?:[{group}'’{_SPACES}]\d{{3}})+(?!\d)"
    number = re.compile(rf"(?<!\d)(?P<whole>{grouped}|\d+)(?:{re.escape(mark)}(?P<part>\d+))?")

    def spell(value: Decimal | int) -> str:
        try:
            return str(num2words(value, lang=theirs))
        except (NotImplementedError, OverflowError, ValueError, IndexError, KeyError, TypeError):
            return " ".join(str(num2words(int(d), lang=theirs)) for d in str(value) if d.isdigit())

    def words(found: re.Match[str]) -> str:
        whole = "".join(c for c in found["whole"] if c.isdecimal())
        digits = len(whole) > _LONGEST_OF.get(code, LONGEST) or (len(whole) > 1 and int(whole[0]) == 0)
        if digits:
            spelt = " ".join(spell(int(d)) for d in whole)
            return f" {spelt} " + (" ".join(spell(int(d)) for d in found["part"]) if found["part"] else "")
        value = Decimal(f"{int(whole)}.{''.join(str(int(d)) for d in found['part'])}") if found["part"] else int(whole)
        return f" {spell(value)} "

    return number.sub(words, text)
