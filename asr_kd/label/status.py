"""How far a labelling job is: what its sidecars hold, what is left and how long that takes."""

import json
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from asr_kd.core.progress import SECONDS_PER_HOUR
from asr_kd.core.skipped import Skipped
from asr_kd.core.storage import PathOrUrl, dirname, file_sizes, parallel_map, parse_path_or_url, stem
from asr_kd.jobs.job_state import JobState
from asr_kd.jobs.leases import Leases
from asr_kd.targets.sidecar import count_rows, read_description, read_sidecar, sidecar_path
from asr_kd.targets.sidecar_kinds import check_kind

SETTINGS_FILE = "label.json"
"""In the folder of the sidecars: what all runs have in common."""
RATE_WINDOW_S = 900.0
"""The rate is measured over so much time past."""


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
    """Audio of the others, estimated from the size of their tars; None before the first is done."""
    hours_per_second: float | None
    """Rate over the last quarter of an hour, all machines together; None when nothing was finished then."""
    seconds_left: float | None
    classes_per_frame: float | None
    mass_kept: float | None
    """Probability that the kept classes hold, mean over the frames."""
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


def status(shards: Sequence[PathOrUrl], out: PathOrUrl) -> Status:
    """Read sidecars, leases, failures and logs. ValueError when a sidecar holds something else."""
    state = JobState(out, SETTINGS_FILE)
    by_name = _sidecar_rows(state, shards)
    done, rows = by_name.keys(), list(by_name.values())
    sums = {key: sum(row.get(key, 0) for row in rows) for key in ("seconds", "frames", "classes_kept", "words")}
    hours, frames = sums["seconds"] / SECONDS_PER_HOUR, sums["frames"]
    hours_left = _hours_left(hours, done, shards)
    rate = _hours_per_second(rows)
    undone = {stem(path) for path in shards} - done
    failures = {name: str(note.get("reason")) for name, note in state.failures().items() if name in undone}
    mass = sum(row["mass_kept"] * row["frames"] for row in rows if "frames" in row)
    return Status(
        shards=len({stem(path) for path in shards}),
        done=len(done),
        running=_running(state.leases_folder, undone),
        failed=len(failures),
        hours=hours,
        hours_left=hours_left,
        hours_per_second=rate,
        seconds_left=hours_left / rate if rate and hours_left is not None else None,
        classes_per_frame=sums["classes_kept"] / frames if frames else None,
        mass_kept=mass / frames if frames else None,
        words=sums["words"] if any("words" in row for row in rows) else None,
        mb_per_hour=sum(row["bytes"] for row in rows) / hours / 1e6 if hours else None,
        set_aside=sum(row["set_aside"] for row in rows),
        first_reason=next((row["first_reason"] for row in rows if row["first_reason"]), None),
        failures=failures,
    )


def note_skipped(shards: Sequence[PathOrUrl], out: PathOrUrl, skipped: Skipped) -> int:
    """Add what the finished sidecars of `shards` leave out to `skipped`; returns how many utterances they have.

    Where nothing is left out, no sidecar is opened and the result is a lower bound.
    """
    rows = _sidecar_rows(JobState(out, SETTINGS_FILE), shards)
    paths = {stem(path): sidecar_path(out, path) for path in shards if stem(path) in rows}
    incomplete = [path for name, path in sorted(paths.items()) if rows[name]["set_aside"]]
    remote = isinstance(parse_path_or_url(out), str)
    for reasons in parallel_map(_reasons, incomplete, remote):
        for name, reason in reasons:
            skipped.add(name, reason)
    unknown = [path for name, path in paths.items() if "utterances" not in rows[name]] if incomplete else []
    return sum(row.get("utterances", 0) for row in rows.values()) + sum(parallel_map(count_rows, unknown, remote))


def _reasons(path: PathOrUrl) -> list[tuple[str, str]]:
    rows = read_sidecar(path)[0].select(["id", "reason"]).to_pylist()
    return [(row["id"], row["reason"]) for row in rows if row["reason"] is not None]


def _sidecar_rows(state: JobState, shards: Sequence[PathOrUrl]) -> dict[str, dict[str, Any]]:
    """The figures of each finished sidecar by its name, sorted: from the log, or else from the sidecar itself."""
    sidecar_bytes = {stem(path): n for path, n in file_sizes(state.out, ".parquet").items()}
    tars = {stem(path): path for path in shards if stem(path) in sidecar_bytes}
    rows = {line["shard"]: line for line in state.log() if line["shard"] in tars}
    unlogged = sorted(tars.keys() - rows.keys())  # in a store, or the run was killed before it wrote the line
    paths = [sidecar_path(state.out, tars[name]) for name in unlogged]
    remote = isinstance(state.out, str)
    for name, path, description in zip(unlogged, paths, parallel_map(read_description, paths, remote), strict=True):
        check_kind(path, description)
        at = path.stat().st_mtime if isinstance(path, Path) else 0.0
        rows[name] = {**description, "bytes": sidecar_bytes[name], "at": at}
    return dict(sorted(rows.items()))


def _running(leases: Path | None, undone: Iterable[str]) -> int:
    if leases is None or not leases.is_dir():
        return 0
    return len(set(undone) & {name for name, _ in Leases(leases).running()})


def _hours_left(hours: float, done: Collection[str], shards: Sequence[PathOrUrl]) -> float | None:
    """Audio of the shards that are not done, from the bytes of the tars."""
    sizes = {stem(path): n for path, n in tar_sizes(shards).items()}
    done_bytes = sum(sizes.get(name, 0) for name in done)
    return hours / done_bytes * (sum(sizes.values()) - done_bytes) if done_bytes else None


def _hours_per_second(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """What was finished after the first shard of the window, over the time since then."""
    recent = sorted((row for row in rows if row["at"] > time.time() - RATE_WINDOW_S), key=lambda row: row["at"])
    if len(recent) < 2 or recent[-1]["at"] <= recent[0]["at"]:
        return None
    seconds = sum(row["seconds"] for row in recent[1:])
    return seconds / SECONDS_PER_HOUR / (recent[-1]["at"] - recent[0]["at"])


def describe_status(now: Status, out: PathOrUrl) -> list[str]:
    """A few lines for people."""
    text = f"{now.done} of {now.shards} shards labelled in {out}: {now.hours:.2f} h of audio"
    if now.classes_per_frame is not None and now.mass_kept is not None and now.mb_per_hour is not None:
        text += (
            f", {now.classes_per_frame:.1f} classes a frame that hold {100 * now.mass_kept:.2f}% of the mass, "
            f"{now.mb_per_hour:.2f} MB per hour"
        )
    if now.words is not None:
        text += f", {now.words} words"
    lines = [text]
    if now.running or now.failed:
        lines.append(f"{now.running} running, {now.failed} failed")
    if now.done < now.shards and now.hours_left is not None:
        text = f"{now.hours_left:.2f} h of audio left"
        if now.hours_per_second and now.seconds_left is not None:
            minutes = now.seconds_left / 60
            text += f", {now.hours_per_second:.3f} h/s over the last quarter of an hour, {minutes:.0f} min to go"
        lines.append(text)
    lines += [f"failed: {name}: {reason}" for name, reason in list(now.failures.items())[:5]]
    if now.failed:
        lines.append("Run the same command to try the failed shards again.")
    return lines


def describe_skipped(now: Status) -> list[str]:
    """A line for people where something was skipped."""
    return [f"{now.set_aside} utterances skipped; the first: {now.first_reason}"] if now.set_aside else []


def tar_sizes(shards: Iterable[PathOrUrl]) -> dict[PathOrUrl, int]:
    """Bytes of each tar; of remote ones by one listing of each folder."""
    sizes: dict[PathOrUrl, int] = {}
    listed: set[PathOrUrl] = set()
    for path in shards:
        if isinstance(path, Path):
            sizes[path] = path.stat().st_size
        elif path not in sizes and dirname(path) not in listed:
            listed.add(dirname(path))
            sizes |= file_sizes(dirname(path), ".tar")
    return {path: sizes[path] for path in shards if path in sizes}
