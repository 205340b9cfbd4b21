"""Normalising the text of any language but English by its `TextRules`."""

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from asr_kd.corpora.quotations import APOSTROPHES
from asr_kd.corpora.text_rules import TextRules

_APOSTROPHES = re.compile(f"[{APOSTROPHES}\u201a\u201b\u2032\u2035]+")
_SELECTORS = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_HYPHENS = re.compile("[\u2010\u2011]")
_KEEPS_COMPATIBLE = frozenset("\u0e33\u0eb3\u0edc\u0edd")
"""Letters of Thai and Lao that nobody writes in the parts which NFKC makes of them."""
_ORDINALS = str.maketrans("ªº", "  ")
_TATWEEL = "\u0640"
_HAMZA_AND_MADDA = frozenset("\u0653\u0654\u0655")
_ACRONYM = re.compile('(?<=[\u05d0-\u05ea])["\u201d\u201c](?=[\u05d0-\u05ea])')
_JOINER = "\u200d"
_TURKIC = str.maketrans({"i": "İ", "ı": "I"})
_EDGES = "'-·\u200d"
_REPEATED = re.compile("([-'·])[-'·\u200d]+")
_UNSPACED_RANGES = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3038-\u312f"
    "\u31a0-\u31ff\u3400-\u9fff\ua9e0-\ua9ff\uaa60-\uaa7f\uf900-\ufaff\U0001b000-\U0001b16f\U00020000-\U0003ffff"
)
"""Thai, Lao, Burmese, Khmer, Chinese characters, Japanese syllables, bopomofo."""
_UNSPACED = re.compile(f"[{_UNSPACED_RANGES}]")
_SPACE_BETWEEN_CHARACTERS = re.compile(f"(?<=[{_UNSPACED_RANGES}]) (?=[{_UNSPACED_RANGES}])")


def normalise_by_rules(text: str, rules: TextRules) -> str:
    """The words of `text`, one space between them; see `text.normalise`. Idempotent."""
    text = _letters(text, rules)
    words = _words("".join(c if _is_of_word(c, rules) else " " for c in text).split(), rules)
    if not rules.has_spaces:
        words = [inner for word in words for unit in _units(word) if (inner := _trimmed(unit)[1])]
    return " ".join(words)


def _letters(text: str, rules: TextRules) -> str:
    """`text` in one form: case, ways to write a letter, characters that nobody sees."""
    for old, new in rules.before.items():
        text = text.replace(old, new)
    text = _HYPHENS.sub("-", _SELECTORS.sub("", text))
    text = "".join(c for c in text if unicodedata.category(c) != "Cf" or (rules.keeps_joiners and c == _JOINER))
    text = _folded(_APOSTROPHES.sub("'", text.translate(_ORDINALS)))
    text = _folded(_APOSTROPHES.sub("'", _cased(text, rules)))
    if rules.same:
        text = "".join(rules.same.get(c, c) for c in text)
    if rules.drops_marks:
        text = _ACRONYM.sub("", "".join(c for c in text if not _is_vowel_point(c)))
    elif '"' in rules.before.values():
        text = _ACRONYM.sub("", text)
    return "".join(_digit(c) for c in text if c != _TATWEEL)


def _folded(text: str) -> str:
    """NFKC, but for letters that it would take apart for good."""
    if text.isascii():
        return text
    if _KEEPS_COMPATIBLE.isdisjoint(text):
        return unicodedata.normalize("NFKC", text)
    parts = (c if c in _KEEPS_COMPATIBLE else unicodedata.normalize("NFKC", c) for c in text)
    return unicodedata.normalize("NFC", "".join(parts))


def _cased(text: str, rules: TextRules) -> str:
    if rules.case == "lower":
        return text.lower()
    if rules.case == "turkic":
        text = text.replace("i\u0307", "i").translate(_TURKIC).replace("\u0130\u0307", "\u0130")
    elif rules.case == "sharp s":
        text = text.replace("ß", "ẞ")
    return text.upper()


def lower_case(text: str, turkic: bool = False) -> str:
    """Normalised text as it is usually written, in small letters: İ is i and I is ı where the two differ."""
    if turkic:
        text = text.replace("İ", "i").replace("I", "ı")
    return unicodedata.normalize("NFC", text.lower())


def joined(words: Iterable[str]) -> str:
    """Words as they are written: a space between them, but none between characters of scripts without spaces."""
    return _SPACE_BETWEEN_CHARACTERS.sub("", " ".join(words))


@lru_cache(maxsize=1 << 16)
def _is_vowel_point(c: str) -> bool:
    return unicodedata.category(c) == "Mn" and c not in _HAMZA_AND_MADDA and "\u0590" <= c <= "\u08ff"


@lru_cache(maxsize=1 << 16)
def _digit(c: str) -> str:
    """ASCII for a digit of any script."""
    return str(unicodedata.decimal(c)) if unicodedata.category(c) == "Nd" else c


def _is_of_word(c: str, rules: TextRules) -> bool:
    category = unicodedata.category(c)
    if category[0] in "LM" or category == "Nd" or c == "'" or c in rules.letters:
        return True
    return (c == "-" and rules.hyphen_joins) or (c == _JOINER and rules.keeps_joiners)


def _words(parts: list[str], rules: TextRules) -> list[str]:
    """Words without quotation marks and hyphens at their edges; what is elided is one word with the next."""
    words: list[str] = []
    quotes = 0
    elided = ""
    for part in parts:
        before, inner, behind = _trimmed(part)
        if not any(unicodedata.category(c)[0] in "LN" for c in inner):
            continue
        opens, closes = "'" in before, "'" in behind
        ends_elided = closes and bool(_matches(rules.elided, inner)) and not opens
        starts = opens and not closes and bool(_matches(rules.opening, inner))
        quotes += opens and not starts
        ends = False
        if closes and quotes:
            quotes -= 1
        elif closes and not ends_elided:
            ends = bool(_matches(rules.closing, inner))
        whole = f"{chr(39) * starts}{inner}{chr(39) * (ends or ends_elided)}"
        if elided and not starts:
            whole = elided + whole
        elif elided:
            words.append(elided)
        elided = ""
        if ends_elided and not quotes:
            elided = whole
        else:
            words.append(whole)
    return [*words, elided] if elided else words


def _trimmed(part: str) -> tuple[str, str, str]:
    """A word between what hangs on no letter at its edges: apostrophes, hyphens, marks, joiners."""
    start = 0
    while start < len(part) and (part[start] in _EDGES or unicodedata.category(part[start])[0] == "M"):
        start += 1
    inner = part[start:].rstrip(_EDGES)
    return part[:start], _REPEATED.sub(r"\1", inner), part[start + len(inner) :]


def _matches(pattern: str, word: str) -> re.Match[str] | None:
    return re.fullmatch(pattern, word) if pattern else None


def _units(word: str) -> list[str]:
    """Characters of scripts without spaces, each with its marks; runs of others, such as Latin words, stay whole."""
    units: list[str] = []
    joins = False  # whether the next character goes on with the last unit
    for c in word:
        alone = bool(_UNSPACED.match(c))
        is_mark = unicodedata.category(c)[0] == "M"
        if units and (is_mark or (joins and not alone)):
            units[-1] += c
        else:
            units.append(c)
        joins = joins and is_mark if is_mark else not alone
    return units
