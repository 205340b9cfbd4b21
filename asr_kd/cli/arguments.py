"""The parser of every command: an option that is given twice is never dropped without a word."""

import argparse
import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NoReturn

from asr_kd.core.renames import FLAGS, renamed_value
from asr_kd.core.terminal import say


class ArgumentParser(argparse.ArgumentParser):
    """argparse's parser, but an option of several values extends when it is repeated (`--set a=1 --set b=2`).

    An option of one value may be repeated with the same value only.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})
        self.given: dict[str, Any] = {}
        """Values that the command line being parsed has set so far, by the option's destination."""
        for action in (None, "store", "extend"):
            self.register("action", action, _Store)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        self.given = {}
        self._refuse_old_names(sys.argv[1:] if args is None else args)
        return super().parse_known_args(args, namespace)

    def _refuse_old_names(self, args: Sequence[str]) -> None:
        command = self.prog.partition(" ")[2]
        renamed = FLAGS.get(command.split(" ")[0], {})
        if command == "report" and any("=" in value for option, value in pairwise(args) if option == "--config"):
            self.error("--config NAME=FILE: since version 0.3 it is called --run-configs")
        for option in args:
            name = str(option).partition("=")[0]
            if name in renamed:
                self.error(f"{name}: since version 0.3 it is called {renamed[name]}")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as e:
            raise argparse.ArgumentError(action, f"{e.message}{renamed_value(action.dest.lower(), value)}") from None

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        say(f"{self.prog}: error: {message}")
        self.exit(2)


class _Store(argparse.Action):
    """`store`, or `extend` where there may be several values: the default is replaced by what is given first."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        assert isinstance(parser, ArgumentParser)
        before: Any = parser.given.get(self.dest)
        if self.dest in parser.given and self.nargs in (argparse.ONE_OR_MORE, argparse.ZERO_OR_MORE):
            values = [*before, *values]
        elif self.dest in parser.given and before != values:
            raise argparse.ArgumentError(self, f"given twice: {before} and {values}. Give it once.")
        parser.given[self.dest] = values
        setattr(namespace, self.dest, values)
