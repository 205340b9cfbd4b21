"""Single quotation marks around words, told from apostrophes, which are part of words."""

import re
import unicodedata

APOSTROPHES = "'\u2018\u2019\u02bc\u00b4`\uff07"
_LOW_QUOTES = "\u201a\u201b"
_CLIPPED = re.compile("BOUT|CAUSE|COS|D|EM|LL|M|N|NEATH|NUFF|RE|ROUND|S|T|TIL|TIS|TWAS|TWERE|TWILL|TWOULD|VE|[0-9].*")
"""Words that an apostrophe begins."""
_ENDS_IN_APOSTROPHE = re.compile(r"\w*(?:S|IN)|AN|O|OL|TH|WI")
"""Words that an apostrophe may end: DOGS', GOIN', OL'."""
_LOW_OPENING = re.compile("(?<![w',]),(?=w)")
_QUOTED_WORD = re.compile(r"(?<![w'])('+)w+(?:'+w+)*('+)(?![w'])")
_OPENING = re.compile(r"(?<![w'])'+(?=(w+))")
_CLOSING = re.compile(r"(?<!w)(w*)('+)(?![w'])")


def unquoted(text: str) -> str:
    """`text` with a space for every single quotation mark of a pair; apostrophes stay, also where they end a word.

    A mark before a word opens and one behind a word, or alone, closes a quotation. Not all do: 'TIS, '90S and DOGS'.
    A word that may end in an apostrophe closes one only where no other does, at the end or before punctuation.
    """
    kinds = _LOW_OPENING.sub("'", "".join(map(_kind, text))).replace(",", ".")
    if "'" not in kinds:
        return text
    spans = [span for m in _QUOTED_WORD.finditer(kinds) for span in (m.span(1), m.span(2))]
    kinds = _blanked(kinds, spans)
    letters_end = max((i + 1 for i, c in enumerate(text) if _is_letter_or_digit(c)), default=0)
    closing = list(_CLOSING.finditer(kinds))
    sure: list[tuple[int, int]] = []
    unsure: list[tuple[int, int]] = []
    for opening in reversed(list(_OPENING.finditer(kinds))):
        while closing and closing[-1].start() >= opening.end():
            mark = closing.pop()
            (unsure if _may_be_apostrophe(text, mark) else sure).append(mark.span(2))
        if _CLIPPED.fullmatch(text[slice(*opening.span(1))].upper()):
            continue
        if sure:
            spans += [opening.span(), sure.pop()]
        elif unsure and (unsure[0][1] >= letters_end or kinds[unsure[0][1]] == "."):
            spans += [opening.span(), unsure.pop(0)]
    return _blanked(text, spans)


def is_word_character(c: str) -> bool:
    """Whether a character is part of words, not between them."""
    return c == "'" or unicodedata.category(c)[0] in "LM" or unicodedata.category(c) == "Nd"


def _is_letter_or_digit(c: str) -> bool:
    return unicodedata.category(c)[0] == "L" or unicodedata.category(c) == "Nd"


def _kind(c: str) -> str:
    """w: of a word, ': a mark, a comma: a low mark, a space, or . for others."""
    if c in APOSTROPHES:
        return "'"
    if c in _LOW_QUOTES:
        return ","
    return "w" if is_word_character(c) else " " if c.isspace() else "."


def _may_be_apostrophe(text: str, closing: re.Match[str]) -> bool:
    return bool(_ENDS_IN_APOSTROPHE.fullmatch(text[slice(*closing.span(1))].upper()))


def _blanked(text: str, spans: list[tuple[int, int]]) -> str:
    characters = list(text)
    for start, end in spans:
        characters[start:end] = " " * (end - start)
    return "".join(characters)
