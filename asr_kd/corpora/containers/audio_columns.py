"""Which columns of a table hold audio: as `datasets` notes in the schema, or by their shape."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from asr_kd.core.text_files import parse_json

NOTE = b"huggingface"
"""Key of the schema's metadata under which `datasets` describes the columns."""
NAMES = ("audio", "speech", "wav", "flac", "mp3", "sound", "audio_bytes")
"""What a column of bare bytes is called, where nothing else says that it is audio."""


@dataclass(frozen=True)
class AudioColumn:
    """A column that holds audio files, or names them."""

    name: str
    data: str | None
    """Where the bytes are, as `audio.bytes`; None where the column only names files."""
    path: str | None
    """Where the name of the file is."""
    rate: str | None = None
    """Where the sampling rate is, in Hz; then `data` holds samples and no file, as decoded data sets do."""


def features_of(schema: pa.Schema, where: Path) -> dict[str, Any]:
    """What `datasets` noted of each column: {"_type": "Audio", ...}; empty where it noted nothing that can be read."""
    note = (schema.metadata or {}).get(NOTE)
    if note is None:
        return {}
    try:
        features = parse_json(note, where)["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return features if isinstance(features, dict) else {}


def audio_columns(schema: pa.Schema, where: Path) -> list[AudioColumn]:
    """The columns of audio, those that `datasets` calls so first. where: the file, for errors."""
    features = features_of(schema, where)
    noted = [name for name in schema.names if _type_of(features.get(name)) == "Audio"]
    structs = [f.name for f in schema if _is_audio_struct(f.type) or _is_decoded(f.type)]
    bare = [name for name in NAMES if name in schema.names and _is_bytes(schema.field(name).type)]
    columns = [_column(schema, name) for name in dict.fromkeys([*noted, *structs, *([] if structs else bare)])]
    return [column for column in columns if column is not None]


def _column(schema: pa.Schema, name: str) -> AudioColumn | None:
    kind = schema.field(name).type
    if _is_decoded(kind):
        return AudioColumn(name, f"{name}.array", None, f"{name}.sampling_rate")
    if pa.types.is_struct(kind):
        data = f"{name}.bytes" if kind.get_field_index("bytes") >= 0 and _is_bytes(kind.field("bytes").type) else None
        path = f"{name}.path" if kind.get_field_index("path") >= 0 and is_text(kind.field("path").type) else None
        return AudioColumn(name, data, path) if data or path else None
    if _is_bytes(kind):
        return AudioColumn(name, name, None)
    return AudioColumn(name, None, name) if is_text(kind) else None


def _type_of(feature: Any) -> str | None:
    return feature.get("_type") if isinstance(feature, dict) else None


def _is_audio_struct(kind: pa.DataType) -> bool:
    return (
        pa.types.is_struct(kind) and {f.name for f in kind} == {"bytes", "path"} and _is_bytes(kind.field("bytes").type)
    )


def _is_decoded(kind: pa.DataType) -> bool:
    fields = {field.name: field.type for field in kind} if pa.types.is_struct(kind) else {}
    array, rate = fields.get("array"), fields.get("sampling_rate")
    if array is None or rate is None or not (pa.types.is_list(array) or pa.types.is_large_list(array)):
        return False
    return bool(pa.types.is_floating(array.value_type) and pa.types.is_integer(rate))


def _is_bytes(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)


def is_text(kind: pa.DataType) -> bool:
    """Whether a column holds text, also as a dictionary of its words."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
