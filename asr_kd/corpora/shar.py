"""A lhotse Shar data set on disk: cuts.000000.jsonl.gz beside recording.000000.tar.

Each supervision becomes an utterance, a cut without supervisions an unlabelled one. Folders below ROOT with names such
as `train`, `dev` and `test` are splits. Audio stays in its tars until `asr-kd shard`. The package `lhotse` is not
needed.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from asr_kd.core.commands import command
from asr_kd.core.options import argument, option
from asr_kd.corpora.containers.names import SEPARATOR
from asr_kd.corpora.containers.tar import tar_index
from asr_kd.corpora.corpus import Corpus, Recording, Rejected
from asr_kd.corpora.lhotse import lhotse_rows, lhotse_utterance
from asr_kd.corpora.lhotse_manifests import HOW_TO_WRITE, Source, Stretch, number, plain, stretches
from asr_kd.corpora.named_splits import NamedSplitOptions, corpus_of_splits, split_of_folder
from asr_kd.corpora.prepare import prepare
from asr_kd.corpora.walk import files_below

_CUTS = re.compile(r"cuts(?P<shard>.*)\.jsonl(\.gz)?")
_NO_AUDIO = (".json", ".nodata", ".nometa")


@dataclass(frozen=True, kw_only=True)
class SharRun(NamedSplitOptions):
    """What `asr-kd prepare shar` is given."""

    root: Path = argument("folder with cuts.*.jsonl.gz and tars, or with such folders", metavar="ROOT")
    field: str = option("field of the cuts whose audio is taken: FIELD.000000.tar", "recording")


@command()
def prepare_shar(config: SharRun) -> None:
    """Write the manifests of a Shar data set."""
    config.check_shares()
    prepare(config, config.root, lambda: read_shar(config))


def read_shar(config: SharRun) -> Corpus:
    """The data set in parts. ValueError when there are no cuts."""
    splits: dict[str, list[Recording]] = {}
    rejected: list[Rejected] = []
    root = config.root.absolute()
    manifests = [path for path in files_below(root) if _CUTS.fullmatch(path.name)]
    for path in manifests:
        split = split_of_folder(path.parent, root)
        for item in _of_shard(path, config.field, config.language):
            if isinstance(item, Rejected):
                rejected.append(item)
            else:
                splits.setdefault(split, []).append(item)
    if not manifests:
        raise ValueError(f"{config.root}: holds no cuts.*.jsonl.gz; lhotse writes them with to_shar")
    return corpus_of_splits(splits, config, rejected)


def _of_shard(path: Path, field: str, language: str) -> Iterator[Recording | Rejected]:
    """The utterances of one shard; cuts without audio, and audio without a cut, are rejected."""
    found = _CUTS.fullmatch(path.name)
    assert found is not None
    tar = path.with_name(f"{field}{found['shard']}.tar")
    members: dict[str, str] = {}
    problem = f"{tar}: not there"
    if tar.is_file():
        try:
            index = tar_index(tar)
            members = {name_of_key(name): name for name in [*index.places, *index.unusable] if not _is_note(name)}
            problem = f"{tar}: holds no audio of it" + (f" ({index.damage})" if index.damage else "")
        except ValueError as e:
            problem = str(e)
    used: set[str] = set()
    try:
        for place, cut, name in lhotse_rows(path):
            if cut is None:
                yield Rejected(name, str(path), place)
                continue
            used.add(name)
            if name not in members:
                yield Rejected(name, str(tar), f"{place}: {problem}")
            else:
                yield from _utterances(cut, name, Path(f"{tar}{SEPARATOR}{members[name]}"), place, language)
    except ValueError as e:
        yield Rejected(path.name, str(path), str(e))
    for key in members.keys() - used:
        yield Rejected(key, f"{tar}{SEPARATOR}{members[key]}", f"{tar}: {members[key]} is in no cut of {path.name}")


def _utterances(
    cut: dict[str, Any], name: str, path: Path, place: str, language: str
) -> Iterator[Recording | Rejected]:
    """One for each supervision. The audio in the tar is that of the cut alone, from its start on."""
    try:
        if cut.get("type", "MonoCut") not in ("MonoCut", "MultiCut"):
            raise ValueError(
                f"a {str(cut['type'])[:40]}, which is made of several recordings or of none. {HOW_TO_WRITE}"
            )
        source = Source(path, number(cut, "duration"))
        found = list(stretches({**cut, "start": 0.0}, name, place))
    except ValueError as e:
        yield Rejected(name, str(path), f"{place}: {e}")
        return
    for item in found:
        if isinstance(item, Stretch):
            yield lhotse_utterance(item, source, plain(cut.get("custom")), language, place)
        else:
            yield Rejected(item[0], str(path), item[1])


def name_of_key(name: str) -> str:
    """The id of a cut from the name of its member: without the last suffix."""
    return str(PurePosixPath(name).with_suffix(""))


def _is_note(name: str) -> bool:
    return name.endswith(_NO_AUDIO)
