"""The measures of `asr-kd annotate` by name: their columns, and what makes each ready."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from asr_kd.cleaning import copies, level
from asr_kd.cleaning.measure import Measure, MeasureOptions


@dataclass(frozen=True)
class MeasureEntry:
    """One measure."""

    columns: Mapping[str, str]
    """What each holds, with its unit."""
    load: Callable[[MeasureOptions], Measure] | None = None
    """ValueError when what it needs is not installed. None: it is found when all utterances are known."""


MEASURES: dict[str, MeasureEntry] = {
    "level": MeasureEntry(level.COLUMNS, lambda options: level.Level()),
    "duplicate": MeasureEntry(copies.COLUMNS),
}
DEFAULT = ("level", "duplicate")
"""Those that need no model."""


def load_measures(names: Iterable[str], options: MeasureOptions) -> list[Measure]:
    """Those that look at one utterance at a time, ready."""
    return [entry.load(options) for name in names if (entry := MEASURES[name]).load is not None]


def columns_of(names: Iterable[str]) -> list[str]:
    """Names of the columns of measures, in order."""
    return [column for name in names for column in MEASURES[name].columns]
