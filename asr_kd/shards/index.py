"""The index beside a tar: what each row is and where its bytes lie, so that rows are read in any order."""

import io
import os
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from asr_kd.core.files import fingerprint, read_json, sha256_file, write_json
from asr_kd.core.locations import PathOrUrl, stem
from asr_kd.core.terminal import say
from asr_kd.core.text_files import parse_json, read_text
from asr_kd.corpora.any_audio import measure_audio
from asr_kd.corpora.audio import FFMPEG_SUFFIXES
from asr_kd.corpora.containers.tar import printable_name, tar_members

INDEX_VERSION = 3
READABLE_VERSIONS = (1, 2, 3)
"""Version 1 does not say where utterances came from; versions 1 and 2 hold no checksums of audio."""
AUDIO_EXTENSIONS = ("flac", "wav", "ogg", "opus", "mp3", *(suffix.removeprefix(".") for suffix in FFMPEG_SUFFIXES))


@dataclass(frozen=True)
class Entry:
    """One row of a shard: an utterance and the place of its bytes in the tar."""

    id: str
    seconds: float
    speaker: str | None
    text: str | None
    """None = unlabelled."""
    meta: dict[str, Any]
    audio_offset: int
    """First byte of the audio file within the tar."""
    audio_size: int
    json_offset: int = 0
    json_size: int = 0
    """0 when a foreign tar has no JSON member."""
    audio_filepath: str | None = None
    """The file that `asr-kd shard` cut the utterance from; None in foreign tars."""
    offset: float = 0.0
    """Seconds from the start of that file."""
    audio_crc32: int | None = None
    """Checksum of the audio file's bytes; None in indexes of older versions."""


@dataclass(frozen=True)
class Index:
    """What `shard-000000.index.json` holds."""

    tar: str
    """File name of the tar."""
    sha256: str
    bytes: int
    """Size of the tar; a tar of another size is refused."""
    count: int
    seconds: float
    entries: list[Entry]
    version: int = INDEX_VERSION
    plan: str | None = None
    """Fingerprint of what `asr-kd shard` put in; None for foreign tars."""
    set_aside: list[dict[str, str]] = field(default_factory=list)
    """What could not become a row: {"id", "error"}."""
    sources: dict[str, list[int] | None] | None = None
    """Size and time of change (ns) of each audio file when it was read, None where it was missing. None: not known."""
    digest: str | None = None
    """Of all the above, when it was written; indexes of older versions have none."""


def index_path(tar: Path) -> Path:
    """`shard-000000.tar` to `shard-000000.index.json`."""
    return tar.with_name(index_name(tar))


def index_name(tar: PathOrUrl) -> str:
    """The name of a tar's index."""
    return f"{stem(tar)}.index.json"


def build_index(
    tar: Path,
    plan: str | None = None,
    set_aside: list[dict[str, str]] | None = None,
    origins: dict[str, tuple[str, float]] | None = None,
    sources: dict[str, list[int] | None] | None = None,
    written: Mapping[str, tuple[int, float]] | None = None,
) -> Index:
    """Walk a tar once and index it: ours, or any WebDataset tar with audio members.

    A sample is the members that share a name up to its first dot. Text comes from the JSON member's `text`, else from
    `.txt`. Samples without audio, or with audio that does not open, are listed in `set_aside`.
    origins: file and offset of each id.  sources: as in `Index`.  written: checksum and seconds of audio members that
    were just made of samples; they are not counted again where their bytes are still those.
    ValueError when the file is no tar, is cut off, repeats an id, or holds no audio at all.
    """
    aside = list(set_aside or [])
    entries: list[Entry] = []
    with open(tar, "rb") as stream:
        for key, members in _samples(tar):
            try:
                entries.append(_entry(stream, key, members, written or {}))
            except ValueError as e:
                aside.append({"id": printable_name(key), "error": printable_name(str(e))})
    seen: set[str] = set()
    for entry in entries:
        if entry.id in seen:
            raise ValueError(f"{tar}: id {entry.id} occurs twice; ids are unique in a shard")
        seen.add(entry.id)
    for place, (path, offset) in enumerate((origins or {}).get(entry.id, (None, 0.0)) for entry in entries):
        entries[place] = replace(entries[place], audio_filepath=path, offset=offset)
    if not entries and plan is None:
        raise ValueError(f"{tar}: holds no audio ({', '.join(AUDIO_EXTENSIONS[:6])}, ... members are looked for)")
    return Index(
        tar=tar.name,
        sha256=sha256_file(tar),
        bytes=tar.stat().st_size,
        count=len(entries),
        seconds=sum(entry.seconds for entry in entries),
        entries=entries,
        plan=plan,
        set_aside=aside,
        sources=sources,
    )


def write_index(tar: Path, index: Index) -> None:
    """Write the index beside its tar, atomically."""
    content = {key: value for key, value in asdict(index).items() if key != "digest"}
    write_json(index_path(tar), content | {"digest": fingerprint(content)})


def read_index(tar: Path) -> Index:
    """The index of a tar, checked against the tar's size. ValueError names the index and the way out."""
    path = index_path(tar)
    index = parse_index(read_json(path), path)
    size = tar.stat().st_size
    if size != index.bytes:
        raise ValueError(
            f"{tar}: {size} bytes, its index was made for {index.bytes}. "
            f"Restore the tar, or delete {path.name} if it changed on purpose."
        )
    return index


def parse_index(data: Any, path: PathOrUrl) -> Index:
    """The index in the JSON that was read from `path`. ValueError names it, what is wrong, and the way out."""
    version = data.get("version") if isinstance(data, dict) else None
    if version not in READABLE_VERSIONS:
        raise ValueError(
            f"{path}: index version {version}, this asr_kd reads {READABLE_VERSIONS[0]} to {INDEX_VERSION}. "
            "Delete it to make it anew."
        )
    content = {key: value for key, value in data.items() if key != "digest"}
    if data.get("digest") not in (None, fingerprint(content)):
        raise ValueError(f"{path}: damaged index (its digest is another). Delete it to make it anew.")
    try:
        index = Index(**{**data, "entries": [Entry(**entry) for entry in data["entries"]]})
        ends = [max(e.audio_offset + e.audio_size, e.json_offset + e.json_size) for e in index.entries]
        fits = len(ends) == index.count and max(ends, default=0) <= index.bytes
    except (TypeError, KeyError) as e:
        raise ValueError(f"{path}: damaged index ({e}). Delete it to make it anew.") from None
    if not fits:
        raise ValueError(f"{path}: damaged index (its entries do not fit its tar). Delete it to make it anew.")
    return index


def index_of(tar: Path) -> Index:
    """The index beside a tar; a tar without one is walked and given one (in memory where the folder is read-only)."""
    if not tar.is_file():
        raise ValueError(f"{tar}: no such shard. `asr-kd shard` writes shards.")
    if index_path(tar).is_file():
        return read_index(tar)
    index = build_index(tar)
    if index.set_aside:
        first = index.set_aside[0]
        say(
            f"{tar}: {len(index.set_aside)} samples set aside; the first: {first['id']}: {first['error']}",
        )
    if os.access(tar.parent, os.W_OK):
        write_index(tar, index)
    return index


def _samples(tar: Path) -> Iterator[tuple[str, dict[str, tarfile.TarInfo]]]:
    """Key and members by extension of each sample, in the tar's order."""
    key: str | None = None
    members: dict[str, tarfile.TarInfo] = {}
    for member in tar_members(tar):
        if not member.isreg():
            continue
        folder, _, name = member.name.rpartition("/")
        stem, _, extension = name.partition(".")
        this = f"{folder}/{stem}" if folder else stem
        if this != key:
            if key is not None and members:
                yield key, members
            key, members = this, {}
        if extension.lower() in members:
            raise ValueError(f"{tar}: {printable_name(member.name)} occurs twice; names are unique in a shard")
        members[extension.lower()] = member
    if key is not None and members:
        yield key, members


def _entry(
    stream: io.BufferedReader,
    key: str,
    members: dict[str, tarfile.TarInfo],
    written: Mapping[str, tuple[int, float]],
) -> Entry:
    extension = next((e for e in AUDIO_EXTENSIONS if e in members), None)
    if extension is None:
        raise ValueError(f"no audio member, only {', '.join(sorted(members))}")
    if printable_name(key) != key:
        raise ValueError("its name is not UTF-8")
    audio = members[extension]
    data: dict[str, Any] = {}
    place = members.get("json")
    if place is not None:
        data = parse_json(_bytes(stream, place), place.name, nan_is_null=True)  # durations are counted, not believed
        if not isinstance(data, dict):
            raise ValueError(f"{place.name} is not a JSON object")
    text = data.get("text")
    if text is None and "txt" in members:
        text = read_text(_bytes(stream, members["txt"]), members["txt"].name).strip()
    sound = _bytes(stream, audio)
    checksum = zlib.crc32(sound)
    known_checksum, seconds = written.get(audio.name, (None, 0.0))
    if checksum != known_checksum:
        seconds = measure_audio(io.BytesIO(sound), audio.name).seconds
    known = ("id", "duration", "text", "speaker", "meta")
    meta = data.get("meta") if isinstance(data.get("meta"), dict) else {}
    return Entry(
        id=str(data.get("id") or key),
        seconds=seconds,
        speaker=None if data.get("speaker") is None else str(data["speaker"]),
        text=None if text is None else str(text),
        meta={**{k: v for k, v in data.items() if k not in known}, **(meta or {})},
        audio_offset=audio.offset_data,
        audio_size=audio.size,
        json_offset=0 if place is None else place.offset_data,
        json_size=0 if place is None else place.size,
        audio_crc32=checksum,
    )


def _bytes(stream: io.BufferedReader, member: tarfile.TarInfo) -> bytes:
    stream.seek(member.offset_data)
    return stream.read(member.size)
