"""No option of any command is dropped when it is given twice."""

import argparse
from collections.abc import Iterator
from pathlib import Path

import pytest

from asr_kd.cli import VERBS, build_parser
from asr_kd.core.arguments import ArgumentParser

SEVERAL = (argparse.ONE_OR_MORE, argparse.ZERO_OR_MORE)


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser and those of its subcommands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                yield from parsers(sub)


def options(verb: str) -> Iterator[tuple[str, argparse.ArgumentParser, argparse.Action]]:
    """Name, parser and action of every option of a command that takes a value."""
    for parser in parsers(build_parser(verb)):
        for action in parser._actions:
            if action.option_strings and action.nargs != 0 and action.dest != "help":
                yield f"{parser.prog} {action.option_strings[-1]}", parser, action


def two_values(action: argparse.Action) -> tuple[list[str], list[str]]:
    """Two different values that the option takes."""
    if action.choices:
        texts = [str(c) for c in action.choices][:2]
    else:
        texts = ["1", "2"]
    n = action.nargs if isinstance(action.nargs, int) else 1
    return [texts[0]] * n, [texts[-1]] * n


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_given_twice_extends_or_is_refused(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    checked = 0
    for name, parser, action in options(verb):
        for other in parser._actions:  # what a command needs besides is another matter
            other.required = False
        for group in parser._mutually_exclusive_groups:
            group.required = False
        needed = ["1" for a in parser._actions if not a.option_strings and a.nargs != "?" and a.nargs != "*"]
        option = action.option_strings[-1]
        once, twice = two_values(action)
        if any(isinstance(a, argparse._SubParsersAction) for a in parser._actions):
            continue
        base = [*needed, option, *once]
        same = parser.parse_args([*base, option, *once])
        if action.nargs in SEVERAL:
            both = getattr(parser.parse_args([*base, option, *twice]), action.dest)
            assert both == [action.type(v) if callable(action.type) else v for v in (*once, *twice)], name
        else:
            assert getattr(same, action.dest) == getattr(parser.parse_args(base), action.dest), name
            if once != twice:
                with pytest.raises(SystemExit) as ended:
                    parser.parse_args([*base, option, *twice])
                assert ended.value.code == 2
                assert "given twice" in capsys.readouterr().err, name
        checked += 1
    assert checked


def test_a_default_is_replaced_and_each_parse_begins_anew() -> None:
    parser = ArgumentParser()
    parser.add_argument("--try", dest="tried", nargs="+", type=int, default=[7])
    group = parser.add_argument_group("a group")
    group.add_argument("--out", type=Path)
    for _ in range(2):
        assert parser.parse_args([]).tried == [7]
        assert parser.parse_args(["--try", "1", "2", "--try", "3"]).tried == [1, 2, 3]
        assert parser.parse_args(["--out", "x", "--out", "./x"]).out == Path("x")


def test_a_refusal_shows_no_raw_escape(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        build_parser("plan").parse_args(["plan", "--hours", "\x1b[2J"])
    assert "\x1b" not in capsys.readouterr().err
