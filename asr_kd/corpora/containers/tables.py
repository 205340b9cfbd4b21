"""Rows of Parquet and Arrow files that hold audio: read group by group, never a whole file in memory.

A Parquet file is read by row group: a group's audio is in memory while a thread reads rows of it, and threads share it.
An Arrow file is mapped into memory; the system reads what is looked at.
"""

import io
import os
import re
import threading
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc
import pyarrow.parquet as pq
import soundfile

from asr_kd.corpora.audio_file import check_bounds
from asr_kd.corpora.containers.audio_columns import AudioColumn, audio_columns
from asr_kd.corpora.containers.kept import Kept, Once

FILES_KEPT = 32
"""Files whose groups are known."""
READ_BYTES = 1 << 20
"""Of a compressed column that are in memory while it is read."""
_MEMBER = re.compile(r"(?:(?P<column>.+)/)?(?P<row>[0-9]{1,12})", re.DOTALL)


class AudioTable(ABC):
    """A file of rows in groups."""

    def __init__(self, path: Path, schema: pa.Schema, sizes: Sequence[int]) -> None:
        """sizes: rows of each group."""
        self.path, self.schema = path, schema
        with errors_of(path):
            self.audio = audio_columns(schema, path)
        self.identity = object()
        self.starts = [0, *accumulate(sizes)]
        """First row of each group, and the number of rows."""

    def read(self, group: int, columns: Sequence[str]) -> pa.Table:
        """Columns of a group; of a struct, single fields as `audio.bytes`. ValueError when they are damaged."""
        with errors_of(self.path):
            table = self._read(group, columns)
            table.validate(full=True)
        if len(table) != self.starts[group + 1] - self.starts[group]:
            raise ValueError(f"{self.path}: damaged: group {group} has {len(table)} rows, not those of its description")
        return table

    def null_rows(self, group: int, column: str) -> set[int]:
        """Rows of a group, from 0, whose value is null."""
        values = self.read(group, [column])[column]
        return set(pc.indices_nonzero(values.is_null()).to_pylist()) if values.null_count else set()

    @abstractmethod
    def _read(self, group: int, columns: Sequence[str]) -> pa.Table:
        """The columns of a group, as they are in the file."""


class ParquetTable(AudioTable):
    """A Parquet file."""

    def __init__(self, path: Path) -> None:
        """ValueError when it is damaged."""
        with errors_of(path):
            with pq.ParquetFile(path) as file:
                self._metadata, schema = file.metadata, file.schema_arrow
            groups = [self._metadata.row_group(i) for i in range(self._metadata.num_row_groups)]
            sizes = [group.num_rows for group in groups]
        if min(sizes, default=0) < 0 or sum(sizes) != self._metadata.num_rows:
            raise ValueError(f"{path}: damaged: its groups have {sum(sizes)} rows, the file {self._metadata.num_rows}")
        super().__init__(path, schema, sizes)

    def _read(self, group: int, columns: Sequence[str]) -> pa.Table:
        with pq.ParquetFile(self.path, metadata=self._metadata, buffer_size=READ_BYTES, pre_buffer=False) as file:
            table = _chosen(file.read_row_group(group, columns=list(columns), use_threads=False), columns)
        for name, count in self._nulls(group, columns).items():  # one too many moves the values after it to other rows
            if table[name].null_count != count:
                raise ValueError(f"{self.path}: damaged: {name} has {table[name].null_count} nulls, not {count}")
        return table

    def _nulls(self, group: int, names: Sequence[str]) -> dict[str, int]:
        """The number of nulls of columns that were read, where the file's description says it.

        Of others it is not asked: where their description is damaged, pyarrow ends the process.
        """
        about, schema = self._metadata.row_group(group), self._metadata.schema
        places = {schema.column(i).path: i for i in range(len(schema))}
        columns = {name: about.column(places[name]) for name in names if name in places}
        notes = {
            name: column.statistics
            for name, column in columns.items()
            if column.physical_type == schema.column(places[name]).physical_type
        }
        return {name: note.null_count for name, note in notes.items() if note is not None and note.has_null_count}


class ArrowTable(AudioTable):
    """An Arrow file or stream (`datasets` writes streams), mapped into memory."""

    def __init__(self, path: Path) -> None:
        """ValueError when it is damaged, or a compressed stream."""
        with errors_of(path):
            self._source = pa.memory_map(str(path))
            is_file = self._source.read(6) == b"ARROW1"
            self._source.seek(0)
            self._get: Callable[[int], pa.RecordBatch]
            if is_file:
                file = pa.ipc.open_file(self._source)
                self._get = file.get_batch
                schema, sizes = file.schema, [file.get_batch(i).num_rows for i in range(file.num_record_batches)]
            else:
                schema, batches = _stream_batches(self._source, path)
                self._get = batches.__getitem__
                sizes = [batch.num_rows for batch in batches]
        super().__init__(path, schema, sizes)

    def _read(self, group: int, columns: Sequence[str]) -> pa.Table:
        return _chosen(pa.Table.from_batches([self._get(group)]), columns)


def _chosen(table: pa.Table, columns: Sequence[str]) -> pa.Table:
    """Columns by name, fields of structs as columns: null where the struct is."""
    chosen = {}
    for name in columns:
        column, _, inner = (name, "", "") if name in table.column_names else name.partition(".")
        values = table[column]
        if inner:
            place = values.type.get_field_index(inner)
            values = pa.chunked_array([c.flatten()[place] for c in values.chunks], values.type.field(place).type)
        chosen[name] = values
    return pa.table(chosen)


def _stream_batches(source: pa.MemoryMappedFile, path: Path) -> tuple[pa.Schema, list[pa.RecordBatch]]:
    """All batches, which take no memory but that of the map."""
    pool = pa.proxy_memory_pool(pa.default_memory_pool())
    reader = pa.ipc.open_stream(source, memory_pool=pool)
    batches = []
    for batch in reader:
        batches.append(batch)
        if pool.bytes_allocated() > READ_BYTES:
            raise ValueError(
                f"{path}: a compressed Arrow stream has no random access. Write it as Parquet, or without compression."
            )
    return reader.schema, batches


_tables: Kept[AudioTable] = Kept(FILES_KEPT)


def audio_table(path: Path) -> AudioTable:
    """The table in a file, kept for the next call. ValueError when it is damaged."""
    state = os.stat(path)
    kind = ParquetTable if path.suffix.lower() == ".parquet" else ArrowTable
    return _tables.get((path, state.st_size, state.st_mtime_ns), lambda: kind(path))


class _Group:
    """The audio of a group, once it is read."""

    def __init__(self, key: tuple[Any, ...]) -> None:
        self.key = key
        self.table: Once[pa.Table] = Once()


_groups: WeakValueDictionary[tuple[Any, ...], _Group] = WeakValueDictionary()
_groups_lock = threading.Lock()
_last = threading.local()
"""Of each thread, the group that it read last: it stays in memory for the next row."""


def _group(key: tuple[Any, ...]) -> _Group:
    held: _Group | None = getattr(_last, "group", None)
    if held is not None and held.key == key:
        return held
    _last.group = held = None  # it goes before another comes
    with _groups_lock:
        group = _groups.get(key)
        if group is None:
            _groups[key] = group = _Group(key)
    _last.group = group
    return group


def opened_row(path: Path, member: str) -> io.BytesIO:
    """The audio file in a row, `ROW` or `COLUMN/ROW`. ValueError when there is none."""
    name = f"{path}::{member}"
    found = _MEMBER.fullmatch(member)
    if found is None:
        raise ValueError(f"{name}: {member[:40]!r} names no row; ROW or COLUMN/ROW is needed, counted from 0")
    table, row = audio_table(path), int(found["row"])
    column = column_called(table, found["column"])
    if row >= table.starts[-1]:
        raise ValueError(f"{name}: the file has {table.starts[-1]} rows")
    if column.data is None:
        raise ValueError(f"{name}: column {column.name} names audio files, it does not hold them")
    group = bisect_right(table.starts, row) - 1
    wanted = [column.data, *([column.rate] if column.rate else [])]
    values = _group((table.identity, *wanted, group)).table.get(lambda: table.read(group, wanted))
    data, *rate = (values[name][row - table.starts[group]] for name in wanted)
    if rate and data.is_valid and len(data) and rate[0].is_valid:
        return _as_file(data.values.to_numpy(zero_copy_only=False), rate[0].as_py(), name)
    if rate or not data.is_valid or not len(data.as_py()):
        raise ValueError(f"{name}: the row holds no audio{_named_instead(table, column, group, row)}")
    return io.BytesIO(data.as_py())


def _as_file(wave_N: np.ndarray, rate: int, name: str) -> io.BytesIO:
    """(N,) samples as a WAV file of floats."""
    check_bounds(name, rate, 1)
    file = io.BytesIO()
    soundfile.write(file, np.asarray(wave_N, dtype=np.float32), rate, format="WAV", subtype="FLOAT")
    file.seek(0)
    return file


def _named_instead(table: AudioTable, column: AudioColumn, group: int, row: int) -> str:
    """What else a row without audio says, for the message."""
    named = table.read(group, [column.path])[column.path][row - table.starts[group]].as_py() if column.path else None
    return f", it names {str(named)[:200]!r}, which is no file in the data set's folder" if named else ""


def column_called(table: AudioTable, name: str | None = None) -> AudioColumn:
    """The column of audio called `name`, or the first. ValueError when there is none."""
    chosen = table.audio if name is None else [column for column in table.audio if column.name == name]
    if not chosen:
        wanted = "column of audio" if name is None else f"column {name} with audio"
        raise ValueError(f"{table.path}: has no {wanted} (columns: {', '.join(table.schema.names)[:200]})")
    return chosen[0]


@contextmanager
def errors_of(path: Path) -> Iterator[None]:
    """What Arrow says of damaged content as a ValueError that names the file."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeError, OverflowError, KeyError, IndexError, TypeError) as e:
        is_content = not isinstance(e, OSError) or e.errno is None
        if isinstance(e, MemoryError) or not is_content:
            raise
        reason = " ".join(str(e).split())[:200]
        kind = "Parquet" if path.suffix.lower() == ".parquet" else "Arrow"
        raise ValueError(f"{path}: damaged, or no {kind} file ({reason}). Fetch it again.") from None
