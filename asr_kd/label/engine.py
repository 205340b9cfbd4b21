"""Runs a labelling job: gives every shard without a sidecar to a worker, tries again what failed, reports.

Any number of runs on any number of machines may work on one folder.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable

from asr_kd.core.storage import Location, exists, stem
from asr_kd.label.claims import Claims
from asr_kd.label.job import Outcome
from asr_kd.label.pools import Pool
from asr_kd.label.records import Records
from asr_kd.shards.sidecar import sidecar_path

POLL_S = 2.0
"""How often shards that other runs have claimed are looked at."""


def run_shards(
    shards: Iterable[Location],
    pool: Pool,
    claims: Claims,
    records: Records,
    tries: int = 3,
    on_outcome: Callable[[Outcome], None] = lambda outcome: None,
) -> dict[str, str]:
    """Label shards until each has a sidecar or has failed `tries` times; returns the reasons of those that failed.

    A shard that another run has claimed is waited for, and labelled here if that run dies. One that failed is tried
    again alone in its worker, so that it can take no other with it.
    """
    waiting = deque(str(path) for path in shards)
    elsewhere: deque[str] = deque()
    at_work: set[str] = set()
    failed: dict[str, str] = {}
    count: Counter[str] = Counter()
    looked = time.monotonic()
    while waiting or elsewhere or at_work:
        while waiting and pool.room(alone=count[waiting[0]] > 0):
            shard = waiting.popleft()
            if _is_done(shard, records):
                continue
            if not claims.take(stem(shard)):
                elsewhere.append(shard)
            elif _is_done(shard, records):  # finished by the run that had it until now
                claims.drop(stem(shard))
            else:
                pool.submit(shard, alone=count[shard] > 0)
                at_work.add(shard)
        for outcome in pool.outcomes(POLL_S) if at_work or waiting else ():
            on_outcome(outcome)
            if outcome.kind == "audio" or outcome.shard not in at_work:
                continue
            at_work.remove(outcome.shard)
            if outcome.kind == "done":
                records.done(outcome.shard, outcome.statistics)
            else:
                count[outcome.shard] += 1
                if outcome.final or count[outcome.shard] == tries:
                    failed[outcome.shard] = outcome.reason
                    records.failed(outcome.shard, outcome.reason, count[outcome.shard])
                else:
                    waiting.append(outcome.shard)
            claims.drop(stem(outcome.shard))
        if not at_work and not waiting and elsewhere:
            time.sleep(POLL_S)
        if elsewhere and time.monotonic() - looked > POLL_S:
            looked = time.monotonic()
            waiting.extend(elsewhere)
            elsewhere.clear()
    return failed


def _is_done(shard: str, records: Records) -> bool:
    return exists(sidecar_path(records.out, shard))
