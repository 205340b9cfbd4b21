"""Writing `catalogue.parquet`: a row for each shard of a corpus, so that nothing that starts opens every index.

Columns: path, utterances, seconds, bytes, digest (SHA-256 of the tar), lengths (seconds of each utterance, in the
shard's order). Paths are those below the catalogue's folder; shards that lie elsewhere have an absolute path or a URL.
The schema metadata holds JSON under the key `asr_kd`. The same shards give the same bytes.
"""

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

from asr_kd import __version__
from asr_kd.core.files import atomic_path, fingerprint
from asr_kd.core.storage import PathOrUrl, parse_path_or_url, write_bytes
from asr_kd.shards.reader import Shard

CATALOGUE_NAME = "catalogue.parquet"
CATALOGUE_VERSION = 1
SHARDS_PER_GROUP = 1024
"""Shards whose lengths are read at a time."""
HERE = "."
"""The catalogue's own folder, among folders that it lists."""
KEY = b"asr_kd"
SCHEMA = pyarrow.schema(
    [
        pyarrow.field(name, kind, nullable=False)
        for name, kind in (
            ("path", pyarrow.string()),
            ("utterances", pyarrow.int32()),
            ("seconds", pyarrow.float64()),
            ("bytes", pyarrow.int64()),
            ("digest", pyarrow.string()),
            ("lengths", pyarrow.list_(pyarrow.field("element", pyarrow.float64(), nullable=False))),
        )
    ]
)
_WRITTEN: dict[str, Any] = {
    "compression": "zstd",
    "compression_level": 9,
    "write_statistics": False,
    "write_page_checksum": True,
    "dictionary_pagesize_limit": 8 << 20,  # lengths recur: 1.5 to 5 bytes each, split into byte streams 4.5 to 6.5
}


@dataclass(frozen=True)
class CatalogueRow:
    """A shard in a catalogue."""

    path: str
    bytes: int
    """Of the tar."""
    digest: str
    seconds: float
    lengths_N: Sequence[float] | np.ndarray
    """Seconds of each utterance, in the shard's order."""

    @classmethod
    def of(cls, shard: Shard, path: str) -> "CatalogueRow":
        """The row of an open shard."""
        return cls(path, shard.bytes, shard.digest, shard.seconds, [entry.seconds for entry in shard.entries])


def write_catalogue(
    where: PathOrUrl,
    rows: Iterable[CatalogueRow],
    folders: Sequence[str],
    skipped: Mapping[str, int | None] | None = None,
) -> None:
    """Write a catalogue; it appears whole or not at all.

    rows: sorted as `find_shards` sorts.  folders: those whose tars are all listed, as `stored_path` gives them; the
    catalogue does not fit once they hold others.  skipped: tars in them that cannot be used, and their bytes.
    """
    where = parse_path_or_url(where)
    if isinstance(where, Path):
        with atomic_path(where) as temporary:
            _write(temporary, rows, folders, skipped or {})
    else:
        write_bytes(where, catalogue_bytes(rows, folders, skipped))


def catalogue_bytes(
    rows: Iterable[CatalogueRow], folders: Sequence[str], skipped: Mapping[str, int | None] | None = None
) -> bytes:
    """What `write_catalogue` writes."""
    buffer = io.BytesIO()
    _write(buffer, rows, folders, skipped or {})
    return buffer.getvalue()


def _write(
    target: Any, rows: Iterable[CatalogueRow], folders: Sequence[str], skipped: Mapping[str, int | None]
) -> None:
    description = {
        "kind": "catalogue",
        "version": CATALOGUE_VERSION,
        "library": f"asr_kd {__version__}",
        "folders": sorted(folders),
        "skipped": dict(sorted(skipped.items())),
    }
    description["digest"] = fingerprint(description)
    schema = SCHEMA.with_metadata({KEY: json.dumps(description, sort_keys=True).encode()})
    left = iter(rows)
    with pyarrow.parquet.ParquetWriter(target, schema, **_WRITTEN) as writer:
        while group := list(islice(left, SHARDS_PER_GROUP)):
            writer.write_table(_table(group, schema))


def _table(rows: Sequence[CatalogueRow], schema: pyarrow.Schema) -> pyarrow.Table:
    counts_N = np.array([len(row.lengths_N) for row in rows], np.int32)
    offsets_N = np.concatenate([np.zeros(1, np.int32), np.cumsum(counts_N, dtype=np.int32)])
    values_N = np.concatenate([np.asarray(row.lengths_N, np.float64) for row in rows])
    lengths = pyarrow.ListArray.from_arrays(offsets_N, values_N, type=schema.field("lengths").type)
    columns = [[getattr(row, name) for row in rows] for name in ("path", "seconds", "bytes", "digest")]
    return pyarrow.table([columns[0], counts_N, *columns[1:], lengths], schema=schema)
