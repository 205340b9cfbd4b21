"""Work on manifests in parts: which parts are to be done, how far they are, the worker, and what became of all."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from asr_kd.core.files import atomic_path, values_of
from asr_kd.core.progress import SECONDS_PER_HOUR
from asr_kd.corpora.manifest import Utterance
from asr_kd.jobs.job import ShardEvent, failure
from asr_kd.jobs.job_state import JobState
from asr_kd.segment.recordings import Part, Source, parts_of, read_part, write_part

Result = TypeVar("Result")


class PartsJob(Protocol):
    """A job on parts."""

    def settings(self) -> dict[str, Any]:
        """What decides its results."""

    def result(self, part: str) -> Path:
        """Where the result of a part goes. part: path of its list, or its name."""


@dataclass(frozen=True)
class PartsWork:
    """What there is to do."""

    lists: list[Path]
    """Lists of recordings or utterances, one a part, each once."""
    todo: list[Path]
    items: int
    """Recordings or utterances, with those that were rejected at once."""
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


def plan(
    sources: Sequence[Source],
    items: Callable[[Source], Iterable[Utterance]],
    job: PartsJob,
    out: Path,
    state: JobState | None,
) -> PartsWork:
    """The parts of all sources.

    items: of a source, what is worked on.  state: of a job that is to run, so that the items of each part are listed
    in a file; None only looks.  ValueError when `out` was made with other settings.
    """
    if state is not None:
        state.check_settings(job.settings())
        state.remove_stale()
    lists: dict[Path, float] = {}
    count, seconds = 0, 0.0
    for source in sources:
        count += len(source.rejected)
        for part in parts_of(items(source)):
            path = out / ".work" / "parts" / f"{part.name}.jsonl"
            if state is not None:
                write_part(path, part)
            seconds += 0.0 if path in lists else part.seconds
            lists[path] = part.seconds
            count += len(part.recordings)
    todo = [path for path in lists if not job.result(str(path)).exists()]
    todo.sort(key=lambda path: -lists[path])  # the longest first: workers end at about the same time
    return PartsWork(list(lists), todo, count, seconds, sum(lists[path] for path in todo))


class PartWorker(ABC):
    """Works on one part after the other; the rename of a part's result marks it done."""

    def __init__(self, result: Callable[[str], Path], report: Callable[[ShardEvent], None]) -> None:
        """result: where a part's result goes.  report: called with every event."""
        self._result, self._report = result, report

    @abstractmethod
    def line(self, item: Utterance) -> str:
        """What becomes of an item, as a line of JSON. Errors of the system (disk, memory) pass."""

    def run(self, receive: Callable[[], str | None]) -> None:
        """Work on the parts that `receive` gives until it gives None. One that fails does not stop the others."""
        while (path := receive()) is not None:
            try:
                seconds = self._part(path)
            except Exception as e:  # whatever happens in a part is that part's
                self._report(failure(path, e))
            else:
                self._report(ShardEvent(path, "done", seconds, statistics={"seconds": seconds}))

    def _part(self, path: str) -> float:
        seconds = 0.0
        with atomic_path(self._result(path)) as temporary, open(temporary, "w", encoding="utf-8") as file:
            for item in read_part(Path(path)):
                file.write(self.line(item) + "\n")
                self._report(ShardEvent(path, "audio", item.duration))
                seconds += item.duration
        return seconds


def results_of(
    items: Iterable[Utterance], result: Callable[[str], Path], read: Callable[[Path], Iterator[Result]], made_by: str
) -> Iterator[tuple[Utterance, Result]]:
    """Each item with what became of it.  read: of the file of a part.  ValueError when a result is damaged."""
    for part in parts_of(items):
        yield from zip(part.recordings, _found(part, result(part.name), read, made_by), strict=True)


def _found(part: Part, path: Path, read: Callable[[Path], Iterator[Result]], made_by: str) -> list[Result]:
    with values_of(path, made_by):
        found = list(read(path))
        if len(found) != len(part.recordings):
            raise ValueError(f"{path}: not the result of its part. Remove it and run the same command again.")
    return found
