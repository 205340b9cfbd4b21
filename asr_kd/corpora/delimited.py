"""Tables in text: CSV, TSV and the like as programs write them. A row that cannot be read costs no other row."""

import csv
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from asr_kd.core.text_files import lenient_lines, text_fault

DELIMITERS = {"comma": ",", "tab": "\t", "semicolon": ";", "pipe": "|"}
MAX_ROW_LINES = 50
"""Lines that a quoted field may have; more is a quotation mark that is not closed."""


@dataclass(frozen=True)
class TableRow:
    """One row."""

    line: int
    """Its first line in the file, from 1."""
    values: list[str]
    fault: str | None = None
    """Why it cannot be used."""


class DelimitedTable:
    """A table whose first line names the columns, or whose columns are named here."""

    def __init__(
        self,
        path: Path,
        delimiter: str = "auto",
        encoding: str = "utf-8",
        columns: tuple[str, ...] = (),
        quotes: bool = True,
    ) -> None:
        """delimiter: `auto`, a name of DELIMITERS, or the character.  columns: for a table without a line of names.

        quotes: whether fields may be quoted.  ValueError when there is no such file, or no column has a name.
        """
        self.path, self._quotes = path, quotes
        lines = enumerate(lenient_lines(path, encoding), 1)
        first = next((numbered for numbered in lines if numbered[1].strip()), None)
        if first is None:
            raise ValueError(f"{path}: empty")
        if first[1].lower().startswith("sep=") and len(first[1]) == len("sep=") + 1:  # Excel's
            delimiter, first = first[1][-1], next(lines, (0, ""))
        self.delimiter = self._delimiter(delimiter, first[1])
        if columns:
            self.columns = list(columns)
            self._lines: Iterator[tuple[int, str]] = chain([first], lines)
        else:
            values = self._quoted(first[1]) or first[1].split(self.delimiter)
            self.columns = [value.strip() for value in values]
            self._lines = lines
        twice = next((name for name in self.columns if name and self.columns.count(name) > 1), None)
        if twice is not None or not any(self.columns):
            raise ValueError(f"{path}:{first[0]}: " + (f"two columns are called {twice}" if twice else "no names"))

    def rows(self) -> Iterator[TableRow]:
        """Every row that is not blank, once."""
        waiting: deque[tuple[int, str]] = deque()
        count = len(self.columns)
        for number, line in _drained(waiting, self._lines):
            if not line.strip():
                continue
            fault = text_fault(line)
            if fault is not None:
                yield TableRow(number, [], fault)
                continue
            values = line.split(self.delimiter)
            if self._quotes and '"' in line:
                quoted = self._quoted(line)
                if quoted is None or len(quoted) != count:
                    quoted = self._of_several_lines(line, waiting) if quoted is None else None
                values = quoted or values
            if len(values) != count:
                fault = f"{len(values)} values for {count} columns"
            yield TableRow(number, values, fault)

    def _of_several_lines(self, line: str, waiting: "deque[tuple[int, str]]") -> list[str] | None:
        """The row that begins in `line` and ends in a later one; what was looked at in vain waits to be read again."""
        taken: list[tuple[int, str]] = []
        text, is_whole = line, self._is_whole(line)
        for numbered in _drained(waiting, self._lines):
            taken.append(numbered)
            if len(taken) == MAX_ROW_LINES or (is_whole and self._is_whole(numbered[1])):
                break  # both are rows, and the mark is part of a text
            text += "\n" + numbered[1]
            values = self._quoted(text)
            if values is not None and len(values) == len(self.columns) and text_fault(text) is None:
                return values
        waiting.extendleft(reversed(taken))
        return None

    def _is_whole(self, line: str) -> bool:
        """Whether the line has as many values as there are columns, if quotation marks mean nothing."""
        return line.count(self.delimiter) + 1 == len(self.columns)

    def _quoted(self, text: str) -> list[str] | None:
        """The values of a whole row; None when its quotation marks are not those of CSV."""
        try:
            return next(csv.reader([text], delimiter=self.delimiter, strict=True), None)
        except csv.Error:
            return None

    def _delimiter(self, asked: str, first: str) -> str:
        if asked != "auto":
            found = DELIMITERS.get(asked, asked)
            if len(found) != 1 or found in '"\n\r':
                known = ", ".join(DELIMITERS)
                raise ValueError(f"--delimiter {asked}: one character is needed, or auto, {known}")
            return found
        by_suffix = "\t" if self.path.suffix.lower() in (".tsv", ".tab") else ","
        return max((by_suffix, *DELIMITERS.values()), key=first.count)


def _drained(waiting: "deque[tuple[int, str]]", lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """What waits, then lines; what is put into `waiting` meanwhile comes first."""
    iterator = iter(lines)
    while True:
        if waiting:
            yield waiting.popleft()
        else:
            following = next(iterator, None)
            if following is None:
                return
            yield following
