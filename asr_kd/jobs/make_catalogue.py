"""Makes the catalogue of shards: one file that lists them with their hours and lengths, so that training on many shards
starts without opening their indexes. `asr-kd shard` writes one itself; this is for tars of any other origin.

Foreign tars without an index are read once and given one. The same command resumes a stopped one, and extends the
catalogue when shards were added, changed or removed: only new and changed ones are opened. Shards that cannot be read
are skipped and listed in catalogue.skipped.jsonl; when they are more than --max-skipped, no catalogue is written.

  asr-kd catalogue corpus/shards
  asr-kd catalogue s3://bucket/shards --jobs 16
  asr-kd catalogue corpus/a corpus/b --out corpus/catalogue.parquet
"""

import posixpath
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from asr_kd.core.commands import command
from asr_kd.core.errors import PartFailed
from asr_kd.core.files import fingerprint
from asr_kd.core.options import argument, option
from asr_kd.core.progress import SECONDS_PER_HOUR, Progress
from asr_kd.core.skipped import MAX_SKIPPED, Skipped
from asr_kd.core.storage import PathOrUrl, basename, dirname, join, output_location, parse_path_or_url, scan, stem
from asr_kd.core.terminal import say, show
from asr_kd.jobs.catalogue_job import CatalogueJob
from asr_kd.jobs.job import ShardEvent
from asr_kd.jobs.job_state import JobState
from asr_kd.jobs.leases import Leases
from asr_kd.jobs.process_pool import ProcessPool, workers_here
from asr_kd.jobs.scheduler import run_shards
from asr_kd.shards.catalogue_file import CatalogueFile, stored_path
from asr_kd.shards.catalogue_journal import CatalogueJournal, TarState
from asr_kd.shards.catalogue_writer import CATALOGUE_NAME, HERE, write_catalogue
from asr_kd.shards.reader import find_shards, shard_order
from asr_kd.shards.remote import cache_folder


@dataclass(frozen=True, kw_only=True)
class CatalogueRun:
    """What `asr-kd catalogue` is given."""

    shards: tuple[PathOrUrl, ...] = argument("folders of shards, or shards; the catalogue lists these and no others")
    out: PathOrUrl | None = option(
        f"the catalogue (default: {CATALOGUE_NAME} in the folder of shards, where one is given)",
        None,
        metavar="FILE",
        parse=output_location,
    )
    jobs: int | None = option("processes that open shards (default: one per core)", None, metavar="N")
    max_skipped: float = option(
        "fail when more than this share of the shards is skipped as damaged", MAX_SKIPPED, metavar="SHARE"
    )
    dry_run: bool = option("say what would be opened; open and write nothing", False)


def make_catalogue(config: CatalogueRun) -> None:
    """Write or extend the catalogue of shards. PartFailed when the system failed on some of them."""
    if config.jobs is not None and config.jobs < 1:
        raise ValueError(f"--jobs {config.jobs}: at least one job is needed")
    out, first = config.out, parse_path_or_url(config.shards[0])
    if out is None:
        if len(config.shards) > 1 or not _is_folder(first):
            raise ValueError("--out: is needed, except for the shards of one folder")
        out = output_location(str(join(first, CATALOGUE_NAME)))
    if not basename(out).endswith(".parquet"):
        raise ValueError(f"--out {out}: a catalogue is a .parquet file")
    _make(replace(config, out=parse_path_or_url(out)))


@command(is_file=True)
def _make(config: CatalogueRun) -> None:
    assert config.out is not None
    out, folder = config.out, dirname(config.out)
    skipped = Skipped("shards", config.max_skipped)
    tars = {stored_path(folder, tar): tar for tar in find_shards(*config.shards)}
    names = sorted(tars, key=lambda name: shard_order(name if "://" in name else Path(name)))
    states = _states(folder, tars.values())
    catalogue, rows = _unchanged(out, states)
    journal = CatalogueJournal(_journal_file(out))
    resumed = {name for name in names if name not in rows and journal.has(name, states[name])}
    todo = {str(tars[name]): name for name in names if name not in rows and name not in resumed}
    say(f"{len(names)} shards: {len(names) - len(todo)} known, {len(todo)} to open")
    if config.dry_run:
        return
    unread = _open(todo, states, journal, skipped, config.jobs or workers_here("cpu"))
    if unread:
        raise PartFailed(f"{len(unread)} of {len(todo)} shards could not be opened. Run the same command again.")
    list_of_skipped = join(folder, f"{stem(out)}.skipped.jsonl")
    skipped.finish(len(names), list_of_skipped)
    damaged = {todo[tar]: states[todo[tar]][0] for tar in skipped.reasons}
    found = (
        catalogue.row(rows[name]) if catalogue is not None and name in rows else journal.row(name)
        for name in names
        if name not in damaged
    )
    whole = [stored_path(folder, where) for where in map(parse_path_or_url, config.shards) if _is_folder(where)]
    write_catalogue(out, found, whole, damaged)
    journal.file.unlink(missing_ok=True)
    written = CatalogueFile(out)
    count, hours = written.utterances_N.sum(dtype=int), written.seconds_N.sum() / SECONDS_PER_HOUR
    show(f"{out}: {len(written)} shards, {count} utterances, {hours:.3f} h")


def _open(
    todo: Mapping[str, str],
    states: Mapping[str, TarState],
    journal: CatalogueJournal,
    skipped: Skipped,
    workers: int,
) -> set[str]:
    """Open shards (by tar: its name in the catalogue) into the journal; returns those on which the system failed."""
    if not todo:
        return set()
    done = 0
    pool = ProcessPool(CatalogueJob(threads=1), min(workers, len(todo)))
    try:
        with Progress("catalogue") as progress, tempfile.TemporaryDirectory() as folder:

            def note(event: ShardEvent) -> None:
                nonlocal done
                done += event.kind == "done" or event.final
                progress.update(event.seconds, shards=f"{done} of {len(todo)}")
                if event.kind == "done":
                    name = todo[event.shard]
                    row = replace(event.statistics.pop("row"), path=name)
                    if states[name][0] not in (None, row.bytes):
                        reason = f"{states[name][0]} bytes, its index was made for {row.bytes}"
                        skipped.add(event.shard, f"{event.shard}: {reason}. Upload both again.")
                    else:
                        journal.add(row, states[name])
                elif event.final:
                    skipped.add(event.shard, event.reason)
                else:
                    say(f"{event.shard}: {event.reason}")

            failed = run_shards(todo, lambda shard: False, pool, Leases(None), JobState(folder, "job.json"), 3, note)
            return failed.keys() - skipped.reasons.keys()
    finally:
        pool.close()


def _states(folder: PathOrUrl, tars: Collection[PathOrUrl]) -> dict[str, TarState]:
    """Bytes and time of change of each tar by its name in the catalogue, by one listing of each of their folders."""
    states: dict[str, TarState] = {stored_path(folder, tar): (None, 0) for tar in tars}
    for place in {dirname(tar) for tar in tars}:
        inside = stored_path(folder, place)
        before = "" if inside == HERE else posixpath.join(inside, "")
        for name, size, changed_ns in scan(place, ".tar"):
            if before + name in states:
                states[before + name] = (size, changed_ns)
    return states


def _unchanged(out: PathOrUrl, states: Mapping[str, TarState]) -> tuple[CatalogueFile | None, dict[str, int]]:
    """The catalogue that is there, and its rows of tars that are as they were when it was written."""
    try:
        catalogue = CatalogueFile(out)
    except FileNotFoundError:
        return None, {}
    rows = {}
    for row, name in enumerate(catalogue.paths.to_pylist()):
        size, changed_ns = states.get(name, (-1, 0))
        if size in (None, catalogue.bytes_N[row]) and changed_ns <= catalogue.written_ns:
            rows[name] = row
    return catalogue, rows


def _journal_file(out: PathOrUrl) -> Path:
    """Where rows are kept until the catalogue is written: beside it, of one in a store in the cache."""
    if isinstance(out, Path):
        return out.with_name(f".{out.name}.rows.jsonl")
    return cache_folder() / "catalogues" / f"{fingerprint(out)}.rows.jsonl"


def _is_folder(where: PathOrUrl) -> bool:
    return where.is_dir() if isinstance(where, Path) else not where.endswith(".tar")
