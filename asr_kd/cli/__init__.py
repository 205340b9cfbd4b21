"""`asr-kd COMMAND ...`: the command line. Each command is a function of a typed config that Python can call as well."""

import argparse
import os
import signal
import sys
from collections.abc import Mapping, Sequence

from asr_kd import __version__
from asr_kd.cli.arguments import ArgumentParser
from asr_kd.cli.commands import COMMANDS, CommandEntry, CommandGroup, all_commands
from asr_kd.core.renames import COMMANDS as OLD_COMMANDS
from asr_kd.core.terminal import OutputClosed, complain, explain, is_memory_error, say

STDOUT_CLOSED = 128 + signal.SIGPIPE
"""Exit code of a command whose output nobody reads any more: what shells report of other Unix tools."""


def build_parser(words: Sequence[str] = ()) -> argparse.ArgumentParser:
    """The parser; only the command that `words` name has its options, so that `--help` answers at once."""
    named = [word for word in words if not word.startswith("-")]
    parser = ArgumentParser(
        prog="asr-kd",
        description="Semi-supervised speech recognition: a teacher that labels and a student that learns from it.",
        epilog="Each command has its own help: asr-kd COMMAND --help. Recipes chain them: recipes/quickstart/run.sh.",
    )
    parser.add_argument("--version", action="version", version=f"asr_kd {__version__}")
    _add_commands(parser, "COMMAND", COMMANDS, named, words)
    return parser


def _add_commands(
    parser: argparse.ArgumentParser,
    metavar: str,
    commands: Mapping[str, CommandEntry | CommandGroup],
    named: Sequence[str],
    words: Sequence[str],
) -> None:
    """named: the commands that are called, the outer one first."""
    parsers = parser.add_subparsers(dest=metavar, metavar=metavar, required=True)
    for name, entry in commands.items():
        below = parsers.add_parser(
            name, help=entry.purpose, description=entry.purpose, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        if [name] != list(named[:1]):
            continue
        if isinstance(entry, CommandEntry):
            _add_command(below, entry, words)
        else:
            below.description = f"{entry.purpose}\n\n{entry.about}"
            _add_commands(below, entry.metavar, entry.commands, named[1:], words)


def _add_command(parser: argparse.ArgumentParser, entry: CommandEntry, words: Sequence[str]) -> None:
    from asr_kd.cli.options import add_options

    config, _, about = entry.load()
    parser.description = f"{entry.purpose}\n\n{about}"
    parser.set_defaults(entry=entry)
    add_options(parser, config, needs_all=not any(word.partition("=")[0] == "--config" for word in words))


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code.

    0: done; 1: a part of its work failed; 2: the user's mistake, in one line; 130: interrupted; 141: stdout was closed.
    """
    try:
        return _main(argv)
    except OutputClosed:
        pass
    except SystemExit:  # after --help, which may still be in the buffer
        try:
            sys.stdout.flush()
            raise
        except BrokenPipeError:
            pass
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python writes what is left when it ends
    return STDOUT_CLOSED


def _main(argv: Sequence[str] | None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in OLD_COMMANDS:
        say(f"asr-kd {words[0]}: since version 0.3 it is called asr-kd {OLD_COMMANDS[words[0]]}")
        return 2
    given = build_parser(words).parse_args(words)
    return _run(given, f"asr-kd {next(word for word in words if word in COMMANDS)}")


def _run(given: argparse.Namespace, name: str) -> int:
    from asr_kd.cli.options import read_options
    from asr_kd.core.errors import PartFailed
    from asr_kd.core.files import use_own_temporary_folder
    from asr_kd.core.processes import die_with_parent
    from asr_kd.core.signal_stack import enable_sigaltstack

    die_with_parent()
    use_own_temporary_folder()
    enable_sigaltstack()
    config, function, _ = given.entry.load()
    try:
        function(read_options(config, given))
    except PartFailed as e:
        if str(e):
            say(f"{name}: {e}")
        return 1
    except (ValueError, OSError, MemoryError, RuntimeError) as e:
        if not isinstance(e, (ValueError, OSError)) and not is_memory_error(e):
            raise
        complain(name, explain(e))
        return 2
    except KeyboardInterrupt:
        say(f"{name}: interrupted; what was finished is kept, run the same command to go on.")
        return 130
    return 0


__all__ = ["COMMANDS", "CommandEntry", "CommandGroup", "all_commands", "build_parser", "main"]
