"""A labelling job in plain values, so that it can be sent to other processes and machines, and its one worker.

Whatever engine runs it, a shard is labelled by `Worker.run`: while the teacher works on a batch, the next ones are
read, also those of the next shard, and what is finished is encoded and written.
"""

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from asr_kd.label.lattices import LatticeConfig
from asr_kd.label.posteriors import LabelConfig
from asr_kd.shards.reader import Shard, open_shard
from asr_kd.shards.remote import streamed_folder

BATCHES_AHEAD = 2
"""Batches that are read and turned into features while the teacher works on another."""


@dataclass(frozen=True)
class LabelJob:
    """What decides the sidecars of a folder, and on what they are made."""

    teacher: tuple[str, ...]
    """Model folders or files, `bundle:NAME_OR_FILE`, or `whisper:NAME_OR_FOLDER`; the posteriors of several are
    averaged."""
    out: str
    """Folder of the sidecars."""
    config: LabelConfig = field(default_factory=LabelConfig)
    graph: str | None = None
    """Graph whose lattices the posteriors are put through."""
    scales: str | None = None
    """What `asr-kd tune` wrote for that graph."""
    graph_weight: float = LatticeConfig.weight
    decode: bool = False
    """Also write what the search heard."""
    inventory: str | None = None
    """Folder or file of the inventory that the posteriors are mapped to; None: the teacher's own."""
    language: str | None = None
    """Of what Whisper transcribes; None: what it takes each utterance for."""
    device: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    """CPU threads of one operation; None: as many as cores."""
    settings: str | None = None
    """Fingerprint of the labeller's settings when the job began; a worker with others must not label."""


@dataclass(frozen=True)
class Outcome:
    """What became of a shard. It is `done` only when its sidecar stands under its name."""

    shard: str
    kind: Literal["done", "failed", "audio", "ready", "broken"]
    """audio: not the end, but `seconds` more of its audio went through the teacher. Of a worker, not of a shard: ready
    to work, or broken, so that no shard can be labelled."""
    seconds: float = 0.0
    reason: str = ""
    final: bool = False
    """A failure that trying again would not change."""
    statistics: dict[str, Any] = field(default_factory=dict)


class Batch(Protocol):
    """Rows of a shard that were read and wait for the teacher."""

    seconds: float
    """Of audio, that of rows set aside included."""


class Labels(Protocol):
    """The labels of one shard in the making. `read` may run ahead of `label` in another thread."""

    shard: Shard

    def batches(self) -> list[list[int]]:
        """Rows of each batch; all rows of the shard, each once."""

    def read(self, rows: list[int]) -> Any:
        """A Batch: audio made ready. What cannot be used is set aside with its reason."""

    def label(self, batch: Any) -> None:
        """Put what `read` gave through the teacher and keep what it says."""


class Labeller(Protocol):
    """A job made ready on this machine, its teacher in memory. `labellers.make_labeller` knows the kinds."""

    settings: dict[str, Any]
    """What the description of every sidecar of the job says."""
    device: str
    """What the teacher works on, for people."""

    def labels(self, shard: Shard) -> Labels:
        """The labels of a shard, to be made."""

    def write(self, labels: Any) -> dict[str, Any]:
        """Write finished labels, the sidecar last; returns what it holds, in numbers: `seconds`, `bytes` and others."""


@dataclass
class _Step:
    """Passed from thread to thread: a batch of a shard, or (batch None) its end, or (error) that it failed."""

    path: str
    labels: Labels | None = None
    batch: Batch | None = None
    error: Exception | None = None


class Worker:
    """Labels one shard after the other; fetching, reading and writing go on beside the teacher's work."""

    def __init__(self, labeller: Labeller, tell: Callable[[Outcome], None]) -> None:
        """tell: called with every outcome, from any thread, one at a time."""
        self.labeller = labeller
        self._tell = tell
        self._lock = threading.Lock()

    def run(self, receive: Callable[[], str | None]) -> None:
        """Label what `receive` gives until it gives None. It is called from a thread of its own and may wait.

        A shard that fails is told as such and does not stop the others.
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
        failed: Labels | None = None
        while (step := read.get()) is not None:
            if step.labels is not None and step.labels is failed:
                continue
            if step.batch is not None:
                assert step.labels is not None
                try:
                    step.labels.label(step.batch)
                    self.tell(Outcome(step.path, "audio", step.batch.seconds))
                    continue
                except Exception as e:  # whatever happens in a shard is that shard's
                    failed, step = step.labels, _Step(step.path, step.labels, error=e)
            written.put(step)
        written.put(None)
        for thread in threads:
            thread.join()

    def tell(self, outcome: Outcome) -> None:
        """Pass an outcome on."""
        with self._lock:
            self._tell(outcome)

    def _fetch(self, receive: Callable[[], str | None], fetched: "queue.Queue[_Step | None]") -> None:
        """Open shards; remote tars are fetched into a folder that holds no copies which others keep."""
        while (path := receive()) is not None:
            try:
                shard = open_shard(path, streamed_folder())
                shard.check()
                fetched.put(_Step(path, self.labeller.labels(shard)))
            except Exception as e:
                fetched.put(_Step(path, error=e))
        fetched.put(None)

    def _read(self, fetched: "queue.Queue[_Step | None]", read: "queue.Queue[_Step | None]") -> None:
        while (step := fetched.get()) is not None:
            try:
                for rows in step.labels.batches() if step.labels is not None else ():
                    assert step.labels is not None
                    read.put(_Step(step.path, step.labels, step.labels.read(rows)))
            except Exception as e:
                step.error = e
            read.put(step)
        read.put(None)

    def _write(self, written: "queue.Queue[_Step | None]") -> None:
        while (step := written.get()) is not None:
            try:
                if step.error is not None:
                    raise step.error
                assert step.labels is not None
                numbers = self.labeller.write(step.labels)
            except Exception as e:
                outcome = failure(step.path, e)
            else:
                outcome = Outcome(step.path, "done", numbers["seconds"], statistics=numbers)
            if step.labels is not None:
                step.labels.shard.discard()
            self.tell(outcome)


def failure(shard: str, error: BaseException) -> Outcome:
    """The outcome of a shard whose labelling raised `error`. A user's mistake (ValueError) is the same next time."""
    final = isinstance(error, ValueError)
    reason = str(error) if final else f"{type(error).__name__}: {error}"
    return Outcome(shard, "failed", reason=" ".join(reason.split()), final=final)
