"""Workers of a job on a Ray cluster: an existing one by its address, or one on this machine alone.

Each worker is an actor that does what a worker process does (`PoolJob.worker`). What a job reads and
writes must lie where all nodes reach it.
"""

import logging
import queue
import threading
import time
from collections.abc import Iterator
from typing import Any

from asr_kd.core.extras import how_to_install
from asr_kd.core.terminal import say
from asr_kd.jobs.job import ShardEvent
from asr_kd.jobs.process_pool import SHARDS_AHEAD, PoolJob, least_loaded

try:
    import ray
except ImportError:
    raise ValueError(f"--backend ray: Ray is not installed. {how_to_install('ray')}") from None

MAX_LOSSES_IN_A_ROW = 10
"""Actors that may die without one event between them."""
PATIENCE_S = 60.0
"""After so long without a worker the user is told what the cluster lacks."""


class _Actor:
    """A worker: `process` waits for the event of its shard, so calls overlap as reading and processing do."""

    def __init__(self, job: PoolJob) -> None:
        self._inbox: queue.Queue[str] = queue.Queue()
        self._events: dict[str, queue.Queue[ShardEvent]] = {}
        self._broken: str | None = None
        try:
            worker = job.worker(self._report)
        except Exception as e:  # reported as an event: an exception in here would only look like a lost actor
            self._broken = str(e)
        else:
            threading.Thread(target=worker.run, args=(self._inbox.get,), daemon=True).start()

    def ready(self) -> ShardEvent:
        """Answers when the actor has a place in the cluster and its teacher."""
        return ShardEvent("", "ready") if self._broken is None else ShardEvent("", "broken", reason=self._broken)

    def process(self, shard: str) -> ShardEvent:
        """Process a shard."""
        answer = self._events.setdefault(shard, queue.Queue())
        self._inbox.put(shard)
        event = answer.get()
        del self._events[shard]
        return event

    def _report(self, event: ShardEvent) -> None:
        if event.kind in ("done", "failed"):
            self._events[event.shard].put(event)


class _Handle:
    """An actor and the shards that it has, by the reference of their answers."""

    def __init__(self, actor: Any) -> None:
        self.actor = actor
        self.starting: Any | None = actor.ready.remote()
        """None when it is ready. A cluster that lost a node may have no place for it: then it never is, and others do
        the work."""
        self.shards: dict[Any, str] = {}
        self.exclusive = False


class RayPool:
    """Actors on a Ray cluster; one that is lost with its process or its node is replaced on what is left."""

    def __init__(self, job: PoolJob, workers: int, address: str | None = None) -> None:
        """address: of the cluster, as `ray.init` takes it (`auto`, `ray://...`); None starts one on this machine."""
        if not ray.is_initialized():
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
        wants_gpu = job.device.startswith("cuda") or (job.device == "auto" and "GPU" in ray.cluster_resources())
        self._cpus, self._gpus = job.threads or 1, int(wants_gpu)
        self._make = ray.remote(_Actor).options(
            num_cpus=self._cpus, num_gpus=self._gpus, max_concurrency=SHARDS_AHEAD, max_restarts=0
        )
        self._job = job
        self._workers = [_Handle(self._make.remote(job)) for _ in range(workers)]
        self._losses = 0
        self._began, self._told = time.monotonic(), False

    def has_capacity(self, exclusive: bool = False) -> bool:
        """As `Pool` says."""
        return least_loaded(self._ready(), exclusive) is not None

    def submit(self, shard: str, exclusive: bool = False) -> None:
        """As `Pool` says."""
        worker = least_loaded(self._ready(), exclusive)
        assert worker is not None, "submit without capacity"
        worker.shards[worker.actor.process.remote(shard)] = shard
        worker.exclusive = exclusive

    def events(self, timeout_s: float) -> Iterator[ShardEvent]:
        """As `Pool` says."""
        owners = {ref: worker for worker in self._workers for ref in worker.shards}
        owners |= {worker.starting: worker for worker in self._workers if worker.starting is not None}
        ready, _ = ray.wait(list(owners), num_returns=1, timeout=timeout_s)
        if not self._told and not self._ready() and time.monotonic() - self._began > PATIENCE_S:
            self._told = True
            say(
                f"--backend ray: no worker has a place yet. Each asks for {self._cpus} CPUs and {self._gpus} GPUs; "
                f"the cluster has {ray.cluster_resources()}.",
            )
        for ref in ready:
            worker = owners[ref]
            try:
                event = ray.get(ref)
            except ray.exceptions.RayActorError as e:
                yield from self._replace(worker, e)
                continue
            if event.kind == "broken":
                raise ValueError(event.reason)
            if event.kind == "ready":
                worker.starting = None
                continue
            shard = worker.shards.pop(ref)
            worker.exclusive = worker.exclusive and bool(worker.shards)
            self._losses = 0
            if event.kind == "done":
                yield ShardEvent(shard, "audio", event.seconds)
            yield event

    def close(self) -> None:
        """As `Pool` says."""
        for worker in self._workers:
            ray.kill(worker.actor)
        ray.shutdown()

    def _ready(self) -> list[_Handle]:
        return [worker for worker in self._workers if worker.starting is None]

    def _replace(self, worker: _Handle, error: Exception) -> Iterator[ShardEvent]:
        self._losses += 1
        reason = " ".join(str(error).split())[:200]
        if self._losses == MAX_LOSSES_IN_A_ROW:
            raise ValueError(f"--backend ray: {self._losses} actors were lost in a row; the last: {reason}")
        lost = list(worker.shards.values())
        self._workers[self._workers.index(worker)] = _Handle(self._make.remote(self._job))
        yield from (ShardEvent(shard, "failed", reason=f"its worker was lost ({reason})") for shard in lost)
