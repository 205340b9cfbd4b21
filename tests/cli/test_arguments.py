"""No option of any command is dropped when it is given twice."""

import argparse
import json
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from asr_kd.cli import all_commands, build_parser, main
from asr_kd.cli.arguments import ArgumentParser
from asr_kd.cli.options import config_fields
from asr_kd.core.config import load_config, to_dict
from asr_kd.core.locations import PathOrUrl

SEVERAL_TYPES = (tuple[Path, ...], tuple[str, ...], tuple[PathOrUrl, ...])
SEVERAL = (argparse.ONE_OR_MORE, argparse.ZERO_OR_MORE)


def parser_of(command: str) -> argparse.ArgumentParser:
    """The parser of a command, with those above it passed."""
    parser = build_parser(command.split())
    for word in command.split():
        (below,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
        parser = below.choices[word]
    return parser


def two_values(action: argparse.Action) -> tuple[list[str], list[str]]:
    """Two different values that the option takes."""
    if action.choices:
        texts = [str(c) for c in action.choices][:2]
    else:
        texts = ["de", "fr"] if action.dest == "language" else ["1", "2"]
    n = action.nargs if isinstance(action.nargs, int) else 1
    return [texts[0]] * n, [texts[-1]] * n


@pytest.mark.parametrize("command", all_commands())
def test_every_option_given_twice_extends_or_is_refused(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = parser_of(command)
    for other in parser._actions:  # what a command needs besides is another matter
        other.required = False
    needed = ["1" for a in parser._actions if not a.option_strings and a.nargs not in ("?", "*")]
    options = [a for a in parser._actions if a.option_strings and a.nargs != 0 and a.dest != "help"]
    for action in options:
        option = action.option_strings[-1]
        once, twice = two_values(action)
        base = [*needed, option, *once]
        same = parser.parse_args([*base, option, *once])
        if action.nargs in SEVERAL:
            both = getattr(parser.parse_args([*base, option, *twice]), action.dest)
            assert both == [action.type(v) if callable(action.type) else v for v in (*once, *twice)], option
        else:
            assert getattr(same, action.dest) == getattr(parser.parse_args(base), action.dest), option
            if once != twice:
                with pytest.raises(SystemExit) as ended:
                    parser.parse_args([*base, option, *twice])
                assert ended.value.code == 2
                assert "given twice" in capsys.readouterr().err, option
    assert options


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


@pytest.mark.parametrize("text", ["nan", "inf", "1e999", "much"])
def test_a_number_that_is_not_finite_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["plan", "--hours", "1", "--rate", text])
    assert f"argument --rate: {text}: a finite number is needed" in capsys.readouterr().err


def test_a_config_file_gives_what_the_command_line_does_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text("hours: 10\nrate: 2\njson: true\n")
    assert main(["plan", "--config", str(file), "--hours", "20"]) == 0
    assert json.loads(capsys.readouterr().out)["hours"] == 20
    file.write_text("rate: 2\n")
    assert main(["plan", "--config", str(file)]) == 2
    assert capsys.readouterr().err == f"asr-kd plan: {file}: hours must be given\n"


def test_a_command_notes_its_config_and_takes_it_back(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("one two\nthree\n")
    first, second = tmp_path / "first", tmp_path / "second"
    assert main(["tokens", str(text), "--type", "characters", "--out", str(first)]) == 0
    assert main(["tokens", "--config", str(first / "config.yaml"), "--out", str(second)]) == 0
    assert (first / "inventory.json").read_bytes() == (second / "inventory.json").read_bytes()
    noted = (second / "config.yaml").read_text()
    assert noted == (first / "config.yaml").read_text().replace(str(first), str(second))


def test_every_config_is_written_and_read_back_as_it_was(tmp_path: Path) -> None:
    for name, entry in all_commands().items():
        config, *_ = entry.load()
        needed = {f.path: ["x"] if f.type in SEVERAL_TYPES else "x" for f in config_fields(config) if f.is_required}
        numbers = {path: 1 for path in ("hours",) if path in needed}
        kinds = {"type": "characters"} if "type" in needed else {}
        kinds |= {"to": "kaldi"} if "to" in needed else {}
        built = load_config(config, needed | numbers | kinds)
        file = tmp_path / f"{name}.yaml"
        file.write_text(yaml.safe_dump(to_dict(built), sort_keys=False))
        assert load_config(config, file) == built, name


def test_the_help_shows_each_field_of_the_config_with_its_default_and_text(capsys: pytest.CaptureFixture[str]) -> None:
    for command, entry in all_commands().items():
        others = [field.path for field in config_fields(entry.load()[0]) if field.option is None]
        lines = pairwise([*lines_of_help(command, capsys), ""])
        shown = {line.split()[0]: below for line, below in lines if line.startswith("  ") and "default:" in line}
        for path in others:
            if not path.startswith("labelled_augment."):  # as those of augment
                assert shown[path].startswith("      "), f"{command}: {path} has no text below it"
    main_help = "\n".join(lines_of_help("distill", capsys))
    assert "model.num_layers (default: 3)" in main_help, "the default is that of the preset"
    assert "train.optim.decay (linear, cosine, newbob; default: linear)" in main_help
    assert "labelled_augment: " in main_help and "fields and defaults as augment\n" in main_help


def lines_of_help(command: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What `asr-kd COMMAND --help` prints."""
    with pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    return capsys.readouterr().out.splitlines()
