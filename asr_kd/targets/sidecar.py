"""Sidecars: what is known frame by frame about a shard, one Parquet file per tar, rows in the shard's order.

The file describes itself: its schema metadata holds JSON under the key `asr_kd`. DuckDB, pandas and pyarrow read it.
Damage is found: the pages have checksums (Parquet's own), the description has the digest of its other keys.
They lie in a local folder or an object store alike.
"""

import hashlib
import io
import json
from pathlib import Path
from typing import Any, overload

import pyarrow
import pyarrow.parquet

from asr_kd import __version__
from asr_kd.core.errors import is_system_error
from asr_kd.core.files import atomic_path, fingerprint
from asr_kd.core.storage import PathOrUrl, join, parse_path_or_url, read_bytes, scan, stem, write_bytes
from asr_kd.core.terminal import shorten
from asr_kd.core.text_files import parse_json
from asr_kd.shards.reader import Shard, ShardKey

SIDECAR_VERSION = 2
_KEY = b"asr_kd"
_WRITTEN: dict[str, Any] = {
    "compression": "zstd",
    "compression_level": 9,
    "write_statistics": False,  # least and largest values of each column would take more room than some columns do
    "write_page_checksum": True,
}
NO_STAT = 1 << 40
"""`stat_every` of a listing whose sizes nobody asks for."""
_TAIL_BYTES = 64 << 10
"""What is read of a remote sidecar for its description alone; a footer is a few kilobytes."""
_WAY_OUT = {
    "inventory": "Give the inventory it was made with, or align (label) again with this one.",
    "teacher": "Label again with this teacher, or point to the folder of its own targets.",
    "kind": "Give a folder of the other kind of targets.",
    "shard": "The tar was written anew since: make its sidecar again.",
}


@overload
def sidecar_path(folder: Path, shard: ShardKey | str | Path) -> Path: ...
@overload
def sidecar_path(folder: str | Path, shard: ShardKey | str | Path) -> PathOrUrl: ...
def sidecar_path(folder: str | Path, shard: ShardKey | str | Path) -> PathOrUrl:
    """Where the sidecar of a shard lies in a folder of sidecars: `folder/<tar stem>.parquet`."""
    return join(folder, f"{stem(shard if isinstance(shard, (str, Path)) else shard.path)}.parquet")


def sidecars_in(folder: PathOrUrl) -> set[str] | None:
    """The tar stems that a folder has sidecars of, by one listing; None where it cannot be listed surely (https)."""
    if isinstance(folder, str) and folder.startswith("http"):
        return None
    return {name.removesuffix(".parquet") for name, _, _ in scan(folder, ".parquet", stat_every=NO_STAT)}


def write_sidecar(path: str | Path, table: pyarrow.Table, description: dict[str, Any]) -> None:
    """Write a sidecar; the rename of the finished file is the commit, in a store the end of its one upload.

    The same table gives the same bytes.

    table: has a string column `id`, one row per row of the shard, in its order.
    description: JSON values; needs `kind` and `shard` (the tar's digest); `version`, `library`, `rows` (the digest of
    the table) and `digest` are added.
    """
    missing = {"kind", "shard"} - description.keys()
    assert not missing, f"{path}: the description lacks {missing}"
    assert "id" in table.column_names, f"{path}: the table lacks the column id"
    full = {**description, "version": SIDECAR_VERSION, "library": f"asr_kd {__version__}", "rows": _digest(table)}
    full["digest"] = fingerprint(full)
    metadata = {**(table.schema.metadata or {}), _KEY: json.dumps(full, sort_keys=True).encode()}
    binary = {field.name for field in table.schema if pyarrow.types.is_binary(field.type)}  # no two values are the same
    dictionary = [name for name in table.column_names if name not in binary] if binary else True
    options = {**_WRITTEN, "use_dictionary": dictionary}
    full_table, where = table.replace_schema_metadata(metadata), parse_path_or_url(path)
    if isinstance(where, Path):
        with atomic_path(where) as temporary:
            pyarrow.parquet.write_table(full_table, temporary, **options)
    else:
        buffer = io.BytesIO()  # about 1 MB an hour of speech
        pyarrow.parquet.write_table(full_table, buffer, **options)
        write_bytes(where, buffer.getvalue())


def _digest(table: pyarrow.Table) -> str:
    """SHA-256 of a table's values, whatever its chunks and its schema's metadata."""
    digest = hashlib.sha256()
    plain = table.replace_schema_metadata(None).combine_chunks()
    with pyarrow.PythonFile(_Into(digest), "w") as sink, pyarrow.ipc.new_stream(sink, plain.schema) as stream:
        stream.write_table(plain)
    return digest.hexdigest()


class _Into(io.RawIOBase):
    """A file whose bytes only go into a digest."""

    def __init__(self, digest: Any) -> None:
        self._into = digest

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._into.update(data)
        return len(data)


def find_description(path: str | Path) -> dict[str, Any] | None:
    """`read_description`, or None when there is no such file; of a remote sidecar one request."""
    try:
        return _description(path, _footer(path, _tail(parse_path_or_url(path))))
    except FileNotFoundError:
        return None


def read_description(path: str | Path) -> dict[str, Any]:
    """The description alone, from the file's footer. ValueError when the file is no sidecar or of a newer version."""
    description = find_description(path)
    if description is None:
        raise ValueError(f"{path}: no such sidecar. Was this shard labelled (or aligned)?")
    return description


def count_rows(path: str | Path) -> int:
    """Rows of a sidecar, from the file's footer. ValueError when the file is no sidecar."""
    footer = _footer(path, _tail(parse_path_or_url(path)))
    _description(path, footer)
    return footer.num_rows


def _tail(where: PathOrUrl) -> Any:
    """What pyarrow reads a footer from; of a remote file its end, which holds the footer and suffices for it."""
    if isinstance(where, Path):
        return where
    tail = read_bytes(where, start=-_TAIL_BYTES)
    footer = int.from_bytes(tail[-8:-4], "little") + 8
    return pyarrow.BufferReader(tail if footer <= len(tail) else read_bytes(where, start=-footer))


def _footer(path: str | Path, source: Any) -> pyarrow.parquet.FileMetaData:
    try:
        return pyarrow.parquet.read_metadata(source)
    except FileNotFoundError:
        raise
    except (pyarrow.ArrowException, OSError) as e:
        if is_system_error(e):
            raise
        raise ValueError(f"{path}: not a readable Parquet file ({_reason(e)}). Delete it and make it again.") from None


def _description(path: str | Path, footer: pyarrow.parquet.FileMetaData) -> dict[str, Any]:
    metadata = footer.schema.to_arrow_schema().metadata or {}
    try:
        description = parse_json(metadata[_KEY], path)
    except (KeyError, ValueError):
        raise ValueError(f"{path}: Parquet, but no sidecar of asr_kd (its schema has no description)") from None
    version = description.get("version") if isinstance(description, dict) else None
    if version != SIDECAR_VERSION:
        raise ValueError(
            f"{path}: sidecar version {version}, this asr_kd reads {SIDECAR_VERSION}. "
            "Make it again, or use the asr_kd that made it."
        )
    if description.pop("digest", None) != fingerprint(description):
        raise ValueError(f"{path}: damaged (the digest of its description is another). Delete it and make it again.")
    return description


def read_sidecar(
    path: str | Path, shard: Shard | None = None, expect: dict[str, Any] | None = None
) -> tuple[pyarrow.Table, dict[str, Any]]:
    """The rows and the description of a sidecar, after checks.

    shard: the rows must be this shard's rows, in order, made from the tar with its digest.
    expect: keys the description must hold with exactly these values, for instance {"inventory": fingerprint}.
    ValueError names the file, both sides of what differs, and the way out.
    """
    where = parse_path_or_url(path)
    try:
        source = where if isinstance(where, Path) else pyarrow.BufferReader(read_bytes(where))
        description = _description(path, _footer(path, source))
    except FileNotFoundError:
        raise ValueError(f"{path}: no such sidecar. Was this shard labelled (or aligned)?") from None
    expected = dict(expect or {})
    if shard is not None:
        expected["shard"] = shard.digest
    for key, wanted in expected.items():
        found = description.get(key)
        if found != wanted:
            way_out = _WAY_OUT.get(key, "Make it again with the same settings.")
            raise ValueError(f"{path}: {key} is {shorten(found)}, here {shorten(wanted)} is expected. {way_out}")
    try:
        with pyarrow.parquet.ParquetFile(source, page_checksum_verification=True) as file:
            table = file.read(use_threads=False)  # a shard is small: threads would cost more than they save
    except (pyarrow.ArrowException, OSError) as e:
        if is_system_error(e):
            raise
        raise ValueError(f"{path}: damaged ({_reason(e)}). Delete it and make it again.") from None
    if shard is not None:
        ids = table.column("id").to_pylist()
        if ids != [entry.id for entry in shard.entries]:
            raise ValueError(
                f"{path}: its {len(ids)} rows are not the {len(shard.entries)} rows of {shard.path}. "
                "Delete it and make it again."
            )
    return table, description


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(".")
