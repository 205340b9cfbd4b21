"""Prints what a file is and what it holds: manifest (.jsonl), shard (.tar), sidecar or catalogue (.parquet), checkpoint
(.safetensors), or a folder of shards or sidecars; all but manifests and checkpoints also in an object store (s3://,
gs://, https://)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from asr_kd.core.commands import command
from asr_kd.core.options import argument, option
from asr_kd.core.progress import SECONDS_PER_HOUR
from asr_kd.core.storage import PathOrUrl, file_sizes, join, list_files, parallel_map, parse_path_or_url, size
from asr_kd.core.terminal import show
from asr_kd.core.text_files import parse_json, read_rows
from asr_kd.corpora.corpus import REJECTED
from asr_kd.corpora.manifest import Utterance, read_manifest
from asr_kd.shards.catalogue_file import CatalogueFile, is_catalogue
from asr_kd.shards.catalogue_writer import CATALOGUE_NAME
from asr_kd.shards.index import Entry
from asr_kd.shards.reader import find_shards, open_shard
from asr_kd.shards.remote import scratch_dir
from asr_kd.targets.sidecar import count_rows, read_description, read_sidecar

CHECKPOINT_KEY = "asr_kd"
"""Key of the JSON description in a checkpoint's header."""
CHECKPOINT_NAME = "model.safetensors"
MAX_VALUE = 100
"""Longest value shown of a row in plain text."""


@dataclass(frozen=True, kw_only=True)
class InspectRun:
    """What `asr-kd inspect` is given."""

    paths: tuple[PathOrUrl, ...] = argument(
        "files, folders or URLs; the file name's ending says what it is", metavar="PATH"
    )
    rows: int = option("rows to show, from the first", 3, metavar="N")
    verify: bool = option("shards: read every tar and check its digest", False)
    json: bool = option("print one JSON object per path", False)


@command()
def inspect_paths(config: InspectRun) -> None:
    """Print what each path holds."""
    for path in config.paths:
        found = {"path": str(path), **inspect(path, config.rows, config.verify)}
        show(*([json.dumps(found, ensure_ascii=False)] if config.json else _plain(found)))


def inspect(path: PathOrUrl, rows: int = 3, verify: bool = False) -> dict[str, Any]:
    """What a path holds, as JSON values: `kind`, counts, hours, description, first rows.

    verify: compare the digest of every shard with its index. ValueError when the path is none of ours, or damaged.
    """
    path = parse_path_or_url(path)
    if isinstance(path, str):
        return _remote(path, rows, verify)
    if not path.exists():
        raise ValueError(f"{path}: no such file or folder")
    if path.is_dir():
        return _folder(path, rows, verify)
    if path.name == REJECTED:
        found = [row for _, row in read_rows(path)]
        return {"kind": "rejected", "count": len(found), "rows": found[:rows]}
    readers = {".jsonl": _manifest, ".parquet": _parquet, ".safetensors": _checkpoint}
    if path.suffix == ".tar":
        return _shards([path], rows, verify)
    if path.suffix in readers:
        return readers[path.suffix](path, rows)
    raise ValueError(
        f"{path}: not a manifest (.jsonl), shard (.tar), sidecar or catalogue (.parquet) or checkpoint (.safetensors)"
    )


def _remote(url: str, rows: int, verify: bool) -> dict[str, Any]:
    if url.endswith((".jsonl", ".safetensors")):
        raise ValueError(f"{url}: only shards, sidecars and catalogues are read from a store. Copy it here first.")
    if url.endswith(".parquet"):
        return _parquet(url, rows)
    return _shards([url], rows, verify) if url.endswith(".tar") else _folder(url, rows, verify)


def _folder(path: PathOrUrl, rows: int, verify: bool) -> dict[str, Any]:
    if isinstance(path, Path) and (path / CHECKPOINT_NAME).is_file():
        return _checkpoint(path / CHECKPOINT_NAME, rows)
    sidecars = list_files(path, ".parquet")
    if (own := join(path, CATALOGUE_NAME)) in sidecars and is_catalogue(own):  # beside its shards
        sidecars.remove(own)
    if sidecars:
        found = _sidecar(sidecars[0], rows)
        descriptions = list(parallel_map(read_description, sidecars, isinstance(path, str)))
        count = sum(parallel_map(count_rows, sidecars, isinstance(path, str)))
        sizes = sum(n for file, n in file_sizes(path, ".parquet").items() if file in sidecars)
        totals = {"kind": "sidecars", "files": len(sidecars), "count": count, "bytes": sizes}
        return {**found, **totals, **_density(descriptions, sizes)}
    return _shards(find_shards(path), rows, verify)


def _manifest(path: Path, rows: int) -> dict[str, Any]:
    utterances = list(read_manifest(path))
    return {
        "kind": "manifest",
        **_speech(utterances),
        "rows": [parse_json(u.to_json(), path) for u in utterances[:rows]],
    }


def _shards(tars: Sequence[PathOrUrl], rows: int, verify: bool) -> dict[str, Any]:
    entries: list[Entry] = []
    for tar in tars:
        shard = open_shard(tar, scratch_dir())
        entries += shard.entries
        if verify:
            try:
                shard.check()
            finally:
                shard.discard()
    places = ("audio_offset", "audio_size", "json_offset", "json_size")
    first = [{k: v for k, v in vars(entry).items() if k not in places} for entry in entries[:rows]]
    found = {"kind": "shard" if len(tars) == 1 else "shards", "files": len(tars), **_speech(entries)}
    if len(tars) == 1:
        found["digest"] = shard.digest
    return found | ({"verified": True} if verify else {}) | {"rows": first}


def _speech(items: list[Utterance] | list[Entry]) -> dict[str, Any]:
    seconds = sum(item.duration if isinstance(item, Utterance) else item.seconds for item in items)
    return {
        "count": len(items),
        "hours": round(seconds / SECONDS_PER_HOUR, 4),
        "speakers": len({item.speaker for item in items if item.speaker is not None}),
        "with_text": sum(item.text is not None for item in items),
    }


def _parquet(path: PathOrUrl, rows: int) -> dict[str, Any]:
    return _catalogue(path, rows) if is_catalogue(path) else _sidecar(path, rows)


def _catalogue(path: PathOrUrl, rows: int) -> dict[str, Any]:
    file = CatalogueFile(path)
    fields = ("path", "bytes", "digest", "seconds")
    return {
        "kind": "catalogue",
        "shards": len(file),
        "count": int(file.utterances_N.sum(dtype=int)),
        "hours": round(float(file.seconds_N.sum()) / SECONDS_PER_HOUR, 4),
        "tar_bytes": int(file.bytes_N.sum()),
        "description": file.description,
        "rows": [
            {name: getattr(row, name) for name in fields} | {"utterances": len(row.lengths_N)}
            for row in map(file.row, range(min(rows, len(file))))
        ],
    }


def _sidecar(path: PathOrUrl, rows: int) -> dict[str, Any]:
    table, description = read_sidecar(path)
    return {
        "kind": f"sidecar of {description['kind']}",
        "count": table.num_rows,
        "bytes": size(path),
        **_density([description], size(path)),
        "columns": {column.name: str(column.type) for column in table.schema},
        "description": description,
        "rows": [{k: _brief(v) for k, v in row.items()} for row in table.slice(0, rows).to_pylist()],
    }


def _density(descriptions: list[dict[str, Any]], size: int) -> dict[str, Any]:
    """Of soft targets, as far as their descriptions say: what they hold of each frame, and in how many bytes."""
    keys = ("seconds", "frames", "classes_kept", "mass_kept")
    whole = [d for d in descriptions if all(isinstance(d.get(key), int | float) for key in keys)]
    frames, seconds = sum(d["frames"] for d in whole), sum(d["seconds"] for d in whole)
    if len(whole) < len(descriptions) or not frames or not seconds:
        return {}
    return {
        "format": ", ".join(sorted({str(d.get("format")) for d in descriptions})),
        "hours": round(seconds / SECONDS_PER_HOUR, 4),
        "mb_per_hour": round(size / 1e6 / (seconds / SECONDS_PER_HOUR), 4),
        "bytes_per_frame": round(size / frames, 3),
        "classes_per_frame": round(sum(d["classes_kept"] for d in whole) / frames, 3),
        "mass_kept": round(sum(d["mass_kept"] * d["frames"] for d in whole) / frames, 6),
    }


def _checkpoint(path: Path, rows: int) -> dict[str, Any]:
    """Reads the header alone, so a checkpoint of any size answers at once."""
    try:
        with safe_open(str(path), framework="numpy") as f:
            metadata = f.metadata() or {}
            shapes = {name: list(f.get_slice(name).get_shape()) for name in f.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError) as e:
        raise ValueError(f"{path}: not a readable checkpoint ({' '.join(str(e).split())})") from None
    description = metadata.get(CHECKPOINT_KEY)
    return {
        "kind": "checkpoint" if description else "safetensors (not of asr_kd)",
        "tensors": len(shapes),
        "numbers": sum(_product(shape) for shape in shapes.values()),
        "description": parse_json(description, path) if description else metadata,
        "rows": [{"tensor": name, "shape": shape} for name, shape in islice(shapes.items(), rows)],
    }


def _product(shape: list[int]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size


def _brief(value: Any) -> Any:
    """Frame-by-frame values by their size: a row may hold thousands."""
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, list) and len(value) > 8:
        return f"{len(value)} values, the first {value[:4]}"
    return value


def _plain(found: dict[str, Any]) -> list[str]:
    lines = [f"{found['path']}: {found['kind']}"]
    for key, value in found.items():
        if key in ("path", "kind"):
            continue
        if key == "rows":
            for number, row in enumerate(value):
                fields = (f"{name}={_cut(item)}" for name, item in row.items() if item not in (None, {}))
                lines.append(f"  row {number}: " + "  ".join(fields))
        elif key == "description":
            lines.append("  description:")
            lines += [f"    {name}: {_cut(item)}" for name, item in value.items()]
        else:
            lines.append(f"  {key}: {_cut(value)}")
    return lines


def _cut(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MAX_VALUE else text[: MAX_VALUE - 1] + "…"
