"""What runs of a labelling job leave beside the sidecars: settings, claims, failures, and a log to tell rates from.

None of it decides what is done: that is the sidecar's rename alone. Lost or damaged records cost a report its figures.
"""

import json
import os
import socket
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from asr_kd.core.files import read_json, write_json
from asr_kd.core.progress import SECONDS_PER_HOUR
from asr_kd.label.claims import Claims
from asr_kd.label.sidecars import KIND
from asr_kd.shards.sidecar import read_description

RATE_WINDOW_S = 900.0
"""The rate of labelling is that of so much time past."""
ABANDONED_S = 3600.0
LOGGED = ("seconds", "frames", "classes_kept", "set_aside", "first_reason", "bytes")


class Records:
    """The folder `.work` in a folder of sidecars."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.folder = out / ".work"
        self.claims_folder = self.folder / "claims"
        self._failures = self.folder / "failed"
        self._log = self.folder / "log" / f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.jsonl"

    def agree(self, settings: dict[str, Any]) -> None:
        """Make sure that all runs in this folder label alike. ValueError names what differs from the first run's."""
        path = self.out / "label.json"
        if not path.exists():
            ours = self.folder / f"label-{uuid.uuid4().hex}.json"
            write_json(ours, settings)
            with suppress(FileExistsError):
                os.link(ours, path)  # unlike a rename it tells the second of two runs that start at once
            ours.unlink()
        check_settings(path, read_json(path), settings)

    def tidy(self) -> None:
        """Remove what killed runs were writing; a sidecar takes seconds, so what is an hour old is nobody's."""
        for path in self.out.glob(".*.tmp"):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < time.time() - ABANDONED_S:
                    path.unlink()

    def failed(self, shard: str, reason: str, tries: int) -> None:
        """Note that a shard could not be labelled."""
        self._failures.mkdir(parents=True, exist_ok=True)
        note = {"shard": shard, "reason": reason, "tries": tries, "host": socket.gethostname(), "at": time.time()}
        write_json(self._failures / f"{Path(shard).stem}.json", note)

    def done(self, shard: str, numbers: dict[str, Any]) -> None:
        """Note that a shard's sidecar is there, and forget its failures."""
        (self._failures / f"{Path(shard).stem}.json").unlink(missing_ok=True)
        self._log.parent.mkdir(parents=True, exist_ok=True)
        line = {"shard": Path(shard).stem, "at": time.time(), **{key: numbers[key] for key in LOGGED}}
        with open(self._log, "a", encoding="utf-8") as f:
            f.write(json.dumps(line) + "\n")

    def failures(self) -> dict[str, dict[str, Any]]:
        """Shards that could not be labelled, and why."""
        notes: dict[str, dict[str, Any]] = {}
        for path in sorted(self._failures.glob("*.json")):
            with suppress(ValueError):
                notes[path.stem] = read_json(path)
        return notes

    def log(self) -> Iterator[dict[str, Any]]:
        """What all runs noted of finished shards."""
        for path in sorted(self._log.parent.glob("*.jsonl")):
            for line in path.read_text(encoding="utf-8").splitlines():
                with suppress(ValueError):  # the last line of a killed run
                    yield json.loads(line)


def check_settings(path: Path, found: Any, wanted: dict[str, Any]) -> None:
    """ValueError when what is at `path` was made with other settings: nothing is overwritten."""
    for key, value in wanted.items():
        there = found.get(key) if isinstance(found, dict) else None
        if there != value:
            raise ValueError(
                f"{path}: is there already with {key} {_short(there)}, this run makes {key} {_short(value)}. "
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
    mb_per_hour: float | None
    set_aside: int
    first_reason: str | None
    """Why the first utterance was set aside."""
    failures: dict[str, str]
    """The reason of each failed shard."""

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))


def status(shards: Iterable[Path], out: Path) -> Status:
    """Look at sidecars, claims, failures and logs. ValueError when a sidecar holds something else."""
    tars = {path.stem: path for path in shards}
    there = {name.removesuffix(".parquet") for name in os.listdir(out)} & tars.keys() if out.is_dir() else set()
    records = Records(out)
    numbers = {line["shard"]: line for line in records.log() if line["shard"] in there}
    for name in sorted(there - numbers.keys()):  # by an older version, or its run was killed before it wrote the line
        path = out / f"{name}.parquet"
        description = read_description(path)
        if description["kind"] != KIND:
            raise ValueError(
                f"{path}: holds {description['kind']}, not {KIND}. Give the folder of `asr-kd label --out`."
            )
        numbers[name] = {**description, "bytes": path.stat().st_size, "at": path.stat().st_mtime}
    total = {key: sum(line[key] for line in numbers.values()) for key in ("seconds", "frames", "classes_kept")}
    aside, written = sum(n["set_aside"] for n in numbers.values()), sum(n["bytes"] for n in numbers.values())
    hours = total["seconds"] / SECONDS_PER_HOUR
    tar_bytes = {name: path.stat().st_size for name, path in tars.items()}
    bytes_done = sum(tar_bytes[name] for name in there)
    left = hours / bytes_done * (sum(tar_bytes.values()) - bytes_done) if bytes_done else None
    rate = _rate(list(numbers.values()))
    failures = {
        name: str(note.get("reason")) for name, note in records.failures().items() if name in tars.keys() - there
    }
    claims = Claims(records.claims_folder).running() if records.claims_folder.is_dir() else ()
    running = sum(name in tars and name not in there for name, _ in claims)
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
        mb_per_hour=written / hours / 1e6 if hours else None,
        set_aside=aside,
        first_reason=next((n["first_reason"] for _, n in sorted(numbers.items()) if n["first_reason"]), None),
        failures=failures,
    )


def _rate(lines: list[dict[str, Any]]) -> float | None:
    """Hours of audio a second: what was finished after the first shard of the window, over the time since then."""
    recent = sorted((line for line in lines if line["at"] > time.time() - RATE_WINDOW_S), key=lambda line: line["at"])
    if len(recent) < 2 or recent[-1]["at"] <= recent[0]["at"]:
        return None
    seconds = sum(line["seconds"] for line in recent[1:])
    return seconds / SECONDS_PER_HOUR / (recent[-1]["at"] - recent[0]["at"])


def _short(value: Any) -> str:
    return f"{value[:12]}…" if isinstance(value, str) and len(value) == 64 else str(value)
