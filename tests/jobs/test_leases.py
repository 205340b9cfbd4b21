"""Leases of shards: another machine's is taken over only when it gave no sign of life for so long."""

import json
import os
import time
from pathlib import Path

import pytest

from asr_kd.core.processes import Process
from asr_kd.jobs.leases import MAX_LEASE_BYTES, Leases

ELSEWHERE = {"machine": "another/1", "host": "elsewhere", "pid": 7, "started": "99", "run": "x"}
ENDED = Process.this().record() | {"started": "1", "run": "y"}


def put(folder: Path, name: str, holder: object) -> Path:
    path = folder / f"{name}.json"
    path.write_text(json.dumps(holder))
    os.utime(path, ns=(0, 10**18))
    return path


@pytest.fixture
def clock(monkeypatch):
    """What this process's clock says, in a list."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_a_lease_of_another_machine_expires_when_its_file_was_seen_unchanged_for_so_long(tmp_path, clock):
    path, leases = put(tmp_path, "a", ELSEWHERE), Leases(tmp_path, lease_s=120)
    assert not leases.acquire("a")
    clock[0] += 120
    assert not leases.acquire("a")
    os.utime(path, ns=(0, 10**18 + 1))  # a sign of life
    clock[0] += 1
    assert not leases.acquire("a")
    clock[0] += 119
    assert not leases.acquire("a")
    put(tmp_path, "a", ELSEWHERE | {"run": "z"})  # another holder
    os.utime(path, ns=(0, 10**18 + 1))
    clock[0] += 2
    assert not leases.acquire("a")
    clock[0] += 120
    assert not leases.acquire("a")
    clock[0] += 0.01
    assert leases.acquire("a")
    assert json.loads(path.read_text())["pid"] == os.getpid()


def test_a_lease_of_a_process_of_this_machine_expires_as_it_ends(tmp_path):
    put(tmp_path, "ended", ENDED)
    put(tmp_path, "alive", Process.this().record() | {"run": "z"})
    leases = Leases(tmp_path)
    assert leases.acquire("ended") and not leases.acquire("alive")
    leases.release("ended")
    assert [path.name for path in tmp_path.iterdir()] == ["alive.json"]


def test_what_was_taken_over_stays_with_its_new_holder(tmp_path):
    ours, theirs = Leases(tmp_path), Leases(tmp_path)
    assert ours.acquire("a") and ours.acquire("b")
    theirs.release("a")  # not theirs to give
    put(tmp_path, "a", ELSEWHERE)
    for name in ("a", "b", "c"):
        ours.release(name)
        ours.release(name)
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert theirs.acquire("b")


def test_the_end_gives_all_leases_back_and_removes_those_of_ended_processes(tmp_path):
    with Leases(tmp_path / "new" / "leases") as leases:
        assert leases.acquire("a") and leases.acquire("b")
        put(tmp_path / "new/leases", "c", ENDED)
        put(tmp_path / "new/leases", "d", ELSEWHERE)
        put(tmp_path / "new/leases", "long", ELSEWHERE | {"run": "x" * MAX_LEASE_BYTES})
        assert [name for name, _ in leases.running()] == ["a", "b", "d"]
        assert dict(leases.running())["d"] == ELSEWHERE
        assert dict(leases.running())["a"]["host"] == os.uname().nodename
    assert sorted(path.name for path in (tmp_path / "new/leases").iterdir()) == ["d.json", "long.json"]


def test_a_holder_gives_signs_of_life_for_each_of_its_leases(tmp_path):
    with Leases(tmp_path, lease_s=0.04) as leases:
        assert leases.acquire("a") and leases.acquire("b") and leases.acquire("c")
        (tmp_path / "a.json").unlink()
        for path in (tmp_path / "b.json", tmp_path / "c.json"):
            os.utime(path, (0, 0))
            while path.stat().st_mtime == 0:
                time.sleep(0.005)
        assert not (tmp_path / "a.json").exists()


def test_without_a_folder_every_lease_is_granted():
    with Leases(None) as leases:
        assert leases.acquire("a") and leases.acquire("a")
        leases.release("a")
        assert list(leases.running()) == []


ODD_CLAIMS = [
    "",
    "[" * 60_000,
    "9" * 5000,
    '{"pid": "x"}',
    '{"machine": [], "pid": 1e400}',
    "null",
    "\x00",
    '{"pid": {}}',
]


@pytest.mark.parametrize("content", ODD_CLAIMS)
def test_a_lease_with_odd_content_is_one_that_was_cut_off(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    with Leases(tmp_path, lease_s=0.0) as ours:
        assert list(ours.running()) == []
        assert not ours.acquire("a")  # seen for the first time
        assert ours.acquire("a")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: os.symlink("/dev/zero", path)])
def test_what_is_no_lease_stops_nobody(tmp_path, make):
    make(tmp_path / "a.json")
    with Leases(tmp_path) as ours:
        assert list(ours.running()) == []
        assert ours.acquire("a")
        ours.release("a")
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
