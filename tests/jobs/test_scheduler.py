"""What a job's scheduler promises, with a pool that works at once: each shard once, again alone when it failed."""

from collections import deque
from pathlib import Path

import pytest

from asr_kd.jobs import scheduler
from asr_kd.jobs.job import ShardEvent
from asr_kd.jobs.job_state import JobState
from asr_kd.jobs.leases import Leases
from asr_kd.jobs.scheduler import run_shards

SHARDS = ["x/a.tar", "x/b.tar", "x/c.tar"]


class AtOnce:
    """Up to `room` shards wait; `events` brings the first of them to its end. outcomes: of a shard, try by try."""

    def __init__(self, outcomes=None, room=2):
        self.outcomes, self.room, self.given, self.waiting = outcomes or {}, room, [], deque()

    def has_capacity(self, exclusive=False):
        return not self.waiting if exclusive else len(self.waiting) < self.room

    def submit(self, shard, exclusive=False):
        assert self.has_capacity(exclusive)
        self.given.append((shard, exclusive))
        self.waiting.append(shard)

    def events(self, timeout_s):
        assert timeout_s == scheduler.POLL_S and self.waiting
        shard = self.waiting.popleft()
        yield ShardEvent(shard, "audio", seconds=1.0)
        kinds = self.outcomes.get(shard, [])
        kind = kinds.pop(0) if kinds else "done"
        if kind == "done":
            yield ShardEvent(shard, "done", statistics={"frames": 7})
        else:
            yield ShardEvent(shard, "failed", reason=f"{kind} of {shard}", final=kind == "final")
        yield ShardEvent(shard, "done")  # told twice by a pool: it is at work no more


@pytest.fixture
def job(tmp_path, monkeypatch):
    """The job's state, leases and what was told; call `run` of it."""
    monkeypatch.setattr(scheduler, "POLL_S", 0.002)
    return Job(tmp_path)


class Job:
    def __init__(self, folder: Path):
        self.state, self.folder, self.told = JobState(folder, "settings.json"), folder / ".work/leases", []

    def run(self, pool, is_done=lambda shard: False, **options):
        with Leases(self.folder) as leases:
            return run_shards(SHARDS, is_done, pool, leases, self.state, on_event=self.told.append, **options)

    def left(self):
        return [path.name for path in self.folder.iterdir()]


def test_each_shard_that_is_not_done_is_given_out_once(job):
    pool = AtOnce()
    assert job.run(pool, is_done=lambda shard: shard == "x/b.tar") == {}
    assert pool.given == [("x/a.tar", False), ("x/c.tar", False)]
    assert sorted(line["shard"] for line in job.state.log()) == ["a", "c"]
    assert all(line["frames"] == 7 for line in job.state.log())
    assert [event.kind for event in job.told] == ["audio", "done", "done"] * 2
    assert job.left() == [] and job.state.failures() == {}


def test_what_failed_is_tried_again_alone_until_it_is_given_up(job):
    pool = AtOnce({"x/a.tar": ["fault", "other", "last"], "x/b.tar": ["fault"], "x/c.tar": ["final"]})
    assert job.run(pool) == {"x/a.tar": "last of x/a.tar", "x/c.tar": "final of x/c.tar"}
    tries = {shard: [alone for given, alone in pool.given if given == shard] for shard in SHARDS}
    assert tries == {"x/a.tar": [False, True, True], "x/b.tar": [False, True], "x/c.tar": [False]}
    notes = job.state.failures()
    assert {name: (note["shard"], note["reason"], note["attempts"]) for name, note in notes.items()} == {
        "a": ("x/a.tar", "last of x/a.tar", 3),
        "c": ("x/c.tar", "final of x/c.tar", 1),
    }
    assert [line["shard"] for line in job.state.log()] == ["b"] and job.left() == []
    assert set(job.run(AtOnce({"x/a.tar": ["fault"]}), max_attempts=1)) == {"x/a.tar"}


def test_a_shard_that_another_run_has_is_waited_for(job):
    pool, other = AtOnce(), Leases(job.folder)
    assert other.acquire("a") and other.acquire("b")
    looks = {shard: 0 for shard in SHARDS}

    def is_done(shard):
        looks[shard] += 1
        if looks["x/a.tar"] == 3:
            other.release("a")
            other.release("b")  # and its run has died
        return shard == "x/a.tar" and looks["x/a.tar"] >= 4  # done when its lease is there to be had

    assert job.run(pool, is_done) == {}
    assert pool.given == [("x/c.tar", False), ("x/b.tar", False)]
    assert job.left() == []


def test_other_events_of_a_pool_are_passed_on_and_change_nothing(job):
    pool = AtOnce()
    first = pool.events
    pool.events = lambda timeout_s: [ShardEvent("", "ready"), ShardEvent("x/b.tar", "failed"), *first(timeout_s)]
    assert job.run(pool, is_done=lambda shard: shard != "x/a.tar") == {}
    assert [event.kind for event in job.told] == ["ready", "failed", "audio", "done", "done"]
