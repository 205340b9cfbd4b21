"""Rows of tables that others made: which column is the text, the speaker, the id; the rest is `meta`."""

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from asr_kd.core.files import resolve_inside
from asr_kd.core.options import option
from asr_kd.core.terminal import say
from asr_kd.corpora.containers.audio_columns import is_text
from asr_kd.corpora.corpus import Recording
from asr_kd.corpora.folder import normalised
from asr_kd.corpora.languages import LANG, language_code, language_of
from asr_kd.corpora.table import NAMES, NONE
from asr_kd.corpora.walk import is_file


@dataclass(frozen=True, kw_only=True)
class ColumnOptions:
    """Of readers of tables."""

    text_column: str | None = option("column of the transcript, or none (default: guess)", None, metavar="NAME")
    speaker_column: str | None = option("column of the speaker, or none (default: guess)", None, metavar="NAME")
    language_column: str | None = option(
        "column of the language's code, or none (default: guess)", None, metavar="NAME"
    )


@dataclass(frozen=True)
class Row:
    """A recording as a table tells of it."""

    recording: Recording
    own_id: str | None = None
    """What the table calls it."""


@dataclass
class RowReader:
    """What the columns of one table mean."""

    options: ColumnOptions
    language: str
    schema: pa.Schema
    features: Mapping[str, Any]
    """What `datasets` notes of the columns: names of classes."""
    audio: str
    """The column of the audio."""
    where: str
    """The file, for errors."""
    said: set[str]
    """What was said of files before: it is not said of each."""
    columns: list[str] = field(init=False)
    """Those of single values."""

    def __post_init__(self) -> None:
        self.columns = [f.name for f in self.schema if f.name != self.audio and _is_single(f.type)]
        self._text = self._column("text", self.options.text_column)
        self._speaker = self._column("speaker", self.options.speaker_column)
        self._language = self._column("language", self.options.language_column)
        self._id = self._column("id", None)
        self._classes = {name: _class_names(self.features.get(name)) for name in self.columns}
        if self._text is None:
            columns = ", ".join(self.columns)[:200]
            say_once(self.said, self.where, f"no column of text ({columns}): unlabelled. --text-column names one.")

    def _column(self, role: str, asked: str | None) -> str | None:
        """The column that was asked for, or the first with a usual name. ValueError when `asked` is not there."""
        if asked == NONE:
            return None
        if asked is not None and asked not in self.columns:
            listed = ", ".join(self.columns)[:200]
            raise ValueError(f"{self.where}: --{role}-column {asked}: the columns of single values are {listed}")
        lower = {name.lower(): name for name in reversed(self.columns)}
        return asked or next((lower[name] for name in NAMES[role] if name in lower), None)

    def row(self, row_id: str, path: Path, values: Mapping[str, Any], about: Mapping[str, Any]) -> Row:
        """One row. about: what goes to `meta` beside its columns."""
        told = {name: self._value(name, value) for name, value in values.items()}
        text, speaker, own = (told.pop(name or "", None) for name in (self._text, self._speaker, self._id))
        own = None if own is None else str(own).strip() or None
        if isinstance(code := told.get(self._language or ""), str):
            with suppress(ValueError):  # a word for it, which stays what it is
                told[LANG] = language_code(code)
        meta = known_language({**about, **{name: value for name, value in told.items() if value is not None}})
        return Row(
            Recording(
                row_id,
                path,
                normalised(None if text is None else str(text), meta.get(LANG, self.language)),
                None if speaker is None else str(speaker),
                meta if own is None else meta | {"source_id": own},
            ),
            own,
        )

    def _value(self, name: str, value: Any) -> Any:
        names = self._classes[name]
        if names and isinstance(value, int) and 0 <= value < len(names):
            return names[value]
        return None if isinstance(value, float) and not math.isfinite(value) else value


def say_once(said: set[str], where: str, message: str) -> None:
    """Say it of the first file that it is true of."""
    if message not in said:
        said.add(message)
        say(f"{where}: {message}")


def known_language(meta: Mapping[str, Any]) -> dict[str, Any]:
    """`meta`, whose `lang` is a code as asr_kd writes it; one that is none is called `source_lang`."""
    if LANG not in meta:
        return dict(meta)
    try:
        return {**meta, LANG: language_of(meta)}
    except ValueError:
        return {("source_lang" if key == LANG else key): value for key, value in meta.items()}


def plain_values(values: Any) -> dict[str, Any]:
    """What of a JSON object goes to `meta`: single values."""
    items = values.items() if isinstance(values, dict) else ()
    return known_language({key: value for key, value in items if isinstance(value, str | int | float | bool)})


def file_inside(root: Path, folder: Path, name: str) -> Path:
    """The file that data in `folder` calls `name`, below it or `root`. ValueError where it is not there or leads out of
    `root`; where a link led to `folder`, out of that."""
    if "://" in name:
        raise ValueError(f"{name[:200]} is no file of the data set")
    if not folder.resolve().is_relative_to(root.resolve()):
        root = folder
    for base in (folder, root):
        path = resolve_inside(root, str(base / name))
        if is_file(path):
            return path
    raise ValueError(f"{name[:200]} is not there")


def _is_single(kind: pa.DataType) -> bool:
    types = pa.types
    plain = types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)
    return plain or is_text(kind)


def _class_names(feature: Any) -> list[str]:
    names = feature.get("names") if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" else None
    return [str(name) for name in names] if isinstance(names, list) else []
