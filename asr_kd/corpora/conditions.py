"""Conditions on the columns of a manifest, as people write them: `snr_db >= 10`, `language in en,de`.

Columns are the fields `id`, `duration`, `offset`, `text`, `speaker`, `audio_filepath` and the keys of `meta`. A column
that an utterance does not have, or whose value is null, satisfies no condition but `is null`.
"""

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from asr_kd.core.terminal import shorten
from asr_kd.corpora.manifest import Utterance

SYNTAX = "COLUMN >= NUMBER (also >, <=, <, ==, !=), COLUMN == TEXT, COLUMN in A,B,C, COLUMN is null, COLUMN is not null"
FIELDS = ("id", "duration", "offset", "text", "speaker", "audio_filepath")
_COMPARISON = re.compile(r"\s*([^\s<>=!]+)\s*(<=|>=|==|!=|<|>|=)\s*(.*?)\s*", re.DOTALL)
_WORDS = re.compile(r"\s*([^\s<>=!]+)\s+(is\s+null|is\s+not\s+null|in|not\s+in)(?:\s+(.*?))?\s*", re.DOTALL)
_ORDER: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class Condition:
    """What the value of one column must satisfy."""

    text: str
    """As it was written."""
    column: str
    operator: str
    """One of < <= > >= == != in, not in, is null, is not null."""
    values: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Condition":
        """A condition of SYNTAX. ValueError when it is none."""
        written = " ".join(text.split())
        if found := _WORDS.fullmatch(text):
            column, word, rest = found[1], " ".join(found[2].split()), found[3]
            if word.endswith("null") and rest is None:
                return cls(written, column, word)
            if word.endswith("in") and rest:
                return cls(written, column, word, tuple(_unquoted(part) for part in rest.split(",")))
        elif (found := _COMPARISON.fullmatch(text)) and found[3]:
            sign = "==" if found[2] == "=" else found[2]
            if sign in _ORDER and _number(found[3]) is None:
                raise ValueError(f"--where {text!r}: {shorten(found[3])} is no number, which {sign} needs")
            return cls(written, found[1], sign, (_unquoted(found[3]),))
        raise ValueError(f"--where {text!r}: no condition. Write {SYNTAX}.")

    def holds(self, row: Mapping[str, Any]) -> bool:
        """Whether it is satisfied. ValueError when the value is text and is to be larger or smaller than a number."""
        value = row.get(self.column)
        if self.operator in ("is null", "is not null"):
            return (value is None) == (self.operator == "is null")
        if value is None:
            return False
        if self.operator in _ORDER:
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise ValueError(f"--where {self.text!r}: {self.column} is {shorten(value)} there, no number")
            limit = _number(self.values[0])
            assert limit is not None
            return _ORDER[self.operator](value, limit)
        is_one = any(_is_equal(value, wanted) for wanted in self.values)
        return is_one == (self.operator in ("==", "in"))


def row_of(utterance: Utterance) -> dict[str, Any]:
    """The columns of an utterance."""
    return utterance.meta | {name: getattr(utterance, name) for name in FIELDS}


def check_columns(conditions: Sequence[Condition], known: Iterable[str], where: str) -> None:
    """ValueError when a condition looks at a column that is not among the `known` ones of the manifests `where`."""
    columns = sorted({*known, *FIELDS})
    for condition in conditions:
        if condition.column not in columns:
            raise ValueError(
                f"--where {condition.text!r}: no utterance of {where} has a column {condition.column}. "
                f"There are: {', '.join(columns)}. `asr-kd annotate` adds columns."
            )


def _is_equal(value: Any, wanted: str) -> bool:
    if isinstance(value, bool):
        return wanted.lower() == str(value).lower()
    if isinstance(value, (int, float)):
        return value == _number(wanted)
    return str(value) == wanted


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _unquoted(text: str) -> str:
    text = text.strip()
    return text[1:-1] if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'" else text
