"""Configs: frozen dataclasses filled from YAML or JSON and `a.b=3` overrides; unknown keys are errors."""

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

from asr_kd.core.locations import PathOrUrl, parse_path_or_url
from asr_kd.core.options import option_of
from asr_kd.core.renames import KEYS, renamed_value
from asr_kd.core.text_files import read_text
from asr_kd.core.yaml_text import parse_yaml

C = TypeVar("C")
LARGEST_INT = 2**63 - 1
SHOWN = 100
"""Characters of a wrong value in a message."""


@runtime_checkable
class DataclassInstance(Protocol):
    """Any dataclass, for a field whose type another field decides."""

    __dataclass_fields__: ClassVar[dict[str, "dataclasses.Field[Any]"]]


def load_config(
    cls: type[C],
    source: str | Path | Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
    values: Mapping[str, Any] | None = None,
    name: str | None = None,
) -> C:
    """Build the dataclass `cls` from a YAML/JSON file or a mapping, then apply overrides such as `optim.lr=0.001`.

    values: of single fields by their paths (`optim.lr`), which go before all others.
    name: of what is not a file, for messages.
    `expand_config(data)` of a dataclass, where it has one, makes its fields of a short form, which `contract_config` of
    `to_dict` makes of them.
    ValueError names the file, the key and, for an unknown key, the nearest known one.
    """
    name = str(source) if isinstance(source, (str, Path)) else name or cls.__name__
    if isinstance(source, (str, Path)):
        data = _read_yaml(Path(source))
    else:
        data = _copy(source or {})
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator:
            raise ValueError(f"{override}: not an override. Write it as key=value, for instance optim.lr=0.001.")
        _assign(data, key.split("."), parse_yaml(value, override), override)
    for key, value in (values or {}).items():
        _assign(data, key.split("."), value, key)
    return _build(cls, data, name, "")


def to_dict(config: Any) -> dict[str, Any]:
    """The config as plain dicts, lists and scalars; `load_config(type(config), to_dict(config)) == config`."""
    plain: dict[str, Any] = _plain(config)
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, DataclassInstance):
        fields = {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        contract = getattr(value, "contract_config", None)
        return fields if contract is None else contract(fields)
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value


def _copy(value: Any) -> Any:
    return {k: _copy(v) for k, v in value.items()} if isinstance(value, Mapping) else value


def _read_yaml(path: Path) -> dict[str, Any]:
    data = parse_yaml(read_text(path), path)
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ValueError(f"{path}: holds a {type(data).__name__}; a config is a mapping of keys to values")
    return data


def _assign(data: dict[str, Any], keys: list[str], value: Any, override: str) -> None:
    for key in keys[:-1]:
        data = data.setdefault(key, {})
        if not isinstance(data, dict):
            raise ValueError(f"{override}: {key} is a plain value, it has no fields")
    data[keys[-1]] = value


def _build(cls: type[C], data: Any, source: str, prefix: str) -> C:
    if not isinstance(data, Mapping):
        raise ValueError(
            f"{source}: {prefix.rstrip('.') or cls.__name__} is {_short(data)}; a mapping of fields is needed"
        )
    if (expand := getattr(cls, "expand_config", None)) is not None:  # short forms, such as the name of a preset
        try:
            data = expand(data)
        except ValueError as e:
            raise ValueError(f"{source}: {e}") from None
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in data:
        if key not in fields:
            renamed = KEYS.get(cls.__name__, {}).get(key)
            near = difflib.get_close_matches(str(key), fields, n=1)
            hint = f" Did you mean {prefix}{near[0]}?" if near else f" Known: {', '.join(sorted(fields))}."
            hint = f" Since version 0.3 it is called {prefix}{renamed}." if renamed else hint
            raise ValueError(f"{source}: unknown key {prefix}{key}.{hint}")
    values = {}
    for key, value in data.items():
        parsed = _parsed(fields[key], value, f"{source}: {prefix}{key}")
        values[key] = _convert(hints[key], parsed, source, prefix + key)
    missing = [name for name, field in fields.items() if name not in values and _is_required(field)]
    if missing:
        raise ValueError(f"{source}: {' and '.join(prefix + name for name in missing)} must be given")
    try:
        return cls(**values)
    except ValueError as e:
        raise ValueError(f"{source}: {e}") from None


def _is_required(field: "dataclasses.Field[Any]") -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _parsed(field: "dataclasses.Field[Any]", value: Any, place: str) -> Any:
    """The value, or each of a list, through the `parse` of the field's option. place: of it, for messages."""
    option = option_of(field)
    if option is None or value is None:
        return value
    if isinstance(value, (list, tuple)):
        return tuple(_parsed(field, v, place) for v in value)
    if option.choices and value not in option.choices:
        known = f"{place} is {_short(value)}; one of {', '.join(option.choices)} is needed"
        raise ValueError(f"{known}{renamed_value(field.name, value)}")
    return value if option.parse is None else option.parse(value)


def _convert(hint: Any, value: Any, source: str, key: str) -> Any:
    """`value` as the type that the field declares, or ValueError."""
    origin = typing.get_origin(hint)
    wrong = ValueError(f"{source}: {key} is {_short(value)}; {_type_name(hint)} is needed")
    if hint is Any:
        return value
    if hint in (PathOrUrl, PathOrUrl | None) and isinstance(value, (str, Path)):
        return parse_path_or_url(value)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in typing.get_args(hint):
            return None
        for option in sorted(typing.get_args(hint), key=lambda o: o is str):
            try:
                return _convert(option, value, source, key)
            except ValueError as e:
                if dataclasses.is_dataclass(option):
                    raise e
        raise wrong
    if dataclasses.is_dataclass(hint):
        return value if isinstance(value, hint) else _build(hint, value, source, key + ".")  # type: ignore[arg-type]
    if origin is typing.Literal:
        if value not in typing.get_args(hint):
            raise ValueError(f"{wrong}{renamed_value(key.rpartition('.')[2], value)}")
        return value
    if origin in (tuple, list):
        if not isinstance(value, (list, tuple)):
            raise wrong
        args = typing.get_args(hint)
        if origin is tuple and not (len(args) == 2 and args[1] is Ellipsis):
            if len(value) != len(args):
                raise wrong
            return tuple(
                _convert(a, v, source, f"{key}[{i}]") for i, (a, v) in enumerate(zip(args, value, strict=True))
            )
        return origin(_convert(args[0], v, source, f"{key}[{i}]") for i, v in enumerate(value))
    if origin is dict:
        if not isinstance(value, Mapping) or not all(isinstance(k, str) for k in value):
            raise wrong
        value_hint = typing.get_args(hint)[1]
        return {k: _convert(value_hint, v, source, f"{key}.{k}") for k, v in value.items()}
    if hint is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            number = float(value)  # YAML reads 1e-3 as text
        except (ValueError, OverflowError):
            raise wrong from None
        if not math.isfinite(number):
            raise wrong
        return number
    if hint is int and isinstance(value, int) and abs(value) > LARGEST_INT:
        raise wrong
    if hint is Path and isinstance(value, (str, Path)):
        return Path(value)
    if isinstance(hint, type) and isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    raise wrong


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _type_name(hint: Any) -> str:
    if typing.get_origin(hint) is typing.Literal:
        return "one of " + ", ".join(map(str, typing.get_args(hint)))
    if hint == DataclassInstance | None:
        return "a mapping of fields"
    return {int: "a whole number", float: "a finite number", str: "text", bool: "true or false"}.get(hint, str(hint))
