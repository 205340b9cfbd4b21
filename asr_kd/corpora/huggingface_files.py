"""The files of a Hugging Face data set in a folder: Parquet as downloaded, Arrow as `save_to_disk` writes it."""

import re
from dataclasses import dataclass
from pathlib import Path

from asr_kd.core.files import read_json
from asr_kd.corpora.containers.names import TABLES
from asr_kd.corpora.corpus import Rejected
from asr_kd.corpora.named_splits import part_of
from asr_kd.corpora.walk import files_below, is_file

STATE, DESCRIPTION = "state.json", "dataset_info.json"
"""Beside the Arrow files that `save_to_disk` writes."""
_NUMBER = re.compile(r"[-_.]?\d+([-_]of[-_]\d+)?$")
_PLAIN_FOLDERS = {"data", "default", "."}


@dataclass(frozen=True)
class DataFile:
    """A file of rows."""

    path: Path
    split: str
    subset: str | None = None
    """The configuration, such as a language; None where there is one only."""


def data_files(root: Path) -> tuple[list[DataFile], list[Rejected]]:
    """The files of a data set, in order; and those that are not read, each with its reason. `root` may be one file."""
    if root.is_file():
        return ([DataFile(root.absolute(), _split_of(root, root.parent))] if is_table(root) else []), []
    files: list[DataFile] = []
    rejected: list[Rejected] = []
    there = files_below(root)
    saved = sorted(path.parent for path in there if path.name == STATE and (path.parent / DESCRIPTION).is_file())
    for folder in saved:
        names, missing = _saved_files(folder)
        rejected += missing
        files += [DataFile((folder / name).absolute(), _saved_split(folder)) for name in names]
    known = {file.path for file in files}
    for path in (path.absolute() for path in there if is_table(path)):
        if path in known:
            continue
        if path.parent in {folder.absolute() for folder in saved} or path.name.startswith("cache-"):
            name = str(path.relative_to(root.absolute()))
            rejected.append(Rejected(name, str(path), f"{path}: not a part of the data set beside it, a cache perhaps"))
        else:
            files.append(DataFile(path, _split_of(path, root.absolute()), _subset_of(path, root.absolute())))
    if len({file.subset for file in files}) == 1:
        files = [DataFile(file.path, file.split) for file in files]
    return files, rejected


def is_table(path: Path) -> bool:
    """Whether the name is that of a Parquet or Arrow file."""
    return path.suffix.lower() in TABLES


def _saved_files(folder: Path) -> tuple[list[str], list[Rejected]]:
    """Names of the files that `state.json` lists, and those that are not there. They lie beside it."""
    state = read_json(folder / STATE)
    try:
        names = [entry["filename"] for entry in state["_data_files"]]
    except (TypeError, KeyError):
        raise ValueError(f"{folder / STATE}: lists no _data_files; `datasets` writes them with save_to_disk") from None
    there, missing = [], []
    for name in names:
        if not isinstance(name, str) or "/" in name or name in ("", ".", ".."):
            missing.append(Rejected(str(name), None, f"{folder / STATE}: names {name!r}, which is no file beside it"))
        elif not is_file(folder / name):
            missing.append(Rejected(name, str(folder / name), f"{folder / name}: not there, {STATE} names it"))
        else:
            there.append(name)
    return there, missing


def _saved_split(folder: Path) -> str:
    state = read_json(folder / STATE)
    if (folder.parent / "dataset_dict.json").is_file():
        return folder.name
    return str(state.get("_split") or folder.name)


def _split_of(path: Path, root: Path) -> str:
    """From the name of the file or of a folder above it: `train-00000-of-00004.parquet`, `en/train/0000.parquet`."""
    own = _without_number(path.stem)
    folders = [parent.name for parent in path.parents if parent != root and parent.is_relative_to(root)]
    for name in (own, *folders):
        if part_of(name):
            return name
    return own or (folders[0] if folders else "train")


def _subset_of(path: Path, root: Path) -> str | None:
    folders = path.relative_to(root).parts[:-1]
    return "/".join(name for name in folders if name not in _PLAIN_FOLDERS and not part_of(name)) or None


def _without_number(stem: str) -> str:
    previous = None
    while previous != stem:
        previous, stem = stem, _NUMBER.sub("", stem)
    return stem
