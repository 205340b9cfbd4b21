"""Tarred data sets: NeMo's (audio_0.tar, ... with tarred_audio_manifest.json), and WebDataset tars with text beside
the audio.

With a manifest its lines are the utterances. Without one they are the samples of the tars, with the text of NAME.txt or
of `text` in NAME.json. WebDataset tars that need no division into parts need no preparing: `asr-kd catalogue` takes
them as shards as they are.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from asr_kd.core.commands import command
from asr_kd.core.options import argument
from asr_kd.core.text_files import lenient_rows, parse_json, read_text
from asr_kd.corpora.audio import SUFFIXES
from asr_kd.corpora.containers.names import SEPARATOR
from asr_kd.corpora.containers.tar import TarIndex, opened_tar_member, tar_index
from asr_kd.corpora.corpus import Corpus, Recording, Rejected
from asr_kd.corpora.folder import normalised
from asr_kd.corpora.foreign_rows import plain_values
from asr_kd.corpora.languages import LANG
from asr_kd.corpora.lhotse_manifests import number
from asr_kd.corpora.named_splits import NamedSplitOptions, corpus_of_splits, split_of_folder
from asr_kd.corpora.prepare import prepare
from asr_kd.corpora.walk import files_below

MANIFEST, PARTS = "tarred_audio_manifest.json", "sharded_manifests"
_SHARD = re.compile(r".*?(?P<id>\d+)\.tar")
_AGAIN = re.compile(r"-sub\d+$")
_OURS = ("audio_filepath", "audio_file", "duration", "offset", "text", "speaker", "shard_id", "id")
_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
MAX_NOTE_BYTES = 1 << 20
"""Of the text beside a sample's audio."""


@dataclass(frozen=True, kw_only=True)
class NemoTarredRun(NamedSplitOptions):
    """What `asr-kd prepare nemo-tarred` is given."""

    root: Path = argument("folder of tars, with or without tarred_audio_manifest.json", metavar="ROOT")


@command()
def prepare_nemo_tarred(config: NemoTarredRun) -> None:
    """Write the manifests of a tarred data set."""
    config.check_shares()
    prepare(config, config.root, lambda: read_nemo_tarred(config))


def read_nemo_tarred(config: NemoTarredRun) -> Corpus:
    """The data set in parts. Folders below `root` called train, dev or test are splits. ValueError without tars."""
    splits: dict[str, list[Recording]] = {}
    rejected: list[Rejected] = []
    root = config.root.absolute()
    files = files_below(root)
    for path in files:
        if path.name.lower().endswith(_COMPRESSED):
            reason = f"{path}: a compressed tar has no random access. Unpack it to .tar."
            rejected.append(Rejected(path.name, str(path), reason))
    folders: dict[Path, list[Path]] = {}
    for path in files:
        if path.suffix.lower() == ".tar":
            folders.setdefault(path.parent, []).append(path)
    for folder, tars in folders.items():
        manifests = _manifests(folder)
        if manifests:
            items = _of_manifests(manifests, tars, _name_of(folder, root), config.language)
        else:
            items = _of_tars(tars, root, config.language)
        for item in items:
            if isinstance(item, Rejected):
                rejected.append(item)
            else:
                splits.setdefault(split_of_folder(folder, root), []).append(item)
    if not folders and not rejected:
        raise ValueError(f"{config.root}: holds no .tar")
    return corpus_of_splits(splits, config, rejected)


def _manifests(folder: Path) -> list[Path]:
    """NeMo's manifest of the tars in a folder, or its parts, one a tar."""
    whole = folder / MANIFEST
    return [whole] if whole.is_file() else sorted(folder.glob(f"{PARTS}/manifest_*.json"))


def _name_of(path: Path, root: Path) -> str:
    """What begins the ids of a folder or a tar."""
    parts = path.relative_to(root).parts
    return "".join(f"{part.removesuffix('.tar')}-" for part in parts)


def _indexes(tars: list[Path]) -> Iterator[tuple[Path, TarIndex | Rejected]]:
    for tar in tars:
        try:
            index = tar_index(tar)
        except ValueError as e:
            yield tar, Rejected(tar.name, str(tar), str(e))
            continue
        yield tar, index
        if index.damage:
            yield tar, Rejected(tar.name, str(tar), f"{index.damage} Members before that are used.")


def _of_manifests(
    manifests: list[Path], tars: list[Path], prefix: str, language: str
) -> Iterator[Recording | Rejected]:
    """The lines of NeMo's manifests; members that none names are rejected."""
    by_shard: dict[int, Path] = {}
    where: dict[Path, dict[str, str]] = {}
    for tar, index in _indexes(tars):
        if isinstance(index, Rejected):
            yield index
            continue
        found = _SHARD.fullmatch(tar.name)
        if found:
            by_shard[int(found["id"])] = tar
        names = [*index.places, *index.unusable]
        where[tar] = {str(PurePosixPath(name).with_suffix("")): name for name in names} | {name: name for name in names}
    used: set[Path | None] = set()
    for manifest in manifests:
        try:
            for place, row in lenient_rows(manifest):
                if isinstance(row, str):
                    yield Rejected(place, str(manifest), f"{place}: {row}")
                    continue
                try:
                    item = _of_line(place, row, by_shard, where, language)
                except ValueError as e:
                    item = Rejected(place, str(manifest), f"{place}: {e}")
                if isinstance(item, Recording):
                    used.add(item.path)
                    item = item if row.get("id") else replace(item, id=prefix + item.id)
                yield item
        except ValueError as e:
            yield Rejected(manifest.name, str(manifest), str(e))
    for tar, known in where.items():
        for member in sorted(set(known.values())):
            path = Path(f"{tar}{SEPARATOR}{member}")
            if path not in used and _is_audio(member):
                yield Rejected(member, str(path), f"{path}: no line of the manifest names it")


def _of_line(
    place: str,
    row: Mapping[str, Any],
    by_shard: Mapping[int, Path],
    where: Mapping[Path, Mapping[str, str]],
    language: str,
) -> Recording | Rejected:
    named = row.get("audio_filepath") or row.get("audio_file")
    shard = row.get("shard_id")
    shard = int(shard) if isinstance(shard, str) and shard.isascii() and shard.isdigit() else shard
    if not isinstance(named, str) or not named:
        return Rejected(place, None, f"{place}: audio_filepath is missing")
    if not PurePosixPath(named).name:
        raise ValueError(f"audio_filepath is {named[:40]!r}, not the name of a file in a tar")
    tar = by_shard.get(shard) if isinstance(shard, int) else None
    tars = [tar] if tar else list(where) if shard is None else []
    stem = str(PurePosixPath(named).with_suffix(""))
    wanted = (named, stem, _AGAIN.sub("", stem))  # another codec; a recording that several lines cut from
    found = [(tar, where[tar][name]) for tar in tars for name in wanted if name in where[tar]]
    if not found:
        told = f"tar {shard}" if shard is not None else "any tar"
        return Rejected(stem, None, f"{place}: {named} is not in {told}")
    tar, member = found[0]
    text, speaker = _text_of(row), row.get("speaker")
    meta = plain_values({key: value for key, value in row.items() if key not in _OURS})
    offset, duration = (None if row.get(key) is None else number(row, key) for key in ("offset", "duration"))
    return Recording(
        str(row.get("id") or (stem if shard is None else f"{shard}-{stem}")),
        Path(f"{tar}{SEPARATOR}{member}"),
        normalised(text, meta.get(LANG, language)),
        None if speaker is None else str(speaker),
        meta,
        offset=offset or 0.0,
        duration=duration,
    )


def _text_of(values: Mapping[str, Any]) -> str | None:
    text = values.get("text")
    if text is not None and not isinstance(text, str):
        raise ValueError(f"text is {str(text)[:40]}, not a string; write it in quotation marks")
    return text


def _of_tars(tars: list[Path], root: Path, language: str) -> Iterator[Recording | Rejected]:
    """The samples of WebDataset tars: members that share a name up to its first dot."""
    for tar, index in _indexes(tars):
        if isinstance(index, Rejected):
            yield index
            continue
        samples: dict[str, list[str]] = {}
        for name in [*index.places, *index.unusable]:
            folder, _, last = name.rpartition("/")
            stem = last.partition(".")[0]
            samples.setdefault(f"{folder}/{stem}" if folder else stem, []).append(name)
        for key, members in samples.items():
            yield _of_sample(tar, _name_of(tar, root) + key.replace("/", "-"), members, language)


def _of_sample(tar: Path, name: str, members: list[str], language: str) -> Recording | Rejected:
    audio = [member for member in members if _is_audio(member)]
    if len(audio) != 1:
        reason = f"{tar}: {len(audio)} audio members among {', '.join(members)[:200]}; one is needed"
        return Rejected(name, str(tar), reason)
    path = f"{tar}{SEPARATOR}{audio[0]}"
    try:
        beside = [member for member in members if member.lower().endswith((".txt", ".json"))]
        notes = {PurePosixPath(member).suffix.lower(): _bytes(tar, member) for member in beside}
        data = parse_json(notes[".json"], f"{tar}{SEPARATOR}{name}.json", nan_is_null=True) if ".json" in notes else {}
        if not isinstance(data, dict):
            raise ValueError(f"{path}: the .json beside it is no object")
        text = _text_of(data)
        if text is None and ".txt" in notes:
            text = read_text(notes[".txt"], f"{path} (.txt beside it)")
    except ValueError as e:
        return Rejected(name, path, str(e) if str(e).startswith(str(tar)) else f"{path}: {e}")
    speaker = data.get("speaker")
    meta = plain_values(
        {key: value for key, value in data.items() if key not in _OURS} | plain_values(data.get("meta"))
    )
    return Recording(
        str(data.get("id") or name),
        Path(path),
        normalised(text, meta.get(LANG, language)),
        None if speaker is None else str(speaker),
        meta,
    )


def _bytes(tar: Path, member: str) -> bytes:
    with opened_tar_member(tar, member) as f:
        data = f.read(MAX_NOTE_BYTES + 1)
    if len(data) > MAX_NOTE_BYTES:
        raise ValueError(f"{tar}{SEPARATOR}{member}: more than {MAX_NOTE_BYTES >> 20} MiB of text")
    return data


def _is_audio(member: str) -> bool:
    return member.lower().endswith(tuple(suffix.lower() for suffix in SUFFIXES))
