"""lhotse manifests: cuts (cuts*.jsonl.gz), or recordings and supervisions (*_recordings_*.jsonl.gz beside
*_supervisions_*.jsonl.gz), plain or packed. A Shar data set is read by `asr-kd prepare shar`.

Each supervision becomes an utterance, a cut without supervisions an unlabelled one. Audio in files is read; audio that
is made by a command, behind a URL, mixed, padded or changed in speed is listed. Files named after train, dev and test
become those parts. The package `lhotse` is not needed.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr_kd.core.commands import command
from asr_kd.core.options import argument, option
from asr_kd.core.terminal import say
from asr_kd.core.text_files import lenient_lines, parse_json, text_fault
from asr_kd.corpora.corpus import Corpus, Recording, Rejected
from asr_kd.corpora.folder import normalised
from asr_kd.corpora.languages import ENGLISH, LANG, language_code
from asr_kd.corpora.lhotse_manifests import HOW_TO_WRITE, Source, Stretch, audio_source, number, plain, stretches
from asr_kd.corpora.named_splits import NamedSplitOptions, corpus_of_splits
from asr_kd.corpora.prepare import prepare

SUFFIXES = (".jsonl", ".jsonl.gz")
KINDS = ("cuts", "recordings", "supervisions")
ONLY = "train"
"""The split of a single manifest, whatever it is called."""


@dataclass(frozen=True, kw_only=True)
class LhotseRun(NamedSplitOptions):
    """What `asr-kd prepare lhotse` is given."""

    root: Path = argument("manifest of cuts or recordings, or folder of manifests", metavar="ROOT")
    audio_root: Path | None = option(
        "folder that relative paths count from (default: the working directory, or the manifest's folder)", None
    )


@dataclass(frozen=True)
class ManifestSet:
    """The manifests of one split."""

    files: dict[str, Path]
    """By kind: cuts, or recordings and perhaps supervisions."""


@command()
def prepare_lhotse(config: LhotseRun) -> None:
    """Write the manifests of lhotse manifests."""
    config.check_shares()
    prepare(config, config.root, lambda: read_lhotse(config))


def read_lhotse(config: LhotseRun) -> Corpus:
    """The parts of the manifests. ValueError when there are none."""
    rejected: list[Rejected] = []
    splits: dict[str, list[Recording]] = {}
    for name, manifests in manifest_sets(config.root).items():
        splits[name] = []
        for item in _of_set(manifests, config):
            if isinstance(item, Rejected):
                rejected.append(item)
            else:
                splits[name].append(item)
    return corpus_of_splits(splits, config, rejected)


def manifest_sets(root: Path) -> dict[str, ManifestSet]:
    """The manifests of each split, by the rest of their names. ValueError when there are none.

    Cuts of a split go before its recordings and supervisions, which are said to be left out.
    """
    if root.is_file():
        kind, _ = _kind_and_split(root)
        if kind is None:
            raise ValueError(
                f"{root}: its name says not whether it holds cuts or recordings. "
                "Name it cuts.jsonl.gz, or recordings.jsonl.gz beside supervisions.jsonl.gz."
            )
        others = {} if kind == "cuts" else manifest_sets(root.parent)
        return {ONLY: next((s for s in others.values() if root in s.files.values()), ManifestSet({kind: root}))}
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(path for path in root.iterdir() if path.name.endswith(SUFFIXES)):
        kind, split = _kind_and_split(path)
        if kind is not None:
            found.setdefault(split, {})[kind] = path
    sets: dict[str, ManifestSet] = {}
    for split, files in found.items():
        if "cuts" in files:
            if len(files) > 1:
                say(f"{files['cuts']}: read instead of {', '.join(p.name for k, p in files.items() if k != 'cuts')}")
            sets[split] = ManifestSet({"cuts": files["cuts"]})
        elif "recordings" in files:
            sets[split] = ManifestSet(files)
        else:
            say(f"{files['supervisions']}: left out: no recordings beside it")
    if not sets:
        raise ValueError(
            f"{root}: holds no cuts*.jsonl.gz and no recordings*.jsonl.gz. Other forms become these with `lhotse copy`."
        )
    return {ONLY: next(iter(sets.values()))} if len(sets) == 1 else sets


def _kind_and_split(path: Path) -> tuple[str | None, str]:
    stem = re.sub(r"\.jsonl(\.gz)?$", "", path.name)
    words = [word for word in re.split(r"[-_.]", stem) if word]
    kind = next((kind for kind in KINDS if kind in words), None)
    return kind, re.sub(rf"(^|[-_.]){kind}($|[-_.])", "-", stem, count=1).strip("-") or ONLY


def _of_set(manifests: ManifestSet, config: LhotseRun) -> Iterator[Recording | Rejected]:
    if "cuts" in manifests.files:
        yield from _of_cuts(manifests.files["cuts"], config)
    else:
        yield from _of_recordings(manifests.files["recordings"], manifests.files.get("supervisions"), config)


def _of_cuts(path: Path, config: LhotseRun) -> Iterator[Recording | Rejected]:
    for place, cut, name in lhotse_rows(path):
        if cut is None:
            yield Rejected(name, str(path), place)
            continue
        try:
            kind = cut.get("type", "MonoCut")
            if kind not in ("MonoCut", "MultiCut"):
                raise ValueError(f"a {str(kind)[:40]}, which is made of several recordings or of none. {HOW_TO_WRITE}")
            source = audio_source(cut.get("recording"), cut.get("channel"), _bases(path, config))
            about = plain(cut.get("custom"))
            found = list(stretches(cut, name, place))
        except ValueError as e:
            yield Rejected(name, str(path), f"{place}: {e}")
            continue
        for item in found:
            if isinstance(item, Stretch):
                yield lhotse_utterance(item, source, about, config.language, place)
            else:
                yield Rejected(item[0], str(path), item[1])


def _of_recordings(path: Path, supervisions: Path | None, config: LhotseRun) -> Iterator[Recording | Rejected]:
    """One utterance a supervision; recordings of which there is none are unlabelled where no supervisions are given,
    else listed."""
    sources: dict[str, dict[str, Any]] = {}
    for place, recording, name in lhotse_rows(path):
        if recording is None:
            yield Rejected(name, str(path), place)
        else:
            sources[name] = recording
    bases = _bases(path, config)
    if supervisions is None:
        for name, recording in sources.items():
            try:
                source = audio_source(recording, None, bases)
                yield Recording(name, source.path, claimed=source.duration)
            except ValueError as e:
                yield Rejected(name, str(path), f"{path}: {name}: {e}")
        return
    used: set[str] = set()
    for place, supervision, name in lhotse_rows(supervisions):
        if supervision is None:
            yield Rejected(name, str(supervisions), place)
            continue
        owner = str(supervision.get("recording_id"))
        used.add(owner)
        try:
            if owner not in sources:
                raise ValueError(f"recording {owner} is not in {path.name}")
            source = audio_source(sources[owner], supervision.get("channel"), bases)
            start, length = number(supervision, "start", 0.0), number(supervision, "duration")
            yield lhotse_utterance(Stretch(name, start, length, supervision), source, {}, config.language, place)
        except ValueError as e:
            yield Rejected(name, str(supervisions), f"{place}: {e}")
    for name in sources:
        if name not in used:
            yield Rejected(name, str(path), f"{path}: no supervision is of recording {name}")


def lhotse_utterance(
    item: Stretch, source: Source, about: dict[str, Any], language: str, place: str
) -> Recording | Rejected:
    """The utterance of a stretch of a source. about: what goes to `meta` beside what the supervision says."""
    said = item.supervision
    meta = about | plain(said.get("custom"))
    if isinstance(said.get("gender"), str):
        meta["gender"] = said["gender"]
    code = None
    if isinstance(said.get("language"), str) and said["language"]:
        try:
            code = language_code(said["language"])
        except ValueError:
            meta["language"] = said["language"]  # lhotse's recipes write names as well: English, Mandarin
    meta |= {LANG: code} if code and {code, language} != {ENGLISH} else {}
    if item.duration <= 0 or item.start < 0:
        return Rejected(item.id, str(source.path), f"{place}: from {item.start:g} s, {item.duration:g} s long")
    text, speaker = said.get("text"), said.get("speaker")
    if text is not None and not isinstance(text, str):
        return Rejected(item.id, str(source.path), f"{place}: text is {repr(text)[:40]}; text or null is needed")
    is_whole = item.start == 0.0 and abs(item.duration - source.duration) < 1e-3
    return Recording(
        item.id,
        source.path,
        normalised(text, code or language) if text is not None else None,
        str(speaker) if speaker is not None else None,
        meta,
        item.start,
        None if is_whole else item.duration,
        source.duration,
    )


def lhotse_rows(path: Path) -> Iterator[tuple[str, dict[str, Any] | None, str]]:
    """Place, object and id of each line; where a line cannot be used, why instead of the place, and None."""
    known: set[str] = set()
    for count, line in enumerate(lenient_lines(path), 1):
        place, row_id = f"{path}:{count}", f"{path.name}-{count}"
        if not line.strip():
            continue
        try:
            row = None if text_fault(line) else parse_json(line, place)
            name = row.get("id") if isinstance(row, dict) else None
            if not isinstance(name, str) or not name.strip():
                raise ValueError(f"{place}: no object with an id")
            row_id = name.strip()
            if row_id in known:
                raise ValueError(f"{place}: {row_id} occurs a second time")
        except ValueError as e:
            yield str(e), None, row_id
            continue
        known.add(row_id)
        yield place, row, row_id


def _bases(path: Path, config: LhotseRun) -> list[Path]:
    if config.audio_root is not None:
        return [config.audio_root.absolute()]
    return [Path.cwd(), path.parent.absolute()]
