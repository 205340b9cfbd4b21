"""A Hugging Face data set: data/SPLIT-00000-of-00001.parquet with the audio inside, for datasets.load_dataset(OUT)."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from asr_kd.convert.audio import WHOLE_S, audio_bytes, is_file
from asr_kd.convert.items import Item
from asr_kd.core.files import atomic_path
from asr_kd.core.progress import SECONDS_PER_HOUR, Progress
from asr_kd.corpora.audio import audio_seconds
from asr_kd.corpora.corpus import Rejected
from asr_kd.corpora.manifest import Utterance
from asr_kd.shards.writer import tar_key

SPLITS = {"labelled": "train", "dev": "validation"}
"""What parts are called there."""
FILE_S = 4 * SECONDS_PER_HOUR
"""Audio of one file, at most: about 300 MB of FLAC."""
ROWS_PER_GROUP = 100
"""Rows that are read at a time: about 10 MB."""
KEPT = (".flac", ".wav", ".mp3", ".ogg", ".opus")
"""Whole files of these kinds stay as they are."""
COLUMNS = ("id", "audio", "text", "speaker", "duration")
INT64 = range(-(2**63), 2**63)
_TYPES = {"bool": pa.bool_(), "int64": pa.int64(), "float64": pa.float64(), "string": pa.string()}


def split_name(part: str) -> str:
    """What a part is called there."""
    return SPLITS.get(part) or re.sub(r"\W", "_", part)


def write_split(
    folder: Path, name: str, items: Sequence[Item], reencode: bool, jobs: int
) -> tuple[int, list[Rejected]]:
    """Write the files of a part into `folder`; returns the number of rows, and what could not be read.

    reencode: write 16 kHz mono FLAC also where an utterance is a whole file that data sets may hold.  The files appear
    when all are complete; those of an earlier run stay until then.
    """
    split = split_name(name)
    kinds = _meta_kinds(item.utterance for item in items)
    schema = _schema(kinds)
    files = list(_by_length(items))
    rejected: list[Rejected] = []
    rows = 0
    paths = [folder / f"{split}-{number:05d}-of-{len(files):05d}.parquet" for number in range(len(files))]
    with (
        ExitStack() as complete,
        ThreadPoolExecutor(jobs) as pool,
        Progress(f"audio {name}", sum(item.utterance.duration for item in items)) as progress,
    ):
        for path, own in zip(paths, files, strict=True):
            temporary = complete.enter_context(atomic_path(path))
            with pq.ParquetWriter(temporary, schema) as writer:
                for start in range(0, len(own), ROWS_PER_GROUP):
                    group = own[start : start + ROWS_PER_GROUP]
                    found = list(pool.map(lambda item: _row(item, kinds, reencode), group))
                    rejected += [row for row in found if isinstance(row, Rejected)]
                    good = [row for row in found if isinstance(row, dict)]
                    if good:
                        writer.write_table(pa.Table.from_pylist(good, schema))
                    rows += len(good)
                    progress.update(sum(item.utterance.duration for item in group))
    for old in folder.glob(f"{split}-[0-9]*-of-[0-9]*.parquet"):
        if old not in paths:
            old.unlink()
    return rows, rejected


def _row(item: Item, kinds: Mapping[str, str], reencode: bool) -> dict[str, Any] | Rejected:
    u = item.utterance
    try:
        data, suffix = _file_bytes(item, reencode)
    except ValueError as e:
        return Rejected(u.id, u.audio_filepath, str(e))
    row = {
        "id": u.id,
        "audio": {"bytes": data, "path": f"{tar_key(u.id)}{suffix}"},
        "text": u.text,
        "speaker": u.speaker,
        "duration": u.duration,
    }
    return row | {key: _value(u.meta.get(key), kind) for key, kind in kinds.items()}


def _file_bytes(item: Item, reencode: bool) -> tuple[bytes, str]:
    u = item.utterance
    path = Path(u.audio_filepath)
    is_kept = item.place is None and not reencode and path.suffix.lower() in KEPT and is_file(u.audio_filepath)
    if is_kept and u.offset == 0 and abs(audio_seconds(path) - u.duration) < WHOLE_S:
        return path.read_bytes(), path.suffix.lower()
    return audio_bytes(item), ".flac"


def _by_length(items: Sequence[Item]) -> Iterator[list[Item]]:
    own: list[Item] = []
    seconds = 0.0
    for item in items:
        if own and seconds + item.utterance.duration > FILE_S:
            yield own
            own, seconds = [], 0.0
        own.append(item)
        seconds += item.utterance.duration
    if own:
        yield own


def _meta_kinds(utterances: Iterable[Utterance]) -> dict[str, str]:
    """Keys of `meta` and the type of their values: text where types differ or an integer is beyond 64 bits,
    JSON where values are not single."""
    seen: dict[str, set[type]] = {}
    too_large: set[str] = set()
    for u in utterances:
        for key, value in u.meta.items():
            if key not in COLUMNS and value is not None:
                seen.setdefault(key, set()).add(type(value))
                if isinstance(value, int) and value not in INT64:
                    too_large.add(key)
    kinds = {}
    for key, types in seen.items():
        single = {bool: "bool", int: "int64", float: "float64"}
        numbers = "float64" if types == {int, float} else "string"
        kinds[key] = single.get(next(iter(types)), "string") if len(types) == 1 else numbers
        if key in too_large:
            kinds[key] = "string"
    return kinds


def _value(value: Any, kind: str) -> Any:
    if value is None or (kind != "string" and not isinstance(value, bool | int | float)):
        return None
    if kind == "string":
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return float(value) if kind == "float64" else value


def _schema(kinds: Mapping[str, str]) -> pa.Schema:
    """Columns, and what `datasets` wants to know of them."""
    plain = {"id": "string", "text": "string", "speaker": "string", "duration": "float64", **kinds}
    features: dict[str, Any] = {name: {"dtype": kind, "_type": "Value"} for name, kind in plain.items()}
    order = [*COLUMNS, *kinds]
    features = {name: features.get(name, {"_type": "Audio"}) for name in order}
    audio = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    fields = [pa.field(name, audio if name == "audio" else _TYPES[plain[name]]) for name in order]
    return pa.schema(fields, {b"huggingface": json.dumps({"info": {"features": features}}).encode()})
