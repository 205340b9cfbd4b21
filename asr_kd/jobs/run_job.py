"""What commands that run a job have in common: their options of workers, and the run itself with its progress."""

from collections.abc import Callable, Sequence
from typing import Protocol

from asr_kd.core.progress import Progress
from asr_kd.core.storage import PathOrUrl
from asr_kd.core.terminal import say
from asr_kd.jobs.job import ShardEvent
from asr_kd.jobs.job_state import JobState
from asr_kd.jobs.leases import Leases
from asr_kd.jobs.process_pool import Pool, PoolJob, ProcessPool
from asr_kd.jobs.scheduler import run_shards


class PoolSettings(Protocol):
    """Where workers run, how many, and how often they try."""

    @property
    def backend(self) -> str:
        """`local` or `ray`."""

    @property
    def ray_address(self) -> str | None:
        """Of the Ray cluster; None: one on this machine."""

    @property
    def workers(self) -> int | None:
        """None: as many as the machine has room for."""

    @property
    def max_attempts(self) -> int:
        """Per shard or part."""


def check_pool(settings: PoolSettings) -> None:
    """ValueError when settings do not fit together."""
    if settings.ray_address and settings.backend != "ray":
        raise ValueError("--ray-address: only used with --backend ray")
    if settings.max_attempts < 1 or (settings.workers is not None and settings.workers < 1):
        raise ValueError("--max-attempts and --workers: at least 1 is needed")


def run_job(
    verb: str,
    job: PoolJob,
    todo: Sequence[PathOrUrl],
    seconds: float,
    is_done: Callable[[str], bool],
    state: JobState,
    workers: int,
    settings: PoolSettings,
    one_at_a_time: bool = False,
) -> dict[str, str]:
    """Do the job on all that is to be done, and say what fails; returns the reasons of what failed at last.

    verb: for the progress line.  todo: shards, or lists of parts.  seconds: of audio in them.  workers: how many at
    most.  is_done, one_at_a_time: as in `run_shards`.
    """
    if not todo:
        Leases(state.leases_folder).expire()
        return {}
    pool = _pool(job, min(workers, len(todo)), settings)
    try:
        with Progress(verb, seconds) as progress, Leases(state.leases_folder) as leases:

            def note(event: ShardEvent) -> None:
                if event.kind == "audio":
                    progress.update(event.seconds)
                elif event.kind == "failed":
                    say(f"{event.shard}: {event.reason}")

            return run_shards(todo, is_done, pool, leases, state, settings.max_attempts, note, one_at_a_time)
    finally:
        pool.close()


def _pool(job: PoolJob, workers: int, settings: PoolSettings) -> Pool:
    if settings.backend == "ray":
        from asr_kd.jobs.ray_pool import RayPool  # an extra

        return RayPool(job, workers, settings.ray_address)
    return ProcessPool(job, workers)
