"""An audiofolder of Hugging Face: metadata.csv or metadata.jsonl with a column file_name beside audio files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from asr_kd.core.text_files import lenient_rows
from asr_kd.corpora.audio import SUFFIXES
from asr_kd.corpora.corpus import Recording, Rejected
from asr_kd.corpora.delimited import DelimitedTable
from asr_kd.corpora.foreign_rows import ColumnOptions, Row, RowReader, file_inside
from asr_kd.corpora.named_splits import part_of, split_of_folder
from asr_kd.corpora.walk import files_below

METADATA = ("metadata.csv", "metadata.jsonl")
FILE_NAMES = ("file_name", "audio_file_name")


def audiofolder_rows(root: Path, options: ColumnOptions, language: str) -> tuple[dict[str, list[Row]], list[Rejected]]:
    """The rows of all metadata files below `root` by the split that a folder names (`train`, else the folder's own
    name); and what cannot be used.

    Audio files that no row names are unlabelled recordings, or rejected where the split is not for training.
    """
    splits: dict[str, list[Row]] = {}
    rejected: list[Rejected] = []
    named: set[Path] = set()
    folders: dict[Path, str] = {}
    there = files_below(root)
    for path in (path for path in there if path.name in METADATA):
        folders[path.parent] = split = split_of_folder(path.parent, root)
        for row in _rows(path, root, options, language):
            if isinstance(row, Rejected):
                rejected.append(row)
            elif row.recording.path in named:
                rejected.append(Rejected(row.recording.id, str(row.recording.path), f"{path}: names it a second time"))
            else:
                named.add(row.recording.path or Path())
                splits.setdefault(split, []).append(row)
    suffixes = {suffix.lower() for suffix in SUFFIXES}
    for path in (path for path in there if path.suffix.lower() in suffixes):
        owner = next((folder for folder in path.parents if folder in folders), None)
        if owner is None or path.resolve() in named:
            continue
        name = _id_of(path, root, path.parent)
        if part_of(folders[owner]) in ("dev", "test"):
            rejected.append(Rejected(name, str(path), f"{path}: no row of the metadata names it, so it has no text"))
        else:
            splits.setdefault(folders[owner], []).append(Row(Recording(name, path.resolve())))
    return splits, rejected


def _rows(path: Path, root: Path, options: ColumnOptions, language: str) -> Iterator[Row | Rejected]:
    table: list[tuple[str, dict[str, Any]]] = []
    try:
        for place, entry in _table(path):
            if isinstance(entry, str):
                yield Rejected(f"{path.stem}-{place.rpartition(':')[2]}", str(path), f"{place}: {entry}")
            else:
                table.append((place, entry))
    except ValueError as e:  # what stands before is used
        yield Rejected(path.name, str(path), str(e))
    names = list(dict.fromkeys(name for _, row in table for name in row))
    file_column = next((name for name in FILE_NAMES if name in names), None)
    if file_column is None:
        yield Rejected(path.name, str(path), f"{path}: has no column file_name ({', '.join(names)[:200]})")
        return
    plain = [name for name in names if all(isinstance(r.get(name), str | int | float | bool | None) for _, r in table)]
    schema = pa.schema([(name, pa.string()) for name in plain])
    reader = RowReader(options, language, schema, {}, file_column, str(path), set())
    for place, row in table:
        named = row.get(file_column)
        row_id = f"{path.stem}-{place.rpartition(':')[2]}"
        try:
            if not isinstance(named, str) or not named:
                raise ValueError("names no file")
            file = file_inside(root.absolute(), path.parent.absolute(), named)
        except ValueError as e:
            yield Rejected(row_id, str(named), f"{place}: {e}")
        else:
            values = {name: row.get(name) for name in reader.columns}
            yield reader.row(_id_of(file, root, path.parent), file, values, {})


def _table(path: Path) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """Place and values of each row, or why it cannot be used. ValueError where the file cannot be read on."""
    if path.suffix == ".jsonl":
        yield from lenient_rows(path)
        return
    table = DelimitedTable(path)
    for row in table.rows():
        values = {name: value or None for name, value in zip(table.columns, row.values, strict=False)}
        yield f"{path}:{row.line}", values if row.fault is None else row.fault


def _id_of(path: Path, root: Path, folder: Path) -> str:
    """From the path below `root`. folder: where the file is, or the metadata that names it, perhaps behind a link."""
    path, base = path.resolve(), root.resolve()
    if path.is_relative_to(base):
        inside = path.relative_to(base)
    elif path.is_relative_to(folder.resolve()):
        inside = folder.relative_to(root) / path.relative_to(folder.resolve())
    else:
        inside = Path(path.name)
    return "-".join(inside.parts)
