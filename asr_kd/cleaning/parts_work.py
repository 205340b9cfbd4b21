"""Work on manifests in parts: which parts are to be done, doing them exactly once, and how far they are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from asr_kd.core.progress import SECONDS_PER_HOUR, Progress
from asr_kd.core.terminal import say
from asr_kd.jobs.job import ShardEvent
from asr_kd.jobs.job_state import JobState
from asr_kd.jobs.leases import Leases
from asr_kd.jobs.process_pool import Pool
from asr_kd.jobs.scheduler import run_shards
from asr_kd.segment.recordings import Source, parts_of, write_part


@dataclass(frozen=True)
class PartsWork:
    """What there is to do."""

    lists: list[Path]
    """Lists of utterances, one a part, each once."""
    todo: list[Path]
    utterances: int
    """Those that were rejected at once, too."""
    seconds: float
    seconds_todo: float

    def status(self, state: JobState) -> list[str]:
        """How far the work is, for people."""
        done_h = (self.seconds - self.seconds_todo) / SECONDS_PER_HOUR
        lines = [
            f"{len(self.lists) - len(self.todo)} of {len(self.lists)} parts done: {done_h:.2f} of "
            f"{self.seconds / SECONDS_PER_HOUR:.2f} h of audio"
        ]
        undone = {path.stem for path in self.todo}
        failures = {name: note for name, note in state.failures().items() if name in undone}
        return [*lines, *(f"failed: {name}: {note.get('reason')}" for name, note in list(failures.items())[:5])]


def plan(sources: Sequence[Source], result: Callable[[str], Path], out: Path, write: bool) -> PartsWork:
    """The parts of all sources.  result: where a part's result goes.  write: list the utterances of each in a file."""
    lists: dict[Path, float] = {}
    utterances, seconds = 0, 0.0
    for source in sources:
        utterances += len(source.rejected)
        for part in parts_of(source.utterances()):
            path = out / ".work" / "utterances" / f"{part.name}.jsonl"
            if write:
                write_part(path, part)
            seconds += 0.0 if path in lists else part.seconds
            lists[path] = part.seconds
            utterances += len(part.recordings)
    todo = [path for path in lists if not result(str(path)).exists()]
    todo.sort(key=lambda path: -lists[path])  # the longest first: workers end at about the same time
    return PartsWork(list(lists), todo, utterances, seconds, sum(lists[path] for path in todo))


def run_parts(
    work: PartsWork,
    result: Callable[[str], Path],
    state: JobState,
    make_pool: Callable[[int], Pool],
    max_attempts: int,
) -> dict[str, str]:
    """Do the parts that are not done; the reasons of those that failed.  make_pool: of the number of parts."""
    if not work.todo:
        Leases(state.leases_folder).expire()
        return {}
    pool = make_pool(len(work.todo))
    try:
        with Progress("annotate", work.seconds_todo) as progress, Leases(state.leases_folder) as leases:

            def note(event: ShardEvent) -> None:
                if event.kind == "audio":
                    progress.update(event.seconds)
                elif event.kind == "failed":
                    say(f"{event.shard}: {event.reason}")

            is_done = lambda part: result(part).exists()
            return run_shards(work.todo, is_done, pool, leases, state, max_attempts, note, one_at_a_time=True)
    finally:
        pool.close()
