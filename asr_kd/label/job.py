"""A labelling job in plain values, so that it can be sent to other processes and machines, and its one worker.

Whatever engine runs it, a shard is labelled by `Worker.run`: while the teacher works on a batch, the next ones are
read, also those of the next shard, and what is finished is encoded and written.
"""

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from asr_kd.core.runtime import device, precision_on, set_threads
from asr_kd.core.storage import location, size
from asr_kd.graph.build import load_graph
from asr_kd.graph.scales import Scales
from asr_kd.label.encoding import MOST_CLASSES
from asr_kd.label.lattices import LatticeConfig, LatticePosteriors
from asr_kd.label.posteriors import Features, LabelConfig, ShardLabels
from asr_kd.label.sidecars import describe, statistics
from asr_kd.label.transcripts import write_transcripts
from asr_kd.models.ensemble import load_models, models_fingerprint
from asr_kd.models.inference import Inference
from asr_kd.shards.reader import Shard, open_shard
from asr_kd.shards.remote import streamed_folder
from asr_kd.shards.sidecar import sidecar_path, write_sidecar

BATCHES_AHEAD = 2
"""Batches that are read and turned into features while the teacher works on another."""


@dataclass(frozen=True)
class LabelJob:
    """What decides the sidecars of a folder, and on what they are made."""

    teacher: tuple[str, ...]
    """Model folders or files; the posteriors of several are averaged."""
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
    device: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    """CPU threads of one operation; None: as many as cores."""


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


class Labeller:
    """A job made ready on this machine: teacher in memory, graph loaded."""

    def __init__(self, job: LabelJob) -> None:
        """ValueError when teacher, graph and options do not belong together."""
        set_threads(job.threads)
        self.job = job
        on = device(job.device)
        models = [Path(m) for m in job.teacher]
        self.teacher = Inference(load_models(models), on, job.precision)
        inventory = self.teacher.model.inventory
        if inventory.size > MOST_CLASSES:
            raise ValueError(f"{models[0]}: has {inventory.size} classes; sidecars hold {MOST_CLASSES}")
        self.lattices = None
        if job.graph is not None:
            graph = load_graph(job.graph)
            graph.check(inventory, str(models[0]))
            scales = Scales.load(Path(job.scales)) if job.scales else Scales(prior=inventory.prior_share)
            config = LatticeConfig(scales, job.graph_weight)
            log_prior_C = self.teacher.model.log_prior_C.cpu().numpy()
            self.lattices = LatticePosteriors(graph, log_prior_C, config, inventory if job.decode else None)
        elif job.scales is not None or job.decode:
            raise ValueError(f"{'--decode' if job.decode else '--scales'}: only used with --graph")
        self.settings = describe(
            models_fingerprint(models),
            inventory,
            job.config.selection,
            job.config.quantiser,
            self.teacher.frontend.frame_shift_s,
            precision_on(on, job.precision),
            None if self.lattices is None else self.lattices.description | {"decoded": job.decode},
        )

    def labels(self, shard: Shard) -> ShardLabels:
        """The labels of a shard, to be made."""
        return ShardLabels(shard, self.teacher, self.job.config, self.lattices)

    def write(self, labels: ShardLabels) -> dict[str, Any]:
        """Write the sidecar of finished labels, what was heard before it; returns what it holds, in numbers."""
        table, shard = labels.table(), labels.shard
        if self.job.decode:
            write_transcripts(location(self.job.out), shard, labels.heard(), self.teacher.frontend.frame_shift_s)
        path = sidecar_path(location(self.job.out), shard)
        numbers = statistics(table, shard)
        write_sidecar(path, table, self.settings | {"shard": shard.digest} | numbers)
        return numbers | {"bytes": size(path)}


@dataclass
class _Step:
    """Passed from thread to thread: a batch of a shard, or (batch None) its end, or (error) that it failed."""

    path: str
    labels: ShardLabels | None = None
    batch: Features | None = None
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
        failed: ShardLabels | None = None
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
