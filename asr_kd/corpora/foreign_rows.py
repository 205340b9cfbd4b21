"""Rows of tables that others made: which column is the text, the speaker, the id; the rest is `meta`."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from asr_kd.core.files import resolve_inside
from asr_kd.core.options import option
from asr_kd.core.terminal import say
from asr_kd.corpora.corpus import Recording
from asr_kd.corpora.folder import normalised
from asr_kd.corpora.languages import LANG, language_of

TEXT_COLUMNS = (
    *("text", "sentence", "transcription", "transcript", "normalized_text", "normalised_text"),
    *("raw_transcription", "raw_text", "transcripts"),
)
SPEAKER_COLUMNS = ("speaker_id", "speaker", "client_id", "spk_id", "spk", "speaker_name", "user_id")
ID_COLUMNS = ("id", "utt_id", "utterance_id", "uid", "key", "segment_id")
"""Names that are looked for, in this order, in lower case."""


@dataclass(frozen=True, kw_only=True)
class ColumnOptions:
    """Of readers of tables."""

    text_column: str | None = option(f"column of the transcript (default: one of {', '.join(TEXT_COLUMNS[:6])})", None)
    speaker_column: str | None = option(
        f"column of the speaker, or `none` (default: one of {', '.join(SPEAKER_COLUMNS[:4])})", None
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
    columns: list[str] = field(init=False)
    """Those of single values."""

    def __post_init__(self) -> None:
        self.columns = [f.name for f in self.schema if f.name != self.audio and _is_single(f.type)]
        self._text = chosen(self.columns, self.options.text_column, TEXT_COLUMNS, "--text-column", self.where)
        speaker = self.options.speaker_column
        none = speaker == "none"
        self._speaker = None if none else chosen(self.columns, speaker, SPEAKER_COLUMNS, "--speaker-column", self.where)
        self._id = chosen(self.columns, None, ID_COLUMNS, "", self.where)
        self._classes = {name: _class_names(self.features.get(name)) for name in self.columns}
        if self._text is None:
            columns = ", ".join(self.columns)[:200]
            say(f"{self.where}: no column of text ({columns}): unlabelled. --text-column names one.")

    def row(self, row_id: str, path: Path, values: Mapping[str, Any], about: Mapping[str, Any]) -> Row:
        """One row. about: what goes to `meta` beside its columns."""
        told = {name: self._value(name, value) for name, value in values.items()}
        text, speaker, own = (told.pop(name or "", None) for name in (self._text, self._speaker, self._id))
        own = None if own is None else str(own).strip() or None
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


def chosen(columns: Sequence[str], asked: str | None, known: Sequence[str], option_name: str, where: str) -> str | None:
    """The column that was asked for, or the first that is known by its name. ValueError when `asked` is not there."""
    if asked is not None:
        if asked not in columns:
            raise ValueError(f"{where}: {option_name} {asked}: no such column; there are {', '.join(columns)[:200]}")
        return asked
    lower = {name.lower(): name for name in reversed(columns)}
    return next((lower[name] for name in known if name in lower), None)


def file_inside(root: Path, folder: Path, name: str) -> Path:
    """The file that data in `folder` calls `name`, below it or `root`. ValueError where it is not there or leads out of
    `root`."""
    if "://" in name:
        raise ValueError(f"{name[:200]} is no file of the data set")
    for base in (folder, root):
        path = resolve_inside(root, str(base / name))
        if path.is_file():
            return path
    raise ValueError(f"{name[:200]} is not there")


def _is_single(kind: pa.DataType) -> bool:
    types = pa.types
    plain = types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)
    return plain or types.is_string(kind) or types.is_large_string(kind)


def _class_names(feature: Any) -> list[str]:
    names = feature.get("names") if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" else None
    return [str(name) for name in names] if isinstance(names, list) else []
