"""Tars of audio for other toolkits: lhotse Shar, and NeMo's tarred data sets. Both hold 16 bit, 16 kHz, mono FLAC."""

import gzip
import io
import json
import tarfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from asr_kd.convert.audio import Placed, audio_bytes
from asr_kd.convert.items import Item
from asr_kd.convert.lhotse import cut
from asr_kd.core.files import atomic_path
from asr_kd.core.progress import Progress
from asr_kd.corpora.audio_file import Measured, measure_audio
from asr_kd.corpora.corpus import Rejected
from asr_kd.corpora.manifest import Utterance
from asr_kd.shards.writer import tar_key

UTTERANCES_PER_TAR = 1000
"""As lhotse has it."""
CHUNK = 64
"""Utterances whose audio is in memory at once."""


@dataclass(frozen=True)
class Clip:
    """An utterance with its audio."""

    utterance: Utterance
    data: bytes
    file: Measured


@dataclass(frozen=True)
class TarForm:
    """How a toolkit's tars are named and described."""

    tar: str
    """Name of a tar, with {number}."""
    members: Callable[[Clip], list[tuple[str, bytes]]]
    """Names and bytes of an utterance in its tar, in order."""
    line: Callable[[Clip, int], dict[str, Any]]
    """The line of the manifest for an utterance in the tar of a number."""
    manifests: tuple[str, ...]
    """Names of the manifests: one for each tar where there is {number}."""


def write_tars(folder: Path, name: str, items: Sequence[Item], form: TarForm, jobs: int) -> tuple[str, list[Rejected]]:
    """Write the tars and manifests of a part into `folder`; what is to be said, and what could not be read.

    Tars of an earlier run that this one does not write are removed, and each file appears whole.
    """
    rejected: list[Rejected] = []
    wanted: set[Path] = set()
    lines: dict[Path, list[dict[str, Any]]] = {}
    clips = _clips(name, items, jobs, rejected)
    number, utterances, clip = 0, 0, next(clips, None)
    while clip is not None:
        tar = folder / form.tar.format(number=number)
        own = [lines.setdefault(folder / file.format(number=number), []) for file in form.manifests]
        with atomic_path(tar) as temporary, tarfile.open(temporary, "w") as archive:
            for _ in range(UTTERANCES_PER_TAR):
                for member, data in form.members(clip):
                    info = tarfile.TarInfo(member)
                    info.size = len(data)
                    archive.addfile(info, io.BytesIO(data))
                line = form.line(clip, number)
                for rows in own:
                    rows.append(line)
                utterances += 1
                clip = next(clips, None)
                if clip is None:
                    break
        wanted.add(tar)
        number += 1
    for path, rows in lines.items():
        _write_lines(path, rows)
    for old in files_of(folder, form):
        if old not in wanted and old not in lines:
            old.unlink()
    return f"{folder}: {number} tars, {utterances} utterances", rejected


def files_of(folder: Path, form: TarForm) -> list[Path]:
    """The tars and manifests that are in a folder."""
    patterns = [name.replace("{number:06d}", "*").replace("{number}", "*") for name in (form.tar, *form.manifests)]
    return [path for pattern in patterns for path in folder.glob(pattern)]


def _clips(name: str, items: Sequence[Item], jobs: int, rejected: list[Rejected]) -> Iterator[Clip]:
    with (
        ThreadPoolExecutor(jobs) as pool,
        Progress(f"audio {name}", sum(item.utterance.duration for item in items)) as progress,
    ):
        for start in range(0, len(items), CHUNK):
            chunk = items[start : start + CHUNK]
            for found in pool.map(_clip, chunk):
                if isinstance(found, Clip):
                    yield found
                else:
                    rejected.append(found)
            progress.update(sum(item.utterance.duration for item in chunk))


def _clip(item: Item) -> Clip | Rejected:
    u = item.utterance
    try:
        data = audio_bytes(item)
        return Clip(u, data, measure_audio(io.BytesIO(data), u.audio_filepath))
    except ValueError as e:
        return Rejected(u.id, u.audio_filepath, str(e))


def _write_lines(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    with atomic_path(path) as temporary:
        temporary.write_bytes(gzip.compress(text, mtime=0) if path.suffix == ".gz" else text)


def _shar_cut(clip: Clip, number: int) -> dict[str, Any]:
    """A cut of the whole audio, whose recording is the member of the tar."""
    u = clip.utterance
    name = _shar_id(u.id)
    seconds = clip.file.seconds
    whole = Utterance(name, f"{name}.flac", min(u.duration, seconds), 0.0, u.text, u.speaker, u.meta)
    described = cut(Placed(whole, clip.file))
    described["duration"] = described["supervisions"][0]["duration"] = seconds
    described["recording"]["id"] = described["supervisions"][0]["recording_id"] = name
    described["recording"]["sources"] = [{"type": "shar", "channels": [0], "source": ""}]
    return described


def _shar_members(clip: Clip) -> list[tuple[str, bytes]]:
    described = _shar_cut(clip, 0)
    note = json.dumps(described["recording"], ensure_ascii=False).encode() + b"\n"
    return [(f"{described['id']}.flac", clip.data), (f"{described['id']}.json", note)]


def _shar_id(name: str) -> str:
    """The id, which is also a path in the tar."""
    path = PurePosixPath(name)
    is_path = str(path) == name and not path.is_absolute() and ".." not in path.parts
    return name if is_path else tar_key(name)


def _nemo_line(clip: Clip, number: int) -> dict[str, Any]:
    u = clip.utterance
    known = {"audio_filepath": f"{tar_key(u.id)}.flac", "duration": clip.file.seconds, "text": u.text or ""}
    if u.text is None:
        known.pop("text")
    more = {"shard_id": number, "id": u.id} | ({} if u.speaker is None else {"speaker": u.speaker})
    return {**u.meta, **known, **more}


def _nemo_members(clip: Clip) -> list[tuple[str, bytes]]:
    return [(f"{tar_key(clip.utterance.id)}.flac", clip.data)]


SHAR = TarForm("recording.{number:06d}.tar", _shar_members, _shar_cut, ("cuts.{number:06d}.jsonl.gz",))
_NEMO_MANIFESTS = ("tarred_audio_manifest.json", "sharded_manifests/manifest_{number}.json")
"""Of all and of each tar, as NeMo's own program writes them: readers of one tar at a time want the second."""
NEMO_TARRED = TarForm("audio_{number}.tar", _nemo_members, _nemo_line, _NEMO_MANIFESTS)
"""WebDataset ends a key at its first dot: members have names without dots, the id is in the line."""
