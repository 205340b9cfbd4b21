"""What commands that run a job have in common: their options of workers, and the run itself with its progress."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from asr_kd.core.options import option
from asr_kd.core.progress import Progress
from asr_kd.core.storage import PathOrUrl
from asr_kd.core.terminal import say
from asr_kd.jobs.job import ShardEvent
from asr_kd.jobs.job_state import JobState
from asr_kd.jobs.leases import Leases
from asr_kd.jobs.process_pool import Pool, PoolJob, ProcessPool
from asr_kd.jobs.scheduler import run_shards


@dataclass(frozen=True, kw_only=True)
class PoolOptions:
    """Of every command that runs a job: where workers run, how many, and how often they try."""

    backend: Literal["local", "ray"] = option(
        "local: processes on this machine; ray: actors on a Ray cluster (extra `ray`)", "local", is_shared=True
    )
    ray_address: str | None = option(
        "with --backend ray: address of the cluster (default: start one on this machine)",
        None,
        metavar="ADDRESS",
        is_shared=True,
    )
    workers: int | None = option(
        "worker processes, or Ray actors (default: one per core of this machine, or per GPU where one is used)",
        None,
        metavar="N",
        is_shared=True,
    )
    max_attempts: int = option(
        "attempts per shard, or part of the input, before it is reported as failed", 3, metavar="N", is_shared=True
    )


def check_pool(settings: PoolOptions) -> None:
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
    settings: PoolOptions,
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


def _pool(job: PoolJob, workers: int, settings: PoolOptions) -> Pool:
    if settings.backend == "ray":
        from asr_kd.jobs.ray_pool import RayPool  # an extra

        return RayPool(job, workers, settings.ray_address)
    return ProcessPool(job, workers)
