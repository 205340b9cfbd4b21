"""Reading the file `catalogue.parquet` (`catalogue_writer` says what it holds), and how it names shards."""

import posixpath
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.compute
import pyarrow.parquet

from asr_kd.core.errors import is_system_error
from asr_kd.core.files import fingerprint
from asr_kd.core.storage import PathOrUrl, basename, dirname, download, parse_path_or_url, version
from asr_kd.core.text_files import parse_json
from asr_kd.shards.catalogue_writer import CATALOGUE_NAME, CATALOGUE_VERSION, HERE, KEY, SCHEMA, CatalogueRow
from asr_kd.shards.reader import shard_order
from asr_kd.shards.remote import cache_folder

GROUPS_KEPT = 8
"""Groups of shards whose lengths stay in memory."""
_PATH = r"^(/|[a-z0-9]+://)?([^/]+/)*[^/]*\.tar$"
_LEADS_OUT = r"(^|/)\.\.?/"


class CatalogueFile:
    """An open catalogue. All columns but `lengths` are in memory; the file stays open, so that it stays as it is."""

    def __init__(self, where: PathOrUrl, content: bytes | None = None) -> None:
        """content: of a catalogue that is in memory alone, as if it lay there.

        FileNotFoundError when there is none, ValueError when it is damaged, of a newer version, or leads out.
        """
        self.where, self._content = parse_path_or_url(where), content
        self.folder = dirname(self.where)
        self.written_ns = 0
        """When it was written; 0 in a store."""
        if content is not None:
            source: Any = pyarrow.BufferReader(content)
        elif isinstance(self.where, Path):
            source, self.written_ns = self.where, self.where.stat().st_mtime_ns
        else:
            source = _local_copy(self.where)
        with self._reading():
            self._file = pyarrow.parquet.ParquetFile(source, page_checksum_verification=True)
        self.description = self._describe()
        with self._reading():
            names = [name for name in SCHEMA.names if name != "lengths"]
            table = self._file.read(columns=names, use_threads=False).combine_chunks()
        self.paths, self.digests = table.column("path"), table.column("digest")
        self.utterances_N, self.seconds_N, self.bytes_N = (
            table.column(name).to_numpy() for name in ("utterances", "seconds", "bytes")
        )
        groups = (self._file.metadata.row_group(n).num_rows for n in range(self._file.num_row_groups))
        self._starts_G = np.concatenate([[0], np.cumsum(list(groups), dtype=np.int64)])
        self._kept: OrderedDict[int, pyarrow.ListArray] = OrderedDict()
        self._check_paths()

    def __len__(self) -> int:
        return len(self.utterances_N)

    def locate(self, stored: str) -> PathOrUrl:
        """Where a stored path leads: a shard's or a folder's."""
        if "://" in stored:
            return parse_path_or_url(stored)
        if isinstance(self.folder, Path):
            return self.folder / stored
        return self.folder if stored == HERE else f"{self.folder}/{stored}"

    def folders(self) -> set[str]:
        """Where its shards lie, as it names them."""
        ways = pyarrow.compute.unique(pyarrow.compute.replace_substring_regex(self.paths, r"[^/]*$", ""))
        return {posixpath.dirname(f"{way}x") or HERE for way in ways.to_pylist()}

    def sort_keys(self) -> Iterator[str]:
        """What the shards are sorted by (`shard_order`)."""
        base = shard_order(self.folder / "x")[:-1] if isinstance(self.folder, Path) else None
        for path in self.paths.to_pylist():
            if base is None or path.startswith("/") or "://" in path:
                yield shard_order(self.locate(path))
            else:  # the same, without a million Path objects
                yield base + path.replace("/", "\0")

    def lengths(self, row: int) -> np.ndarray:
        """Seconds of each utterance of a shard, (n,) float64. Neighbours are read with it and the last few kept."""
        group = int(np.searchsorted(self._starts_G, row, "right")) - 1
        if group not in self._kept:
            with self._reading():
                column = self._file.read_row_group(group, columns=["lengths"], use_threads=False).column("lengths")
            self._kept[group] = column.combine_chunks()
            if len(self._kept) > GROUPS_KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(group)
        lists, place = self._kept[group], row - int(self._starts_G[group])
        start, end = lists.offsets[place].as_py(), lists.offsets[place + 1].as_py()
        if end - start != self.utterances_N[row]:
            raise self._damaged(f"{end - start} lengths of {self.utterances_N[row]} utterances of {self.paths[row]}")
        return lists.values.slice(start, end - start).to_numpy().copy()

    def row(self, row: int) -> CatalogueRow:
        """All that is known of a shard."""
        size, seconds = int(self.bytes_N[row]), float(self.seconds_N[row])
        return CatalogueRow(self.paths[row].as_py(), size, self.digests[row].as_py(), seconds, self.lengths(row))

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process opens it anew."""
        return CatalogueFile, (self.where, self._content)

    def _describe(self) -> dict[str, Any]:
        """The description, checked."""
        schema = self._file.schema_arrow
        try:
            found = parse_json((schema.metadata or {})[KEY], self.where)
            kind, number = found.get("kind"), found.get("version")
        except (KeyError, ValueError, AttributeError):
            raise ValueError(f"{self.where}: Parquet, but no catalogue of asr_kd (it has no description)") from None
        if kind != "catalogue":
            raise ValueError(f"{self.where}: no catalogue, but a sidecar of {kind}. Give a folder of shards.")
        if number != CATALOGUE_VERSION:
            raise ValueError(
                f"{self.where}: catalogue version {number}, this asr_kd reads {CATALOGUE_VERSION}. "
                "Make it again with `asr-kd catalogue`, or use the asr_kd that made it."
            )
        if found.pop("digest", None) != fingerprint(found):
            raise self._damaged("the digest of its description is another")
        folders, skipped = found.get("folders"), found.get("skipped")
        if not isinstance(folders, list) or not isinstance(skipped, dict) or any(map(_leads_out, folders)):
            raise self._damaged("its description is not as it was written")
        if not schema.equals(SCHEMA):
            raise self._damaged("its columns are others")
        return found

    def _check_paths(self) -> None:
        """ValueError for a path that is none of a tar or leads out of the catalogue's folder by `..`."""
        match = pyarrow.compute.match_substring_regex
        fine = pyarrow.compute.and_not(match(self.paths, _PATH), match(self.paths, _LEADS_OUT))
        if isinstance(self.folder, str):  # files of this machine are none of a store's business
            fine = pyarrow.compute.and_not(fine, pyarrow.compute.starts_with(self.paths, "/"))
        if not pyarrow.compute.all(fine).as_py() and len(self):
            wrong = self.paths.filter(pyarrow.compute.invert(fine))[0].as_py()
            raise ValueError(f"{self.where}: lists {wrong!r}, which is no tar in its folder nor one by its full path")

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except (pyarrow.ArrowException, OSError) as e:
            if is_system_error(e):
                raise
            raise self._damaged(" ".join(str(e).split())[:200].rstrip(".")) from None

    def _damaged(self, reason: str) -> ValueError:
        return ValueError(f"{self.where}: damaged ({reason}). Delete it and make it again with `asr-kd catalogue`.")


def _leads_out(folder: Any) -> bool:
    return not isinstance(folder, str) or ".." in folder.split("/")


def is_catalogue(where: PathOrUrl) -> bool:
    """Whether a Parquet file is a catalogue: by what it says of itself, in a store by its name."""
    if not isinstance(where, Path):
        return basename(where) == CATALOGUE_NAME
    try:
        metadata = pyarrow.parquet.read_schema(where).metadata or {}
    except (pyarrow.ArrowException, OSError):
        return False
    return b'"kind": "catalogue"' in metadata.get(KEY, b"")


def stored_path(folder: PathOrUrl, where: PathOrUrl) -> str:
    """How a catalogue in `folder` names a tar or a folder: below it by the way to it, elsewhere in full."""
    try:
        str(where).encode()
    except UnicodeEncodeError:
        raise ValueError(f"{where}: its name is not UTF-8, so no catalogue can hold it. Rename it.") from None
    if isinstance(where, Path) and isinstance(folder, Path):
        full, base = _absolute(where), _absolute(folder)
        return str(full.relative_to(base)) if full.is_relative_to(base) else str(full)
    if isinstance(where, Path):
        raise ValueError(f"{where}: lies on this machine, the catalogue in {folder}. Upload it, or give another --out.")
    if where == folder:
        return HERE
    return where.removeprefix(f"{folder}/")


def _absolute(path: Path) -> Path:
    return path.resolve() if ".." in path.parts else path.absolute()


def _local_copy(url: str) -> Path:
    """A remote catalogue on this machine, fetched anew when it has changed."""
    folder = cache_folder() / "catalogues" / version(url)
    copy = folder / basename(url)
    return copy if copy.is_file() else download(url, folder)
