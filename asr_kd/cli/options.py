"""A parser of the command line from the dataclass of a command's config, and the config from what was given."""

import argparse
import dataclasses
import math
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from asr_kd.cli.field_docs import describe_fields
from asr_kd.core.config import load_config
from asr_kd.core.locations import PathOrUrl, parse_path_or_url
from asr_kd.core.options import Option, option_of


@dataclasses.dataclass(frozen=True)
class ConfigField:
    """A field of a config, or of a config inside it."""

    path: str
    """`train.seed`"""
    type: Any
    default: Any
    option: Option | None

    @property
    def is_required(self) -> bool:
        """It has no default."""
        return self.default is dataclasses.MISSING


def config_fields(config: type, prefix: str = "") -> Iterator[ConfigField]:
    """All fields of a dataclass in order, those of nested dataclasses in the place of the field that holds them."""
    hints = typing.get_type_hints(config)
    for field in dataclasses.fields(config):
        hint, option = hints[field.name], option_of(field)
        if option is None and dataclasses.is_dataclass(hint):
            yield from config_fields(typing.cast(type, hint), f"{prefix}{field.name}.")
        else:
            has_factory = field.default_factory is not dataclasses.MISSING
            default = None if has_factory else field.default  # no option has a factory
            yield ConfigField(prefix + field.name, hint, default, option)


def add_options(parser: argparse.ArgumentParser, config: type, needs_all: bool = True) -> None:
    """Give `parser` the options of a config's fields, and --config and --set.

    needs_all: fields without a default must be on the command line; else they may be in the file of --config.
    """
    fields = sorted(config_fields(config), key=_place_in_help)
    for field in fields:
        if field.option is not None:
            _add(parser, field, field.option, needs_all and field.is_required)
    parser.add_argument(
        "--config",
        type=Path,
        default=argparse.SUPPRESS,
        metavar="YAML",
        help="YAML file with options (`top_k: 20`) and other fields of the config, such as the config.yaml "
        "that commands "
        "write to --out; options on the command line override it",
    )
    if any(field.option is None for field in fields):
        parser.add_argument(
            "--set",
            nargs="+",
            default=argparse.SUPPRESS,
            metavar="KEY=VALUE",
            help="set fields of the config, listed below; values are YAML",
        )
        parser.epilog = describe_fields(config)


def _place_in_help(field: ConfigField) -> tuple[bool, bool]:
    """What must be given, then a command's own options, then those of many commands."""
    return not field.is_required, field.option is not None and field.option.is_shared


def read_options(config: type, given: argparse.Namespace) -> Any:
    """The config by the file of --config, then --set, then the options. ValueError as for `load_config`."""
    known = {field.path for field in config_fields(config) if field.option is not None}
    values = {path: value for path, value in vars(given).items() if path in known}
    return load_config(config, getattr(given, "config", None), getattr(given, "set", ()), values, "options")


def _add(parser: argparse.ArgumentParser, field: ConfigField, option: Option, required: bool) -> None:
    kind, is_tuple = _value_type(field.type)
    name = field.path.rpartition(".")[2]
    if kind is bool:
        flag: dict[str, Any] = {"action": "store_true"}
        if option.instead_of is not None:
            flag = {"action": _InsteadOf, "const": option.instead_of, "nargs": 0}
        parser.add_argument(_flag(name), dest=field.path, default=argparse.SUPPRESS, help=option.help, **flag)
        return
    values: dict[str, Any] = {"default": argparse.SUPPRESS, "help": _help(option, field.default)}
    choices = tuple(option.choices or ()) or (
        typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else None
    )
    if choices:
        values["choices"] = choices
    else:
        values |= {"type": _parser_of(kind, option), "metavar": option.metavar or name.upper()}
    if option.is_positional:
        values["nargs"] = ("+" if required else "*") if is_tuple else (None if required else "?")
        parser.add_argument(field.path, **values)
    else:
        if is_tuple:
            values["nargs"] = "*" if field.default and not required else "+"  # a default of several may be emptied
        parser.add_argument(_flag(name), dest=field.path, required=required, **values)


class _InsteadOf(argparse.Action):
    """A flag with which the positional argument `const`, of several values, need not be given."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        setattr(namespace, self.dest, True)
        if not hasattr(namespace, self.const):
            setattr(namespace, self.const, ())
        for action in parser._actions:
            action.required = action.required and action.dest != self.const


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _value_type(hint: Any) -> tuple[Any, bool]:
    """Type of one value, and whether there may be several: `tuple[Path, ...] | None` gives Path, True."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
        if len(kinds) > 1:
            return PathOrUrl, False
        hint = kinds[0]
    if typing.get_origin(hint) is tuple:
        return typing.get_args(hint)[0], True
    return hint, False


def _parser_of(kind: Any, option: Option) -> Callable[[str], Any]:
    parsers: dict[Any, Callable[[str], Any]] = {
        int: int,
        float: _finite,
        str: str,
        Path: Path,
        PathOrUrl: parse_path_or_url,
    }
    parse = option.parse or parsers.get(kind)
    assert parse is not None, f"an option of type {kind} needs parse="
    if parse is kind:
        return typing.cast(Callable[[str], Any], parse)

    def read(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as e:  # argparse shows the message of its own errors only
            raise argparse.ArgumentTypeError(str(e)) from None

    return read


def _finite(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{text}: a finite number is needed")
    return value


def _help(option: Option, default: Any) -> str:
    shown = option.help.replace("%", "%%")
    if default in (dataclasses.MISSING, None, (), "") or "(default" in shown:
        return shown
    values = default if isinstance(default, tuple) else (default,)
    return f"{shown} (default: {' '.join(f'{v:g}' if isinstance(v, float) else str(v) for v in values)})"
