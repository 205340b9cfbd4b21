"""How the texts of languages are written, where it differs from one to the next: data alone, `text.py` applies it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal


@dataclass(frozen=True)
class TextRules:
    """Rules of one language. Patterns are matched against whole words in upper case."""

    has_spaces: bool = True
    """False: each character is a word, and errors are counted in characters (CER)."""
    case: Literal["upper", "turkic", "sharp s", "lower"] = "upper"
    """upper; turkic: i and ı are two letters; sharp s: ß becomes ẞ, not SS; lower: the script has no capitals."""
    hyphen_joins: bool = False
    """Whether a hyphen inside a word is part of it: what stands beside it is no word (Romanian s-a)."""
    opening: str = ""
    """Words that an apostrophe may begin: 'T of Dutch."""
    closing: str = ""
    """Words that an apostrophe may end: PO' of Italian."""
    elided: str = ""
    """Words that an apostrophe ends and that are one word with the next: L' of L'HOMME, with or without a space."""
    letters: str = ""
    """Characters beside Unicode's letters that are part of words: · of Catalan."""
    before: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Replaced before anything else, such as characters that need a joiner."""
    same: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Letters that are written in more than one way, after the case is changed."""
    drops_marks: bool = False
    """Whether vowel points and other marks go: everyday text has none (Arabic, Hebrew)."""
    keeps_joiners: bool = False
    """Whether zero-width joiners after a sign stay: without them the script shows other letters (Sinhala)."""


_CHILLU = {f"{c}\u0d4d\u200d": chillu for c, chillu in zip("ണനരലളക", "ൺൻർൽൾൿ", strict=True)}
_ROMANCE = "[CDJLMNSTV]|QU|UN|[DNS]ELL|[AD]ALL|SULL"
_YEH = {"\u064a": "\u06cc", "\u0649": "\u06cc", "\u0643": "\u06a9"}
_CHARACTERS = TextRules(has_spaces=False, letters="〇")
_TURKIC = TextRules(case="turkic")
_ARABIC = TextRules(drops_marks=True)
_OKINA = TextRules(opening=".*", same={"\u02bb": "'"})
_HYPHEN = TextRules(hyphen_joins=True)

DEFAULT = TextRules()
"""Of languages that are not named here."""
RULES: dict[str, TextRules] = {
    "af": TextRules(opening="[NSTKM]"),
    "ar": _ARABIC,
    "az": _TURKIC,
    "br": TextRules(elided="[CDLMZ]"),
    "ca": TextRules(elided="[DLMNST]", letters="·", before=dict.fromkeys(("l•l", "l∙l", "l⋅l", "l‧l"), "l·l")),
    "ceb": _HYPHEN,
    "ckb": _ARABIC,
    "co": TextRules(elided=_ROMANCE),
    "cy": TextRules(opening="[RNWMIU]|CH|TH"),
    "de": TextRules(case="sharp s", opening="S|N|NE[NMRS]?"),
    "eo": TextRules(elided="L|D"),
    "fa": TextRules(drops_marks=True, same=_YEH),
    "fr": TextRules(elided="[CDJLMNST]|QU|JUSQU|LORSQU|PUISQU|QUOIQU"),
    "ga": TextRules(hyphen_joins=True, elided="[BDM]"),
    "gd": TextRules(hyphen_joins=True, elided="[BDM]|DH", closing="A|SA|GU"),
    "ha": TextRules(opening="Y.*"),
    "haw": _OKINA,
    "he": TextRules(
        drops_marks=True,
        closing=".|.*[גזצץת]",
        before=dict.fromkeys(("\u05f3", "\u059c"), "'") | {"\u05f4": '"'},
    ),
    "ilo": _HYPHEN,
    "it": TextRules(
        elided="[CDLMNSTV]|UN|[DNS]ELL|[AD]ALL|SULL|COLL|QUELL|QUEST|BELL|SANT|ANCH|COM|DOV|MEZZ|TUTT|QUATTR|NESSUN"
        "|QUALCUN|CIASCUN|BUON|GL|CH|POCH|SENZ",
        closing="PO|CA|A|DA|FA|STA|VA|DI|BE|MO|TO|DE|NE|CO|PE|E|PIE|FE|VO|SO",
    ),
    "ja": _CHARACTERS,
    "ka": TextRules(case="lower"),
    "km": _CHARACTERS,
    "lo": _CHARACTERS,
    "lt": TextRules(before={"i\u0307": "i", "j\u0307": "j", "į\u0307": "į"}),
    "ml": TextRules(before=_CHILLU),
    "mt": TextRules(hyphen_joins=True, closing=".*[AEIOU]|[BFXM]"),
    "my": _CHARACTERS,
    "nan": _CHARACTERS,
    "nds": TextRules(case="sharp s", opening="N|T|S|NE[NMR]?"),
    "nl": TextRules(opening="[NSTKMR]|NS|EM"),
    "oc": TextRules(elided=_ROMANCE),
    "ps": _ARABIC,
    "pt": TextRules(elided="D"),
    "ro": _HYPHEN,
    "sc": TextRules(elided=_ROMANCE),
    "sd": _ARABIC,
    "shn": _CHARACTERS,
    "si": TextRules(keeps_joiners=True),
    "sm": _OKINA,
    "so": TextRules(closing=".*[AEIOU]"),
    "th": _CHARACTERS,
    "tl": _HYPHEN,
    "to": _OKINA,
    "tr": _TURKIC,
    "ug": _ARABIC,
    "ur": TextRules(drops_marks=True, same=_YEH | {"\u0647": "\u06c1"}),
    "uz": TextRules(closing=".*[OG]", same={"\u02bb": "'"}),
    "wuu": _CHARACTERS,
    "yi": TextRules(before={"\u05f4": '"'}),
    "yue": _CHARACTERS,
    "hak": _CHARACTERS,
    "zh": _CHARACTERS,
}


def rules_of(code: str) -> TextRules:
    """The rules of a language by its code."""
    return RULES.get(code, DEFAULT)
