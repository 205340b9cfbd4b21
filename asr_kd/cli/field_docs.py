"""The fields of a config that are no options, with their defaults and docs, as the end of a command's help."""

import ast
import dataclasses
import inspect
import textwrap
import typing
from collections.abc import Iterator
from functools import cache
from typing import Any

from asr_kd.core.options import option_of

WIDTH = 120


def describe_fields(config: type) -> str:
    """A block for each config inside `config`, then its own fields."""
    blocks: dict[Any, str] = {}
    own: list[str] = []
    _describe(config, None, "", blocks, own)
    text = "Fields of the config besides the options, for --set KEY=VALUE and the file of --config:\n"
    return "\n\n".join([text, *blocks.values(), *(["\n".join(own)] if own else [])]).replace("\n\n\n", "\n\n")


def _describe(config: type, instance: Any, prefix: str, blocks: dict[Any, str], lines: list[str]) -> None:
    hints, docs = typing.get_type_hints(config), dict(_field_docs(config))
    for field in dataclasses.fields(config):
        if option_of(field) is not None:
            continue
        path, hint = prefix + field.name, hints[field.name]
        default = getattr(instance, field.name) if instance is not None else _default(field)
        if not dataclasses.is_dataclass(hint):
            lines += [f"  {path} ({_choices(hint)}default: {_shown(default)})", *_wrapped(docs.get(field.name, ""))]
            continue
        key = (hint, repr(default))
        title = f"{path}: {docs.get(field.name) or inspect.getdoc(hint)}"
        if key in blocks:
            blocks[path] = f"{textwrap.fill(title, WIDTH)}\n  fields and defaults as {blocks[key].partition(':')[0]}"
            continue
        inside: list[str] = []
        blocks[key] = f"{path}: "  # before those inside it
        _describe(typing.cast(type, hint), default, f"{path}.", blocks, inside)
        blocks[key] = "\n".join([textwrap.fill(" ".join(title.split()), WIDTH), *inside])


def _choices(hint: Any) -> str:
    return f"{', '.join(map(str, typing.get_args(hint)))}; " if typing.get_origin(hint) is typing.Literal else ""


def _default(field: "dataclasses.Field[Any]") -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _shown(default: Any) -> str:
    if default is None or isinstance(default, bool):
        return {None: "null", True: "true", False: "false"}[default]
    if isinstance(default, (tuple, list)):
        return f"[{', '.join(map(_shown, default))}]"
    return f"{default:g}" if isinstance(default, float) else str(default)


def _wrapped(doc: str) -> list[str]:
    return textwrap.wrap(doc, WIDTH, initial_indent="      ", subsequent_indent="      ")


def _field_docs(config: type) -> Iterator[tuple[str, str]]:
    """Each field's name and the string below it, those of base classes too."""
    for cls in reversed(config.__mro__):
        if dataclasses.is_dataclass(cls):
            yield from _docs_of_module(inspect.getsourcefile(cls) or "").get(cls.__name__, {}).items()


@cache
def _docs_of_module(path: str) -> dict[str, dict[str, str]]:
    with open(path, encoding="utf-8") as file:
        classes = [node for node in ast.parse(file.read()).body if isinstance(node, ast.ClassDef)]
    return {
        node.name: {
            before.target.id: " ".join(after.value.value.split())
            for before, after in zip(node.body, node.body[1:], strict=False)
            if isinstance(before, ast.AnnAssign)
            and isinstance(before.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
            and isinstance(after.value.value, str)
        }
        for node in classes
    }
