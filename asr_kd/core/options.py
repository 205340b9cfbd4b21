"""Fields of a command's config that are also options of its command line.

A command is a function of one frozen dataclass. Fields made by `option` and `argument` can be given on the command
line, the others in the file of `--config` or by `--set`. Fields of nested configs may be options too: `train.seed` is
`--seed`.
"""

import dataclasses
from collections.abc import Callable, Collection
from typing import Any

METADATA_KEY = "option"
DEVICE_HELP = "auto (the first GPU, else the CPU), cpu, cuda, cuda:1, ..."
THREADS_HELP = "CPU threads per operation (default: PyTorch's choice)"
"""The same in every command."""


@dataclasses.dataclass(frozen=True)
class Option:
    """How a field is shown and read on the command line."""

    help: str
    metavar: str | None = None
    is_positional: bool = False
    parse: Callable[[str], Any] | None = None
    """Of one value, where the field's type does not say it. Values of config files pass through it too."""
    choices: Collection[str] | None = None
    """Where the field's type is no Literal; looked at when they are needed, so that a registry may grow."""
    instead_of: str | None = None
    """Of a flag: the positional argument that need not be given with it."""
    is_shared: bool = False
    """Many commands have it: help lists it after a command's own options."""


def option(
    help: str,
    default: Any = dataclasses.MISSING,
    *,
    metavar: str | None = None,
    parse: Callable[[str], Any] | None = None,
    choices: Collection[str] | None = None,
    instead_of: str | None = None,
    is_shared: bool = False,
) -> Any:
    """A dataclass field that is an option `--its-name`. Without a default it must be given."""
    found = Option(help, metavar, parse=parse, choices=choices, instead_of=instead_of, is_shared=is_shared)
    return dataclasses.field(default=default, metadata={METADATA_KEY: found})


def argument(
    help: str,
    default: Any = dataclasses.MISSING,
    *,
    metavar: str | None = None,
    parse: Callable[[str], Any] | None = None,
) -> Any:
    """A dataclass field that is a positional argument."""
    return dataclasses.field(
        default=default, metadata={METADATA_KEY: Option(help, metavar, is_positional=True, parse=parse)}
    )


def option_of(field: "dataclasses.Field[Any]") -> Option | None:
    """How the field is shown on the command line; None where it is not."""
    found: Option | None = field.metadata.get(METADATA_KEY)
    return found
