"""A job on shards in plain values, so that it can be sent to other processes and machines, and its one worker.

Every backend processes a shard with `Worker.run`: while the model works on one item, the next ones are read, also those
of the next shard, and what is finished is encoded and written.
"""

import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

from asr_kd.shards.reader import Shard, open_shard
from asr_kd.shards.remote import scratch_dir

BATCHES_AHEAD = 2
"""Batches that are read and turned into features while the model works on another."""


@dataclass(frozen=True)
class Job(ABC):
    """What is done to every shard, in plain values. Another process makes it ready and gets the same bytes."""

    device: str = field(default="auto", kw_only=True)
    """`auto`, `cpu`, `cuda`, `cuda:1`, ..."""
    threads: int | None = field(default=None, kw_only=True)
    """CPU threads of one operation; None: as many as cores."""
    checks_tars: ClassVar[bool] = True
    """Whether a shard's tar is fetched and its digest compared first; False for work on indexes alone."""

    @abstractmethod
    def processor(self) -> "ShardProcessor":
        """Make the job ready on this machine. ValueError when its settings do not fit together."""

    def worker(self, report: "Callable[[ShardEvent], None]") -> "Worker":
        """What processes shards one after the other. ValueError as for `processor`."""
        return Worker(self.processor(), report, self.checks_tars)


@dataclass(frozen=True)
class ShardEvent:
    """What became of a shard. It is `done` only when its output has its final name."""

    shard: str
    kind: Literal["done", "failed", "audio", "ready", "broken"]
    """audio: not the end, but `seconds` more of its audio was processed. Of a worker, not of a shard: ready to
    work, or broken, so that no shard can be processed."""
    seconds: float = 0.0
    reason: str = ""
    final: bool = False
    """A failure that trying again would not change."""
    statistics: dict[str, Any] = field(default_factory=dict)


class WorkItem(Protocol):
    """Rows of a shard that were read and wait for the model."""

    seconds: float
    """Of audio, that of skipped rows included."""


class ShardTask(Protocol):
    """The work on one shard. `read` may run ahead of `process` in another thread."""

    shard: Shard

    def batches(self) -> list[list[int]]:
        """Rows of each item; all rows of the shard, each once."""

    def read(self, rows: list[int]) -> Any:
        """A WorkItem: audio made ready. A row that cannot be used is skipped with its reason."""

    def process(self, item: Any) -> None:
        """Run the model on what `read` gave and keep the result."""


class ShardProcessor(Protocol):
    """A job made ready on this machine, its model in memory."""

    settings: dict[str, Any]
    """What the description of every output of the job says."""
    device: str
    """The device that the model runs on, for people."""

    def task(self, shard: Shard) -> ShardTask:
        """The work on a shard."""

    def write(self, task: Any) -> dict[str, Any]:
        """Write the result of a finished task, the file that marks it done last; returns figures: `seconds`, `bytes`
        and others."""


@dataclass
class _Step:
    """Passed from thread to thread: an item of a shard, or (item None) its end, or (error) that it failed."""

    path: str
    task: ShardTask | None = None
    item: WorkItem | None = None
    error: Exception | None = None


class Worker:
    """Processes one shard after the other; fetching, reading and writing go on beside the model's work."""

    def __init__(
        self, processor: ShardProcessor, report: Callable[[ShardEvent], None], checks_tars: bool = Job.checks_tars
    ) -> None:
        """report: called with every event, from any thread, one at a time.  checks_tars: as in `Job`."""
        self.processor, self._checks_tars = processor, checks_tars
        self._report = report
        self._lock = threading.Lock()

    def run(self, receive: Callable[[], str | None]) -> None:
        """Process the shards that `receive` gives until it gives None. It is called from its own thread and may wait.

        A shard that fails is reported and does not stop the others.
        """
        fetched: queue.Queue[_Step | None] = queue.Queue(1)
        read: queue.Queue[_Step | None] = queue.Queue(BATCHES_AHEAD)
        written: queue.Queue[_Step | None] = queue.Queue(1)
        threads = [
            threading.Thread(target=self._fetch, args=(receive, fetched), daemon=True),
            threading.Thread(target=self._read, args=(fetched, read), daemon=True),
            threading.Thread(target=self._write, args=(written,), daemon=True),
        ]
        for thread in threads:
            thread.start()
        failed: ShardTask | None = None
        while (step := read.get()) is not None:
            if step.task is not None and step.task is failed:
                continue
            if step.item is not None:
                assert step.task is not None
                try:
                    step.task.process(step.item)
                    self.report(ShardEvent(step.path, "audio", step.item.seconds))
                    continue
                except Exception as e:  # whatever happens in a shard is that shard's
                    failed, step = step.task, _Step(step.path, step.task, error=e)
            written.put(step)
        written.put(None)
        for thread in threads:
            thread.join()

    def report(self, event: ShardEvent) -> None:
        """Report one event at a time."""
        with self._lock:
            self._report(event)

    def _fetch(self, receive: Callable[[], str | None], fetched: "queue.Queue[_Step | None]") -> None:
        """Open shards; remote tars are fetched into a folder that holds no copies which others keep."""
        while (path := receive()) is not None:
            try:
                shard = open_shard(path, scratch_dir())
                if self._checks_tars:
                    shard.check()
                fetched.put(_Step(path, self.processor.task(shard)))
            except Exception as e:
                fetched.put(_Step(path, error=e))
        fetched.put(None)

    def _read(self, fetched: "queue.Queue[_Step | None]", read: "queue.Queue[_Step | None]") -> None:
        while (step := fetched.get()) is not None:
            try:
                for rows in step.task.batches() if step.task is not None else ():
                    assert step.task is not None
                    read.put(_Step(step.path, step.task, step.task.read(rows)))
            except Exception as e:
                step.error = e
            read.put(step)
        read.put(None)

    def _write(self, written: "queue.Queue[_Step | None]") -> None:
        while (step := written.get()) is not None:
            try:
                if step.error is not None:
                    raise step.error
                assert step.task is not None
                numbers = self.processor.write(step.task)
            except Exception as e:
                event = failure(step.path, e)
            else:
                event = ShardEvent(step.path, "done", numbers["seconds"], statistics=numbers)
            if step.task is not None:
                step.task.shard.discard()
            self.report(event)


def failure(shard: str, error: BaseException) -> ShardEvent:
    """The event of a shard whose processing raised `error`. A user's mistake (ValueError) is the same next time."""
    final = isinstance(error, ValueError)
    reason = str(error) if final else f"{type(error).__name__}: {error}"
    return ShardEvent(shard, "failed", reason=" ".join(reason.split()), final=final)
