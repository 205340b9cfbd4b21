"""A grid of systems on one corpus: what `asr-kd experiment` reads, and the commands that it says."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asr_kd.core.config import load_config

_PLACE = re.compile(r"\{([a-z_]+)(?::([\w-]+))?\}")


@dataclass(frozen=True)
class System:
    """One system."""

    name: str
    """Letters, digits, `-` and `_`; its folder is OUT/seedN/NAME."""
    knowledge: str = "-"
    """What it learns from, for the table."""
    mode: str = "-"
    """How, for the table."""
    student: str = "-"
    """What it is, for the table."""
    steps: tuple[str, ...] = ()
    """Verbs of asr-kd with their arguments, in order. `{out}` is the row's folder, `{row:NAME}` that of another row,
    `{exp}` and `{seed}` the run's, `{shared}` a folder for what all seeds have in common (steps may write it side by
    side), and any name of `let` its text. The shell is not asked: no pipes, no globs."""
    model: str = "{out}"
    """The model, or several, that is tuned and decoded."""
    graph: str | None = None
    """Its graph, where it is not the grid's; empty decodes without one (greedily, token models)."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_-]+", self.name):
            raise ValueError(f"row {self.name!r}: a name of letters, digits, - and _ is needed")
        for step in self.steps:
            if not step.split():
                raise ValueError(f"row {self.name}: an empty step")


@dataclass(frozen=True)
class Suite:
    """The systems, and what they are measured on."""

    dev: str
    """Shards that scales are tuned on."""
    test: str
    """Shards that are decoded once."""
    reference: str
    """Manifest of the test with text."""
    graph: str
    """Folder of the decoding graph."""
    systems: tuple[dict[str, Any], ...]
    """See `System`."""
    baseline: str = ""
    """Row that WERR is measured from."""
    oracle: str = ""
    """Row whose gain over the baseline is a recovery of 1."""
    teacher: str = ""
    """Row whose share of right words the others are compared with."""
    vars: dict[str, str] = field(default_factory=dict)
    """Texts by name, for use in steps; they may use names above them."""

    def __post_init__(self) -> None:
        names = [row.name for row in self.parsed]
        if not names:
            raise ValueError("rows: there are none")
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"rows: {name} is there twice")
        for what in ("baseline", "oracle", "teacher"):
            if (name := getattr(self, what)) and name not in names:
                raise ValueError(f"{what} is {name}, which is no row; there are {', '.join(names)}")
        if self.oracle and not self.baseline:
            raise ValueError("oracle: recovery is measured from a baseline. Name one.")

    @property
    def parsed(self) -> tuple[System, ...]:
        """The rows."""
        return tuple(load_config(System, row) for row in self.systems)


class Template:
    """Texts with `{names}` in them, as words of a command."""

    def __init__(self, grid: Suite, out: Path, exp: Path, seed: int) -> None:
        """ValueError names a place that does not exist."""
        self._folder, self._rows = out / f"seed{seed}", {row.name for row in grid.parsed}
        self._texts = {"exp": str(exp), "seed": str(seed), "shared": str(out / "shared")}
        for name, text in grid.vars.items():
            self._texts[name] = self.text(text)

    def folder(self, row: str) -> Path:
        """Where a row's results go."""
        return self._folder / row

    def text(self, text: str, row: str | None = None) -> str:
        """`text` with its places filled. row: whose {out} it is."""

        def fill(place: re.Match[str]) -> str:
            name, argument = place.groups()
            if name == "row" and argument in self._rows:
                return str(self.folder(argument))
            if name == "out" and row is not None:
                return str(self.folder(row))
            if name in self._texts and argument is None:
                return self._texts[name]
            known = ", ".join(["{out}", "{row:NAME}", *(f"{{{n}}}" for n in self._texts)])
            raise ValueError(f"{row or 'vars'}: {place.group()} stands for nothing; known: {known}")

        return _PLACE.sub(fill, text)

    def words(self, text: str, row: str) -> list[str]:
        """Words as a shell would split them. ValueError when a quotation does not end."""
        try:
            return shlex.split(self.text(text, row))
        except ValueError as e:
            raise ValueError(f"row {row}: {text}: {e}") from None


def needs(row: System, let: Mapping[str, str]) -> set[str]:
    """Rows that must be there first."""
    text = " ".join((*row.steps, row.model, row.graph or ""))
    for _ in let:  # texts may use each other
        for name, value in let.items():
            text = text.replace(f"{{{name}}}", value)
    return {argument for name, argument in _PLACE.findall(text) if name == "row"} - {row.name}
