"""A Hugging Face data set on disk: a folder of Parquet files as downloaded from the hub, an Arrow folder that
`datasets` wrote with save_to_disk, or an audiofolder (metadata.csv or metadata.jsonl beside audio files).

Splits become parts by their names: train is labelled (unlabelled where a row has no text), validation is dev, test is
test. Audio stays where it is: the manifests name it as FILE.parquet::ROW, and `asr-kd shard` reads it there. The
package `datasets` is not needed.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from asr_kd.core.commands import command
from asr_kd.core.options import argument, option
from asr_kd.corpora.audiofolder import audiofolder_rows
from asr_kd.corpora.containers.audio_columns import AudioColumn, features_of
from asr_kd.corpora.containers.names import SEPARATOR
from asr_kd.corpora.containers.tables import AudioTable, audio_table, column_called
from asr_kd.corpora.corpus import Corpus, Recording, Rejected
from asr_kd.corpora.foreign_rows import ColumnOptions, Row, RowReader, file_inside, say_once
from asr_kd.corpora.huggingface_files import DataFile, data_files
from asr_kd.corpora.named_splits import NamedSplitOptions, corpus_of_splits
from asr_kd.corpora.prepare import prepare


@dataclass(frozen=True, kw_only=True)
class HuggingFaceRun(NamedSplitOptions, ColumnOptions):
    """What `asr-kd prepare huggingface` is given."""

    root: Path = argument("folder of the data set, or one Parquet or Arrow file", metavar="ROOT")
    audio_column: str | None = option("column of the audio (default: the first that holds audio)", None)


@command()
def prepare_huggingface(config: HuggingFaceRun) -> None:
    """Write the manifests of a Hugging Face data set on disk."""
    config.check_shares()
    prepare(config, config.root, lambda: read_huggingface(config))


def read_huggingface(config: HuggingFaceRun) -> Corpus:
    """The data set in parts; columns of single values are in `meta`. ValueError when there is none."""
    files, rejected = data_files(config.root)
    splits: dict[str, list[Row]] = {}
    said: set[str] = set()
    for file in files:
        try:
            rows = list(_rows(file, config, said))
        except ValueError as e:
            rejected.append(Rejected(file.path.name, str(file.path), str(e)))
            continue
        rejected += [row for row in rows if isinstance(row, Rejected)]
        splits.setdefault(file.split, []).extend(row for row in rows if isinstance(row, Row))
    more, bad = audiofolder_rows(config.root, config, config.language)
    rejected += bad
    for name, found in more.items():
        splits.setdefault(name, []).extend(found)
    if not splits and not rejected:
        raise ValueError(
            f"{config.root}: holds no Parquet file, no Arrow file and no metadata.csv or metadata.jsonl. "
            "`asr-kd prepare folder` reads audio files with text beside them."
        )
    return corpus_of_splits(named_by_id(splits), config, rejected)


def named_by_id(splits: dict[str, list[Row]]) -> dict[str, list[Recording]]:
    """The recordings of rows, called by their own ids where each row has one and no other has the same."""
    times = Counter(row.own_id for rows in splits.values() for row in rows)
    unique = bool(times) and None not in times and max(times.values()) == 1
    return {
        name: [replace(row.recording, id=row.own_id) if unique and row.own_id else row.recording for row in rows]
        for name, rows in splits.items()
    }


def _rows(file: DataFile, config: HuggingFaceRun, said: set[str]) -> Iterator[Row | Rejected]:
    """Every row of a file; those that hold no audio and name no file of the data set are rejected."""
    table = audio_table(file.path)
    column = column_called(table, config.audio_column)
    where, features = str(file.path), features_of(table.schema, file.path)
    reader = RowReader(config, config.language, table.schema, features, column.name, where, said)
    if len(table.audio) > 1 and config.audio_column is None:
        others = ", ".join(c.name for c in table.audio if c.name != column.name)
        say_once(said, where, f"audio is taken from {column.name}, not from {others}. --audio-column chooses.")
    prefix = "-".join(file.path.relative_to(_base(config.root)).with_suffix("").parts)
    subset = {} if file.subset is None else {"subset": file.subset}
    member = "" if column == column_called(table) else f"{column.name}/"
    wanted = [*reader.columns, *([column.path] if column.path else [])]
    for group, start in enumerate(table.starts[:-1]):
        size = table.starts[group + 1] - start
        values = table.read(group, wanted).to_pydict() if wanted else {}
        named = [_named_file(name, file, config) for name in values[column.path]] if column.path else [None] * size
        without = _rows_without_bytes(table, group, column) if any(isinstance(n, Path) for n in named) else set()
        for i in range(size):
            row_id = f"{prefix}-{start + i}"
            path: Path | str | None = Path(f"{file.path}{SEPARATOR}{member}{start + i}")
            if column.data is None or i in without:
                path = named[i]
            if isinstance(path, Path):
                yield reader.row(row_id, path, {name: values[name][i] for name in reader.columns}, subset)
            else:
                place = f"{file.path}{SEPARATOR}{start + i}"
                yield Rejected(row_id, place, f"{place}: {path or 'the row names no file'}")


def _rows_without_bytes(table: AudioTable, group: int, column: AudioColumn) -> set[int]:
    return set() if column.data is None else table.null_rows(group, column.data)


def _named_file(named: Any, file: DataFile, config: HuggingFaceRun) -> Path | str | None:
    """The file that a row names, if it lies in the data set; else why it is not taken."""
    if not named:
        return None
    try:
        return file_inside(_base(config.root), file.path.parent, str(named))
    except ValueError as e:
        return str(e)


def _base(root: Path) -> Path:
    return root.absolute() if root.is_dir() else root.absolute().parent
