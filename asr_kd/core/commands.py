"""What every command does around its work: own its output while it writes, and note its config beside the result."""

import functools
import shlex
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeVar

import yaml

from asr_kd.core.config import to_dict
from asr_kd.core.locations import PathOrUrl, dirname, join, parse_path_or_url, stem
from asr_kd.core.output_lock import OutputLock
from asr_kd.core.processes import rank_and_world
from asr_kd.core.storage import exists, read_bytes, write_bytes

C = TypeVar("C")
R = TypeVar("R")
CONFIG_FILE = "config.yaml"
"""In the output folder; beside an output file `x.json` it is `x.config.yaml`. `--config` takes it."""


def command_words() -> list[str]:
    """Words of the command that is running."""
    return [Path(sys.argv[0]).name, *sys.argv[1:]]


def command_line() -> str:
    """The command that is running, as one would type it."""
    return shlex.join(command_words())


def command(
    *, is_file: bool | Callable[[Any], bool] = False, is_shared: bool = False, keeps_config: bool = True
) -> Callable[[Callable[[C], R]], Callable[[C], R]]:
    """A decorator for the function of a command, whose config has `out` where it writes something.

    While it runs it owns `out` (ValueError when another command does); when it is done, `config.yaml` beside the output
    has the resolved config. With `dry_run` or `status` neither.

    is_file: `out` is a file, not a folder.  is_shared: any number of runs may write into `out`.
    keeps_config: False where the output holds its config itself.
    """

    def decorate(function: Callable[[C], R]) -> Callable[[C], R]:
        @functools.wraps(function)
        def run(config: C) -> R:
            out: PathOrUrl | None = getattr(config, "out", None)
            is_first = not rank_and_world()[0]  # of several ranks, the first writes
            if out is None or not is_first or getattr(config, "dry_run", False) or getattr(config, "status", False):
                return function(config)
            one_file = is_file(config) if callable(is_file) else is_file
            where = parse_path_or_url(out)  # in an object store nothing can be locked
            own = not is_shared and isinstance(where, Path)
            with OutputLock(Path(where), command_words(), one_file) if own else nullcontext():
                result = function(config)
                if keeps_config:
                    _note(config, _config_file(out, one_file))
            return result

        return run

    return decorate


def _note(config: Any, file: PathOrUrl) -> None:
    text = yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True).encode()
    if not exists(file) or read_bytes(file) != text:  # what changes nothing writes nothing
        write_bytes(file, text)


def _config_file(out: PathOrUrl, is_file: bool) -> PathOrUrl:
    return join(dirname(out), f"{stem(out)}.{CONFIG_FILE}") if is_file else join(out, CONFIG_FILE)
