"""What runs of a labelling job leave beside the sidecars: settings, claims, failures, and a log to tell rates from.

None of it decides what is done: that is the sidecar's rename alone. Lost or damaged records cost a report its figures.
"""

import json
import os
import socket
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from asr_kd.core.files import remove_abandoned
from asr_kd.core.progress import SECONDS_PER_HOUR
from asr_kd.core.skipped import Skipped
from asr_kd.core.storage import (
    Location,
    child,
    concurrently,
    delete,
    exists,
    file_sizes,
    list_files,
    location,
    parent,
    read_bytes,
    stem,
    write_bytes,
)
from asr_kd.core.text_files import parse_json
from asr_kd.label.claims import Claims
from asr_kd.label.sidecars import check_kind
from asr_kd.shards.sidecar import count_rows, read_description, read_sidecar, shorten, sidecar_path

RATE_WINDOW_S = 900.0
"""The rate of labelling is that of so much time past."""
_OF_POSTERIORS = ("frames", "classes_kept", "mass_kept")
LOGGED = ("seconds", *_OF_POSTERIORS, "words", "set_aside", "first_reason", "bytes", "utterances")
"""What a log keeps of a sidecar's numbers; each kind of sidecar has some of them."""


class Records:
    """The folder `.work` in a folder of sidecars, which may lie in an object store."""

    def __init__(self, out: Location) -> None:
        self.out = location(out)
        self.folder = child(self.out, ".work")
        self._failures = child(self.folder, "failed")
        self._log = child(self.folder, "log")
        self._run = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"

    @property
    def claims_folder(self) -> Path | None:
        """Where claims lie; None in an object store, which has no files that only one of two can make."""
        folder = child(self.folder, "claims")
        return folder if isinstance(folder, Path) else None

    def agree(self, settings: dict[str, Any]) -> None:
        """Make sure that all runs in this folder label alike. ValueError names what differs from the first run's."""
        path = child(self.out, "label.json")
        if not exists(path):
            text = (json.dumps(settings, indent=1) + "\n").encode()
            if isinstance(path, Path):
                ours = child(self.folder, f"label-{self._run}.json")
                write_bytes(ours, text)
                with suppress(FileExistsError):
                    os.link(ours, path)  # unlike a rename it tells the second of two runs that start at once
                delete(ours)
            else:
                write_bytes(path, text)
        try:
            found = parse_json(read_bytes(path), path)
        except ValueError as e:
            raise ValueError(f"{e}. Remove it if the sidecars are to be made anew.") from None
        check_settings(path, found, settings)

    def tidy(self) -> None:
        """Remove what killed runs were writing."""
        for folder in (self.out, self.claims_folder, self.folder):
            if isinstance(folder, Path) and folder.is_dir():
                remove_abandoned(folder)

    def failed(self, shard: str, reason: str, tries: int) -> None:
        """Note that a shard could not be labelled."""
        note = {"shard": shard, "reason": reason, "tries": tries, "host": socket.gethostname(), "at": time.time()}
        write_bytes(child(self._failures, f"{stem(shard)}.json"), json.dumps(note).encode())

    def done(self, shard: str, numbers: dict[str, Any]) -> None:
        """Note that a shard's sidecar is there, and forget its failures."""
        delete(child(self._failures, f"{stem(shard)}.json"))
        if isinstance(self._log, Path):  # objects cannot be appended to: there, the sidecars tell
            self._log.mkdir(parents=True, exist_ok=True)
            line = {"shard": stem(shard), "at": time.time(), **{k: numbers[k] for k in LOGGED if k in numbers}}
            with open(self._log / f"{self._run}.jsonl", "a", encoding="utf-8") as f:
                f.write(json.dumps(line) + "\n")

    def failures(self) -> dict[str, dict[str, Any]]:
        """Shards that could not be labelled, and why."""
        notes: dict[str, dict[str, Any]] = {}
        for path in list_files(self._failures, ".json"):
            with suppress(ValueError, FileNotFoundError):
                notes[stem(path)] = parse_json(read_bytes(path), path)
        return notes

    def log(self) -> Iterator[dict[str, Any]]:
        """What all runs noted of finished shards."""
        for path in sorted(self._log.glob("*.jsonl")) if isinstance(self._log, Path) else ():
            for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
                with suppress(ValueError):  # the last line of a killed run
                    yield parse_json(line, path)


def check_settings(path: Location, found: Any, wanted: dict[str, Any]) -> None:
    """ValueError when what is at `path` was made with other settings: nothing is overwritten."""
    for key, value in wanted.items():
        there = found.get(key) if isinstance(found, dict) else None
        if there != value:
            raise ValueError(
                f"{path}: is there already with {key} {shorten(there)}, this run makes {key} {shorten(value)}. "
                "Choose another --out, or remove that folder to label anew."
            )


@dataclass(frozen=True)
class Status:
    """How far the labelling of some shards into a folder is."""

    shards: int
    done: int
    running: int
    failed: int
    hours: float
    """Audio of the shards that are done."""
    hours_left: float | None
    """Audio of the others, judged by the size of their tars; None before the first is done."""
    hours_per_second: float | None
    """Rate over the last quarter of an hour, all machines together; None when nothing was finished then."""
    seconds_left: float | None
    classes_per_frame: float | None
    mass_kept: float | None
    """Probability that they hold, mean over the frames."""
    words: int | None
    """Of transcripts; None for sidecars of posteriors."""
    mb_per_hour: float | None
    set_aside: int
    first_reason: str | None
    """Why the first utterance was set aside."""
    failures: dict[str, str]
    """The reason of each failed shard."""

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))


def status(shards: Sequence[Location], out: Location) -> Status:
    """Look at sidecars, claims, failures and logs. ValueError when a sidecar holds something else."""
    tars = {stem(path) for path in shards}
    records, numbers = Records(out), _numbers(shards, out)
    there = numbers.keys()
    totals = ("seconds", "frames", "classes_kept", "words")
    total = {key: sum(line.get(key, 0) for line in numbers.values()) for key in totals}
    aside, written = sum(n["set_aside"] for n in numbers.values()), sum(n["bytes"] for n in numbers.values())
    mass = sum(line["mass_kept"] * line["frames"] for line in numbers.values() if "frames" in line)
    hours = total["seconds"] / SECONDS_PER_HOUR
    bytes_of = {stem(path): n for path, n in tar_sizes(shards).items()}
    bytes_done = sum(bytes_of.get(name, 0) for name in there)
    left = hours / bytes_done * (sum(bytes_of.values()) - bytes_done) if bytes_done else None
    rate = _rate(list(numbers.values()))
    undone = tars - there
    failures = {name: str(note.get("reason")) for name, note in records.failures().items() if name in undone}
    claims = records.claims_folder
    running = sum(name in undone for name, _ in Claims(claims).running()) if claims and claims.is_dir() else 0
    return Status(
        shards=len(tars),
        done=len(there),
        running=running,
        failed=len(failures),
        hours=hours,
        hours_left=left,
        hours_per_second=rate,
        seconds_left=left / rate if rate and left is not None else None,
        classes_per_frame=total["classes_kept"] / total["frames"] if total["frames"] else None,
        mass_kept=mass / total["frames"] if total["frames"] else None,
        words=total["words"] if any("words" in line for line in numbers.values()) else None,
        mb_per_hour=written / hours / 1e6 if hours else None,
        set_aside=aside,
        first_reason=next((n["first_reason"] for _, n in sorted(numbers.items()) if n["first_reason"]), None),
        failures=failures,
    )


def note_skipped(shards: Sequence[Location], out: Location, skipped: Skipped) -> int:
    """Note what the finished sidecars of `shards` leave out; returns how many utterances these have in all.

    Where nothing is left out no sidecar is opened, and none is counted.
    """
    numbers = _numbers(shards, out)
    paths = {stem(path): sidecar_path(out, path) for path in shards if stem(path) in numbers}
    some = [path for name, path in sorted(paths.items()) if numbers[name]["set_aside"]]
    remote = isinstance(location(out), str)
    for rows in concurrently(_reasons, some, remote):
        for name, reason in rows:
            skipped.add(name, reason)
    unknown = [path for name, path in paths.items() if "utterances" not in numbers[name]] if some else []
    return sum(n.get("utterances", 0) for n in numbers.values()) + sum(concurrently(count_rows, unknown, remote))


def _reasons(path: Location) -> list[tuple[str, str]]:
    rows = read_sidecar(path)[0].select(["id", "reason"]).to_pylist()
    return [(row["id"], row["reason"]) for row in rows if row["reason"] is not None]


def _numbers(shards: Sequence[Location], out: Location) -> dict[str, dict[str, Any]]:
    """What each finished shard's sidecar holds, from the logs where they tell it."""
    tars = {stem(path): path for path in shards}
    sidecars = {stem(path): n for path, n in file_sizes(out, ".parquet").items()}
    there = sidecars.keys() & tars.keys()
    numbers = {line["shard"]: line for line in Records(out).log() if line["shard"] in there}
    unlogged = sorted(there - numbers.keys())  # in a store, or their run was killed before it wrote the line
    paths = [sidecar_path(out, tars[name]) for name in unlogged]
    remote = isinstance(location(out), str)
    for name, path, description in zip(unlogged, paths, concurrently(read_description, paths, remote), strict=True):
        check_kind(path, description)
        at = path.stat().st_mtime if isinstance(path, Path) else 0.0
        numbers[name] = {**description, "bytes": sidecars[name], "at": at}
    return numbers


def tar_sizes(shards: Iterable[Location]) -> dict[Location, int]:
    """Bytes of each tar; of remote ones by one listing of each folder."""
    sizes: dict[Location, int] = {}
    listed: set[Location] = set()
    for path in shards:
        if isinstance(path, Path):
            sizes[path] = path.stat().st_size
        elif path not in sizes and parent(path) not in listed:
            listed.add(parent(path))
            sizes |= file_sizes(parent(path), ".tar")
    return {path: sizes[path] for path in shards if path in sizes}


def _rate(lines: list[dict[str, Any]]) -> float | None:
    """Hours of audio a second: what was finished after the first shard of the window, over the time since then."""
    recent = sorted((line for line in lines if line["at"] > time.time() - RATE_WINDOW_S), key=lambda line: line["at"])
    if len(recent) < 2 or recent[-1]["at"] <= recent[0]["at"]:
        return None
    seconds = sum(line["seconds"] for line in recent[1:])
    return seconds / SECONDS_PER_HOUR / (recent[-1]["at"] - recent[0]["at"])
