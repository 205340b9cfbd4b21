"""Workers of a job: what a pool of them promises, and the pool of processes on this machine.

Workers are processes of their own even when there is only one: a recording that brings down a decoder ends a worker,
not the job.
"""

import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence, Sized
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from typing import Any, ClassVar, Protocol, TypeVar

import torch

from asr_kd.core.processes import end_with
from asr_kd.core.runtime import set_threads
from asr_kd.core.signal_stack import enable_sigaltstack
from asr_kd.jobs.job import ShardEvent

SHARDS_AHEAD = 3
"""Shards that a worker has at most: at the teacher, being read, and being fetched."""
FORK_SERVER_S, LOOK_S = 10.0, 0.2
"""How long a fork server that was killed may take to be noticed and made anew, and how often that is looked at."""
MEMORY_PER_WORKER = 2 << 30
"""Bytes that a worker on a CPU may need with a large teacher."""
MAX_STARTS = 3
"""Times that a worker process may end before it is ready to work."""


class Pool(Protocol):
    """Workers that process shards, each a few at a time."""

    def has_capacity(self, exclusive: bool = False) -> bool:
        """Whether some worker can take a shard more; exclusive: whether some worker has none."""

    def submit(self, shard: str, exclusive: bool = False) -> None:
        """Give a shard to the worker with the fewest. exclusive: that worker gets no other until it is done."""

    def events(self, timeout_s: float) -> Iterator[ShardEvent]:
        """What came in; waits for the first up to `timeout_s`. ValueError when workers cannot be made ready."""

    def close(self) -> None:
        """End all workers at once; shards in work are dropped."""


class Runs(Protocol):
    """A worker made ready."""

    def run(self, receive: Callable[[], str | None]) -> None:
        """Process what `receive` gives, one after the other, until it gives None; it may wait."""


class PoolJob(Protocol):
    """What worker processes do, in plain values: a `Job` on shards, or work on files of another kind."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def device(self) -> str:
        """`auto`, `cpu`, `cuda`, `cuda:1`, ..."""

    @property
    def threads(self) -> int | None:
        """CPU threads of one operation; None: as many as cores."""

    def worker(self, report: Callable[[ShardEvent], None]) -> Runs:
        """Make the job ready on this machine. ValueError when its settings do not fit together."""


class HasShards(Protocol):
    """A worker as far as handing out shards goes."""

    exclusive: bool
    """Whether it may get no other shard until it has none."""

    @property
    def shards(self) -> Sized:
        """The shards that it has."""


W = TypeVar("W", bound=HasShards)


def least_loaded(workers: Sequence[W], exclusive: bool) -> W | None:
    """The worker with the fewest shards among those that may get one more; exclusive: among those that have none."""
    most = 1 if exclusive else SHARDS_AHEAD
    free = (w for w in workers if len(w.shards) < most and not w.exclusive)
    return min(free, key=lambda w: len(w.shards), default=None)


class _Process:
    """One worker process and the shards that it has."""

    def __init__(self, job: PoolJob) -> None:
        self.job = job
        self.shards: deque[str] = deque()
        self.exclusive = False
        self.starts = 0
        """Since it was last ready."""
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        self.starts += 1
        for _ in range(int(FORK_SERVER_S / LOOK_S)):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(self.job, theirs, dict(os.environ)), daemon=True)
            try:
                process.start()
            except (EOFError, OSError) as e:  # the fork server was killed: it is made anew when that is noticed
                ours.close()
                why = e
                time.sleep(LOOK_S)
            else:
                self.process, self.pipe = process, ours
                return
            finally:
                theirs.close()
        raise ValueError(f"worker processes cannot be started ({why}). Is there enough memory?")

    def restart(self) -> tuple[list[str], str]:
        """Start anew after the process ended; returns the shards that it had and how it ended."""
        self.process.join()
        code = self.process.exitcode or 0
        ended = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        lost = list(self.shards)
        self.shards.clear()
        self.exclusive = False
        self.pipe.close()
        if self.starts == MAX_STARTS:
            raise ValueError(f"worker processes end with {ended} before they are ready. Is there enough memory?")
        self._start()
        return lost, f"the worker process ended with {ended}"


class ProcessPool:
    """Worker processes on this machine; on GPUs they take turns over those that are there."""

    def __init__(self, job: PoolJob, workers: int) -> None:
        gpus = torch.cuda.device_count() if job.device in ("auto", "cuda") else 0
        jobs = [replace(job, device=f"cuda:{n % gpus}") if gpus else job for n in range(workers)]
        self._workers = [_Process(j) for j in jobs]

    def has_capacity(self, exclusive: bool = False) -> bool:
        """As `Pool` says."""
        return least_loaded(self._workers, exclusive) is not None

    def submit(self, shard: str, exclusive: bool = False) -> None:
        """As `Pool` says."""
        worker = least_loaded(self._workers, exclusive)
        assert worker is not None, "submit without capacity"
        worker.shards.append(shard)
        worker.exclusive = exclusive
        with suppress(BrokenPipeError):  # that it ended is seen in `events`
            worker.pipe.send(shard)

    def events(self, timeout_s: float) -> Iterator[ShardEvent]:
        """As `Pool` says."""
        by_pipe = {w.pipe: w for w in self._workers}
        for ready in wait(list(by_pipe), timeout_s):
            assert isinstance(ready, Connection)
            yield from self._messages(by_pipe[ready])

    def close(self) -> None:
        """As `Pool` says."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
            worker.pipe.close()

    def _messages(self, worker: _Process) -> Iterator[ShardEvent]:
        try:
            while worker.pipe.poll():
                event = worker.pipe.recv()
                if event.kind == "broken":
                    raise ValueError(event.reason)
                if event.kind == "ready":
                    worker.starts = 0
                    continue
                if event.kind != "audio" and event.shard in worker.shards:
                    worker.shards.remove(event.shard)
                    worker.exclusive = worker.exclusive and bool(worker.shards)
                yield event
        except (EOFError, ConnectionResetError):
            lost, reason = worker.restart()
            yield from (ShardEvent(shard, "failed", reason=reason) for shard in lost)


def workers_here(device: str, threads: int | None = None) -> int:
    """How many workers this machine's devices suggest: one a GPU, or on CPUs one a core where memory allows it.

    On CPUs, one large product on all cores leaves them waiting for each other between products (`asr-kd bench label`).
    threads: of each worker, where given; then one worker has them.
    """
    if device != "cpu" and torch.cuda.is_available():
        return torch.cuda.device_count() if device in ("auto", "cuda") else 1
    if threads is not None:
        return 1
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(1, min(set_threads(None), memory // MEMORY_PER_WORKER))


def _work(job: PoolJob, pipe: Connection, environment: dict[str, str]) -> None:
    """The life of a worker process. environment: of the one who started it; the fork server may have an older one."""
    end_with(os.getppid())  # the fork server, which ends with ours; elsewhere the closed pipe, after the next batch
    os.environ.clear()
    os.environ.update(environment)
    enable_sigaltstack()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends us

    def report(event: ShardEvent) -> None:
        try:
            pipe.send(event)
        except (BrokenPipeError, ConnectionResetError):  # nobody is left to work for
            os._exit(1)

    def receive() -> str | None:
        try:
            return pipe.recv()
        except (EOFError, ConnectionResetError):
            os._exit(1)

    try:
        worker = job.worker(report)
    except Exception as e:
        report(ShardEvent("", "broken", reason=str(e)))
        return
    report(ShardEvent("", "ready"))
    worker.run(receive)
