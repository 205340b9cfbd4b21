"""Short clips as files in memory, and what holds them: tars, Parquet as `datasets` writes it, Arrow streams."""

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

RATE = 16000


def clip(number: int, seconds: float = 0.5, kind: str = "FLAC") -> bytes:
    """A tone whose pitch tells its number, as an audio file in memory."""
    buffer = io.BytesIO()
    times_N = np.arange(round(seconds * RATE)) / RATE
    soundfile.write(buffer, 0.3 * np.sin(2 * np.pi * (200 + 50 * number) * times_N), RATE, format=kind)
    return buffer.getvalue()


def samples(data: bytes) -> np.ndarray:
    """What is in an audio file in memory: (N,) float32."""
    return soundfile.read(io.BytesIO(data), dtype="float32")[0]


def write_tar(path: Path, members: Mapping[str, bytes]) -> Path:
    """An uncompressed tar."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def audio_rows(clips: Sequence[bytes | None], columns: Mapping[str, Sequence[Any]], audio: str = "audio") -> pa.Table:
    """A table as `datasets` makes it: struct<bytes, path>, and its note of the features in the schema."""
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    values = [{"bytes": data, "path": f"{i}.flac"} for i, data in enumerate(clips)]
    table = pa.table({audio: pa.array(values, kind), **{name: pa.array(v) for name, v in columns.items()}})
    features: dict[str, Any] = {audio: {"sampling_rate": RATE, "_type": "Audio"}}
    note = {"info": {"features": features | {n: {"dtype": "string", "_type": "Value"} for n in columns}}}
    return table.replace_schema_metadata({"huggingface": json.dumps(note)})


def write_parquet(path: Path, table: pa.Table, rows: int = 4) -> Path:
    """A Parquet file with groups of `rows` rows, uncompressed as `datasets` writes audio."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=rows, compression="none", use_dictionary=False)
    return path


def write_stream(path: Path, table: pa.Table, rows: int = 4) -> Path:
    """An Arrow stream, as `datasets` writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.OSFile(str(path), "wb") as f, pa.ipc.new_stream(f, table.schema) as writer:
        writer.write_table(table, max_chunksize=rows)
    return path
