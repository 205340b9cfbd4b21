"""Workers of a labelling job on a Ray cluster: an existing one by its address, or one on this machine alone.

Each worker is an actor that does what a worker process does (`job.Worker`). Audio, teacher and sidecars must lie where
all nodes reach them.
"""

import logging
import queue
import threading
import time
from collections.abc import Iterator
from typing import Any

from asr_kd.core.extras import how_to_install
from asr_kd.core.terminal import say
from asr_kd.label.job import LabelJob, Outcome, Worker
from asr_kd.label.labellers import make_labeller
from asr_kd.label.pools import SHARDS_AHEAD, freest

try:
    import ray
except ImportError:
    raise ValueError(f"--engine ray: Ray is not installed. {how_to_install('ray')}") from None

MOST_LOSSES_IN_A_ROW = 10
"""Actors that may die without one outcome between them."""
PATIENCE_S = 60.0
"""After so long without a worker the user is told what the cluster lacks."""


class _Actor:
    """A worker: `label` waits for the outcome of its shard, so calls overlap as reading and teacher do."""

    def __init__(self, job: LabelJob) -> None:
        self._inbox: queue.Queue[str] = queue.Queue()
        self._outcomes: dict[str, queue.Queue[Outcome]] = {}
        self._broken: str | None = None
        try:
            worker = Worker(make_labeller(job), self._tell)
        except Exception as e:  # told as an outcome: an exception in here would only look like a lost actor
            self._broken = str(e)
        else:
            threading.Thread(target=worker.run, args=(self._inbox.get,), daemon=True).start()

    def ready(self) -> Outcome:
        """Answers when the actor has a place in the cluster and its teacher."""
        return Outcome("", "ready") if self._broken is None else Outcome("", "broken", reason=self._broken)

    def label(self, shard: str) -> Outcome:
        """Label a shard."""
        answer = self._outcomes.setdefault(shard, queue.Queue())
        self._inbox.put(shard)
        outcome = answer.get()
        del self._outcomes[shard]
        return outcome

    def _tell(self, outcome: Outcome) -> None:
        if outcome.kind in ("done", "failed"):
            self._outcomes[outcome.shard].put(outcome)


class _Handle:
    """An actor and the shards that it has, by the reference of their answers."""

    def __init__(self, actor: Any) -> None:
        self.actor = actor
        self.starting: Any | None = actor.ready.remote()
        """None when it is ready. A cluster that lost a node may have no place for it: then it never is, and others do
        the work."""
        self.shards: dict[Any, str] = {}
        self.alone = False


class RayPool:
    """Actors on a Ray cluster; one that is lost with its process or its node is replaced on what is left."""

    def __init__(self, job: LabelJob, workers: int, address: str | None = None) -> None:
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

    def room(self, alone: bool = False) -> bool:
        """As `Pool` says."""
        return freest(self._ready(), alone) is not None

    def submit(self, shard: str, alone: bool = False) -> None:
        """As `Pool` says."""
        worker = freest(self._ready(), alone)
        assert worker is not None, "submit without room"
        worker.shards[worker.actor.label.remote(shard)] = shard
        worker.alone = alone

    def outcomes(self, timeout_s: float) -> Iterator[Outcome]:
        """As `Pool` says."""
        owners = {ref: worker for worker in self._workers for ref in worker.shards}
        owners |= {worker.starting: worker for worker in self._workers if worker.starting is not None}
        ready, _ = ray.wait(list(owners), num_returns=1, timeout=timeout_s)
        if not self._told and not self._ready() and time.monotonic() - self._began > PATIENCE_S:
            self._told = True
            say(
                f"--engine ray: no worker has a place yet. Each asks for {self._cpus} CPUs and {self._gpus} GPUs; "
                f"the cluster has {ray.cluster_resources()}.",
            )
        for ref in ready:
            worker = owners[ref]
            try:
                outcome = ray.get(ref)
            except ray.exceptions.RayActorError as e:
                yield from self._replace(worker, e)
                continue
            if outcome.kind == "broken":
                raise ValueError(outcome.reason)
            if outcome.kind == "ready":
                worker.starting = None
                continue
            shard = worker.shards.pop(ref)
            worker.alone = worker.alone and bool(worker.shards)
            self._losses = 0
            if outcome.kind == "done":
                yield Outcome(shard, "audio", outcome.seconds)
            yield outcome

    def close(self) -> None:
        """As `Pool` says."""
        for worker in self._workers:
            ray.kill(worker.actor)
        ray.shutdown()

    def _ready(self) -> list[_Handle]:
        return [worker for worker in self._workers if worker.starting is None]

    def _replace(self, worker: _Handle, error: Exception) -> Iterator[Outcome]:
        self._losses += 1
        reason = " ".join(str(error).split())[:200]
        if self._losses == MOST_LOSSES_IN_A_ROW:
            raise ValueError(f"--engine ray: {self._losses} actors were lost in a row; the last: {reason}")
        lost = list(worker.shards.values())
        self._workers[self._workers.index(worker)] = _Handle(self._make.remote(self._job))
        yield from (Outcome(shard, "failed", reason=f"its worker was lost ({reason})") for shard in lost)
