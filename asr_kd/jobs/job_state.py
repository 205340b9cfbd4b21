"""What the runs of a job keep beside its outputs: settings, leases, failures, and a log to tell rates from.

None of it decides what is done: that is the rename of an output alone. A lost or damaged record costs only figures.
"""

import json
import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from asr_kd.core.files import remove_abandoned
from asr_kd.core.storage import (
    PathOrUrl,
    delete,
    exists,
    join,
    list_files,
    parse_path_or_url,
    read_bytes,
    stem,
    write_bytes,
)
from asr_kd.core.terminal import shorten
from asr_kd.core.text_files import parse_json


class JobState:
    """The folder `.work` in a folder of outputs, which may lie in an object store."""

    def __init__(self, out: PathOrUrl, settings_file: str) -> None:
        """settings_file: name, in `out`, of the file with the settings that all runs share."""
        self.out = parse_path_or_url(out)
        self._settings = join(self.out, settings_file)
        self.folder = join(self.out, ".work")
        self._failures = join(self.folder, "failed")
        self._log = join(self.folder, "log")
        self._run = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"

    @property
    def leases_folder(self) -> Path | None:
        """None in an object store, where no file can be made that only one of two gets."""
        folder = join(self.folder, "leases")
        return folder if isinstance(folder, Path) else None

    def check_settings(self, settings: dict[str, Any]) -> None:
        """ValueError when these are not the settings of the folder's first run; it names what differs."""
        path = self._settings
        if not exists(path):
            text = (json.dumps(settings, indent=1) + "\n").encode()
            if isinstance(path, Path):
                ours = join(self.folder, f"settings-{self._run}.json")
                write_bytes(ours, text)
                with suppress(FileExistsError):
                    os.link(ours, path)  # unlike a rename it tells the second of two runs that start at once
                delete(ours)
            else:
                write_bytes(path, text)
        try:
            found = parse_json(read_bytes(path), path)
        except ValueError as e:
            raise ValueError(f"{e}. Remove it to begin anew.") from None
        check_same_settings(path, found, settings)

    def remove_stale(self) -> None:
        """Remove temporary files of killed runs."""
        for folder in (self.out, self.leases_folder, self.folder):
            if isinstance(folder, Path) and folder.is_dir():
                remove_abandoned(folder)

    def failed(self, shard: str, reason: str, attempts: int) -> None:
        """Note that a shard failed."""
        note = {"shard": shard, "reason": reason, "attempts": attempts, "host": socket.gethostname(), "at": time.time()}
        write_bytes(join(self._failures, f"{stem(shard)}.json"), json.dumps(note).encode())

    def done(self, shard: str, numbers: dict[str, Any]) -> None:
        """Note that a shard is done, and forget its failures."""
        delete(join(self._failures, f"{stem(shard)}.json"))
        if isinstance(self._log, Path):  # objects cannot be appended to: there, the sidecars tell
            self._log.mkdir(parents=True, exist_ok=True)
            line = {"shard": stem(shard), "at": time.time(), **numbers}
            with open(self._log / f"{self._run}.jsonl", "a", encoding="utf-8") as f:
                f.write(json.dumps(line) + "\n")

    def failures(self) -> dict[str, dict[str, Any]]:
        """Failed shards, and why."""
        notes: dict[str, dict[str, Any]] = {}
        for path in list_files(self._failures, ".json"):
            with suppress(ValueError, FileNotFoundError):
                notes[stem(path)] = parse_json(read_bytes(path), path)
        return notes

    def log(self) -> Iterator[dict[str, Any]]:
        """What all runs noted of the shards that are done."""
        for path in sorted(self._log.glob("*.jsonl")) if isinstance(self._log, Path) else ():
            for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
                with suppress(ValueError):  # the last line of a killed run
                    yield parse_json(line, path)


def check_same_settings(path: PathOrUrl, found: Any, wanted: dict[str, Any]) -> None:
    """ValueError when what is at `path` was made with other settings: nothing is overwritten."""
    for key, value in wanted.items():
        there = found.get(key) if isinstance(found, dict) else None
        if there != value:
            raise ValueError(
                f"{path}: is there already with {key} {shorten(there)}, this run makes {key} {shorten(value)}. "
                "Choose another --out, or remove that folder to begin anew."
            )
