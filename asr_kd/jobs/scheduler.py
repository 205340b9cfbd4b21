"""Runs a job: gives every shard that is not done to a worker, retries what failed, reports.

Any number of runs on any number of machines may work on one folder.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable

from asr_kd.core.storage import PathOrUrl, stem
from asr_kd.jobs.job import ShardEvent
from asr_kd.jobs.job_state import JobState
from asr_kd.jobs.leases import Leases
from asr_kd.jobs.process_pool import Pool

POLL_S = 2.0
"""How often shards that other runs have leased are looked at."""


def run_shards(
    shards: Iterable[PathOrUrl],
    is_done: Callable[[str], bool],
    pool: Pool,
    leases: Leases,
    state: JobState,
    max_attempts: int = 3,
    on_event: Callable[[ShardEvent], None] = lambda event: None,
    one_at_a_time: bool = False,
) -> dict[str, str]:
    """Process shards until each is done or has failed `max_attempts` times; returns the reasons of those that failed.

    is_done: whether a shard's output has its final name.  A shard that another run has leased is waited for, and
    processed here if that run dies. One that failed is tried again alone in its worker, so that it stops no other.
    one_at_a_time: each is alone in its worker, as their lengths differ too much to be shared out beforehand.
    """
    waiting = deque(str(path) for path in shards)
    elsewhere: deque[str] = deque()
    at_work: set[str] = set()
    failed: dict[str, str] = {}
    attempts: Counter[str] = Counter()
    looked = time.monotonic()
    while waiting or elsewhere or at_work:
        while waiting and pool.has_capacity(exclusive=one_at_a_time or attempts[waiting[0]] > 0):
            shard = waiting.popleft()
            if is_done(shard):
                continue
            if not leases.acquire(stem(shard)):
                elsewhere.append(shard)
            elif is_done(shard):  # finished by the run that had the lease until now
                leases.release(stem(shard))
            else:
                pool.submit(shard, exclusive=one_at_a_time or attempts[shard] > 0)
                at_work.add(shard)
        for event in pool.events(POLL_S) if at_work or waiting else ():
            on_event(event)
            if event.kind == "audio" or event.shard not in at_work:
                continue
            at_work.remove(event.shard)
            if event.kind == "done":
                state.done(event.shard, event.statistics)
            else:
                attempts[event.shard] += 1
                if event.final or attempts[event.shard] == max_attempts:
                    failed[event.shard] = event.reason
                    state.failed(event.shard, event.reason, attempts[event.shard])
                else:
                    waiting.append(event.shard)
            leases.release(stem(event.shard))
        if not at_work and not waiting and elsewhere:
            time.sleep(POLL_S)
        if elsewhere and time.monotonic() - looked > POLL_S:
            looked = time.monotonic()
            waiting.extend(elsewhere)
            elsewhere.clear()
    return failed
