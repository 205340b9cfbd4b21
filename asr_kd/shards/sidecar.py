"""Sidecars: what is known frame by frame about a shard, one Parquet file per tar, rows in the shard's order.

The file describes itself: its schema metadata holds JSON under the key `asr_kd`. DuckDB, pandas and pyarrow read it.
"""

import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from asr_kd import __version__
from asr_kd.core.files import atomic_path
from asr_kd.shards.reader import Shard

SIDECAR_VERSION = 1
_KEY = b"asr_kd"
_WAY_OUT = {
    "inventory": "Give the inventory it was made with, or align (label) again with this one.",
    "teacher": "Label again with this teacher, or point to the folder of its own targets.",
    "kind": "Give a folder of the other kind of targets.",
    "shard": "The tar was written anew since: make its sidecar again.",
}


def sidecar_path(folder: str | Path, shard: Shard | str | Path) -> Path:
    """Where the sidecar of a shard lies in a folder of sidecars: `folder/<tar stem>.parquet`."""
    tar = shard.path if isinstance(shard, Shard) else Path(shard)
    return Path(folder) / f"{tar.stem}.parquet"


def write_sidecar(path: str | Path, table: pyarrow.Table, description: dict[str, Any]) -> None:
    """Write a sidecar; the rename of the finished file is the commit. The same table gives the same bytes.

    table: has a string column `id`, one row per row of the shard, in its order.
    description: JSON values; needs `kind` and `shard` (the tar's digest); `version` and `library` are added.
    """
    missing = {"kind", "shard"} - description.keys()
    assert not missing, f"{path}: the description lacks {missing}"
    assert "id" in table.column_names, f"{path}: the table lacks the column id"
    full = {**description, "version": SIDECAR_VERSION, "library": f"asr_kd {__version__}"}
    metadata = {**(table.schema.metadata or {}), _KEY: json.dumps(full, sort_keys=True).encode()}
    binary = {field.name for field in table.schema if pyarrow.types.is_binary(field.type)}  # no two values are the same
    dictionary = [name for name in table.column_names if name not in binary] if binary else True
    with atomic_path(path) as temporary:
        # Least and largest values of each column would take more room than some columns do.
        pyarrow.parquet.write_table(
            table.replace_schema_metadata(metadata),
            temporary,
            compression="zstd",
            compression_level=9,
            use_dictionary=dictionary,
            write_statistics=False,
            write_page_checksum=True,
        )


def read_description(path: str | Path) -> dict[str, Any]:
    """The description alone, from the file's footer. ValueError when the file is no sidecar or of a newer version."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such sidecar. Was this shard labelled (or aligned)?")
    try:
        metadata = pyarrow.parquet.read_schema(path).metadata or {}
    except (pyarrow.ArrowException, OSError) as e:
        raise ValueError(f"{path}: not a readable Parquet file ({_reason(e)}). Delete it and make it again.") from None
    try:
        description = json.loads(metadata[_KEY])
    except (KeyError, ValueError):
        raise ValueError(f"{path}: Parquet, but no sidecar of asr_kd (its schema has no description)") from None
    version = description.get("version") if isinstance(description, dict) else None
    if version != SIDECAR_VERSION:
        raise ValueError(
            f"{path}: sidecar version {version}, this asr_kd reads {SIDECAR_VERSION}. "
            "Make it again, or use the asr_kd that made it."
        )
    return description


def read_sidecar(
    path: str | Path, shard: Shard | None = None, expect: dict[str, Any] | None = None
) -> tuple[pyarrow.Table, dict[str, Any]]:
    """The rows and the description of a sidecar, after checks.

    shard: the rows must be this shard's rows, in order, made from the tar with its digest.
    expect: keys the description must hold with exactly these values, for instance {"inventory": fingerprint}.
    ValueError names the file, both sides of what differs, and the way out.
    """
    description = read_description(path)
    expected = dict(expect or {})
    if shard is not None:
        expected["shard"] = shard.digest
    for key, wanted in expected.items():
        found = description.get(key)
        if found != wanted:
            way_out = _WAY_OUT.get(key, "Make it again with the same settings.")
            raise ValueError(f"{path}: {key} is {_short(found)}, here {_short(wanted)} is expected. {way_out}")
    try:
        with pyarrow.parquet.ParquetFile(path, page_checksum_verification=True) as file:
            table = file.read(use_threads=False)  # a shard is small: threads would cost more than they save
    except (pyarrow.ArrowException, OSError) as e:
        raise ValueError(f"{path}: damaged ({_reason(e)}). Delete it and make it again.") from None
    if shard is not None:
        ids = table.column("id").to_pylist()
        if ids != [entry.id for entry in shard.entries]:
            raise ValueError(
                f"{path}: its {len(ids)} rows are not the {len(shard.entries)} rows of {shard.path}. "
                "Delete it and make it again."
            )
    return table, description


def _short(value: Any) -> str:
    """A value for a message: digests by their first 12 digits."""
    text = value if isinstance(value, str) else json.dumps(value)
    is_digest = len(text) == 64 and all(c in "0123456789abcdef" for c in text)
    return f"{text[:12]}…" if is_digest else text[:200]


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(".")
