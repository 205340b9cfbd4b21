"""The files below a folder, those of linked folders too; and whether a name that data gives is that of a file."""

import errno
import os
from collections import deque
from pathlib import Path

from asr_kd.core.terminal import say
from asr_kd.corpora.audio import find_audio


def files_below(root: Path) -> list[Path]:
    """Every file below `root`, sorted; each path begins with `root`. Links to files and to folders are followed.

    No folder is read twice, so that links in a circle end: what lies in `root` itself goes before what links lead to.
    A folder that may not be read counts as empty, and that is said. Nothing where `root` is no folder. OSError when the
    system fails.
    """
    files: list[Path] = []
    folders = deque([root] if root.is_dir() else [])
    linked: deque[Path] = deque()
    read: set[str] = set()
    while folders or linked:
        folder = folders.popleft() if folders else linked.popleft()
        real = os.path.realpath(folder)
        if real in read:
            continue
        read.add(real)
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except PermissionError:
            say(f"{folder}: is closed to you; what it holds is left out")
            continue
        for entry in entries:
            path = folder / entry.name
            if entry.is_symlink():
                if path.is_dir():
                    linked.append(path)
                elif path.is_file():
                    files.append(path)
            elif entry.is_dir(follow_symlinks=False):
                folders.append(path)
            elif entry.is_file(follow_symlinks=False):
                files.append(path)
    return sorted(files)


def is_file(path: Path) -> bool:
    """Whether there is such a file. No file has a name that is longer than names may be."""
    try:
        return path.is_file()
    except OSError as e:
        if e.errno == errno.ENAMETOOLONG:
            return False
        raise


def audio_called(stem: Path) -> Path | None:
    """As `find_audio`; None also where the name is longer than names may be."""
    try:
        return find_audio(stem)
    except OSError as e:
        if e.errno == errno.ENAMETOOLONG:
            return None
        raise
