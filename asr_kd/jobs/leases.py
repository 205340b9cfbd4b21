"""Which run works on which shard of a folder, so that machines that share it seldom do the same work twice.

Leases only save work. What makes a shard count once is the rename of its output, and every run gives the same bytes:
when a lease is lost or taken over too early, an output is written again as it was.
"""

import json
import os
import stat
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from asr_kd.core.files import atomic_path
from asr_kd.core.processes import Process
from asr_kd.core.text_files import parse_json

LEASE_S = 120.0
"""A lease expires when its file was not touched for so long."""
MAX_LEASE_BYTES = 1 << 16
"""A longer file is no lease."""


class Leases:
    """The leases of one run in a folder that others may share; a thread renews them.

    Clocks of machines need not agree: a lease is expired when this run has seen its file unchanged for `lease_s`. A
    lease of a process of this machine that has ended is expired at once.
    """

    def __init__(self, folder: Path | None, lease_s: float = LEASE_S) -> None:
        """folder: None grants every lease: for object stores, where no file can be made that only one of two gets."""
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.lease_s = folder, lease_s
        self._me = Process.this().record() | {"run": uuid.uuid4().hex}
        self._held: set[str] = set()
        self._seen: dict[str, tuple[Any, float]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True)

    def __enter__(self) -> "Leases":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        for name in list(self._held):
            self.release(name)
        self.expire()

    def expire(self) -> None:
        """Remove leases of processes of this machine that have ended.

        One that is taken over at the same moment may be removed too; then a shard is processed twice.
        """
        for path in sorted(self.folder.glob("*.json")) if self.folder else ():
            holder = _read(path)
            if _is_dead(holder):
                path.unlink(missing_ok=True)

    def acquire(self, name: str) -> bool:
        """Lease a shard. False while another run, alive as far as can be told, has it."""
        if self.folder is None:
            return True
        path = self._path(name)
        try:
            with open(path, "x", encoding="utf-8") as f:
                json.dump(self._me, f)
        except FileExistsError:
            if _is_odd(path):  # no run made it, and work is not to wait for it
                return True
            if not self._is_expired(path):
                return False
            with atomic_path(path) as temporary:
                temporary.write_text(json.dumps(self._me), encoding="utf-8")
            if _read(path) != self._me:  # another took it over at the same moment
                return False
        self._held.add(name)
        return True

    def release(self, name: str) -> None:
        """Give a lease back; one that was taken over stays with its new holder."""
        if name not in self._held:
            return
        self._held.discard(name)
        path = self._path(name)
        if _read(path) == self._me:
            path.unlink(missing_ok=True)

    def running(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Leased shards and their holders (`host`, `pid`), without those of ended processes of this machine."""
        for path in sorted(self.folder.glob("*.json")) if self.folder else ():
            holder = _read(path)
            if holder is not None and not _is_dead(holder):
                yield path.stem, holder

    def _path(self, name: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{name}.json"

    def _is_expired(self, path: Path) -> bool:
        holder = _read(path)
        if _is_dead(holder):
            return True
        try:
            state = (path.stat().st_mtime_ns, holder)
        except FileNotFoundError:
            return True
        before, since = self._seen.get(path.name, (None, 0.0))
        if before != state:
            self._seen[path.name] = (state, time.monotonic())
            return False
        return time.monotonic() - since > self.lease_s

    def _renew(self) -> None:
        while not self._stop.wait(self.lease_s / 4):
            for name in list(self._held):
                with suppress(FileNotFoundError):
                    os.utime(self._path(name))


def _is_odd(path: Path) -> bool:
    """Whether there is something else than a file: a folder, a link, a pipe."""
    try:
        return not stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:
        return False


def _read(path: Path) -> dict[str, Any] | None:
    """What a lease says; None when it is gone, was cut off in the making, or no run wrote it."""
    try:
        if _is_odd(path):
            return None
        with open(path, "rb") as f:
            holder = parse_json(f.read(MAX_LEASE_BYTES), path)
    except (OSError, ValueError):
        return None
    return holder if Process.parse(holder) else None


def _is_dead(holder: dict[str, Any] | None) -> bool:
    process = Process.parse(holder)
    return process is not None and process.has_ended
