"""Numbers that a plan rests on, and how plans are shown."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

SECONDS_PER_DAY = 86_400
UTILISATION = 0.9


@dataclass(frozen=True)
class Input:
    """A number that the plan rests on."""

    name: str
    value: float
    unit: str
    source: str


def given_or(value: float, default: float, why: str) -> str:
    """The source of an option that is assumed by default."""
    return f"default: assumed, for {why}" if value == default else "given"


def describe_inputs(inputs: Iterable[dict[str, Any]]) -> list[str]:
    """Each with its unit and source, under a heading."""
    lines = ["This rests on"]
    for i in inputs:
        lines.append(f"  {i['name']:20} {i['value']:>12,.6g} {i['unit']:16} {i['source']}")
    return lines


def span(days: float) -> str:
    """Days, hours or minutes."""
    if days >= 2:
        return f"{days:,.1f} days"
    return f"{days * 24:.1f} hours" if days * 24 >= 2 else f"{days * 24 * 60:.1f} minutes"
