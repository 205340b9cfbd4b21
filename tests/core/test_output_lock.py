"""One command at a time owns an output, a dead one loses it, and nothing of killed commands stays."""

import fcntl
import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from asr_kd.core import output_lock
from asr_kd.core.files import atomic_path, remove_abandoned
from asr_kd.core.output_lock import LOCK_FILE, OutputLock
from asr_kd.core.processes import Process

HOLD = """
import os, sys
from pathlib import Path
from asr_kd.core.files import atomic_path
from asr_kd.core.output_lock import OutputLock
with OutputLock(Path(sys.argv[1]), ["asr-kd", "shard", "--minutes", "5"]):
    with atomic_path(Path(sys.argv[1]) / "x.tar") as temporary:
        temporary.write_text("half")
        if os.fork() == 0:  # a worker that outlives its parent
            print("held", flush=True)
            sys.stdin.readline()
            os._exit(0)
        sys.stdin.readline()
"""


def hold(out: Path) -> subprocess.Popen[str]:
    """A process that owns `out` and is writing x.tar there."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(out)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_the_second_is_refused_and_both_sides_are_named(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with hold(out) as holder:
        with pytest.raises(ValueError, match="is writing there") as refused, OutputLock(out, ["asr-kd", "train", "b"]):
            pass
        told = str(refused.value)
        assert f"process {holder.pid} on {os.uname().nodename}" in told
        assert "asr-kd shard --minutes 5" in told
        assert f"process {os.getpid()}" in told
        assert "asr-kd train b" in told
        assert told.endswith("does not start. Wait until it has ended, or give another --out.")
        assert "\n" not in told
        assert json.loads((out / LOCK_FILE).read_text())["pid"] == holder.pid
        holder.communicate("go\n")
    assert [p.name for p in out.iterdir()] == ["x.tar"]


def test_a_killed_owner_is_taken_over_and_its_temporary_files_go(tmp_path: Path) -> None:
    with hold(tmp_path) as holder:
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        assert len(list(tmp_path.glob(".x.tar.*.tmp"))) == 1
        with OutputLock(tmp_path, ["asr-kd", "train"]):  # its worker still runs
            assert [p.name for p in tmp_path.iterdir()] == [LOCK_FILE]
        assert holder.stdin is not None
        holder.stdin.close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("seconds, taken", [(119, False), (121, True)])
def test_an_owner_on_another_machine_keeps_it_for_its_lease(tmp_path: Path, seconds: int, taken: bool) -> None:
    other = Process("another/1", "elsewhere", 7, "99").record() | {"command": "asr-kd align", "at": 1e300}
    path = tmp_path / LOCK_FILE
    path.write_text(json.dumps(other))
    touched = path.stat().st_mtime - seconds
    os.utime(path, (touched, touched))
    lock = OutputLock(tmp_path, ["asr-kd", "train"])
    if taken:
        with lock:
            assert json.loads(path.read_text())["pid"] == os.getpid()
    else:
        with (
            pytest.raises(ValueError, match=r"process 7 on elsewhere \(`asr-kd align`\).*taken over 120 s after"),
            lock,
        ):
            pass
        assert json.loads(path.read_text()) == other


ELSEWHERE = Process("another/1", "elsewhere", 7, "99").record() | {"command": "asr-kd align"}


def test_one_that_has_just_taken_it_is_waited_for_until_it_has_said_who_it_is(tmp_path: Path, monkeypatch) -> None:
    with open(tmp_path / LOCK_FILE, "w") as owner:
        fcntl.flock(owner, fcntl.LOCK_EX)
        with monkeypatch.context() as patch:
            patch.setattr(output_lock, "_NAMED_WITHIN_S", 0.0)
            for odd in ("", "[1]"):
                owner.write(odd)
                owner.flush()
                with pytest.raises(ValueError, match=": another command is writing there"), OutputLock(tmp_path, ["b"]):
                    pass
        owner.seek(0)
        owner.truncate()
        monkeypatch.setattr(time, "sleep", lambda s: owner.write(json.dumps(ELSEWHERE)) and owner.flush())
        with pytest.raises(ValueError, match="process 7 on elsewhere"), OutputLock(tmp_path, ["b"]):
            pass


@pytest.mark.parametrize(
    ("at", "since"),
    [(86400.0 * 365, True), (1e300, False), (1e17, False), ("yesterday", False), (None, False)],
)
def test_a_refusal_says_who_since_when_and_what_to_do(tmp_path: Path, at: object, since: bool) -> None:
    (tmp_path / LOCK_FILE).write_text(json.dumps(ELSEWHERE | {"at": at}))
    began = r" since 197[01]-\d\d-\d\d \d\d:00:00" if since else ""
    told = (
        rf"^{tmp_path}: process 7 on elsewhere{began} \(`asr-kd align`\) is writing there, so this one "
        rf"\(process {os.getpid()} on {re.escape(os.uname().nodename)} since 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d "
        r"\(`asr-kd train 'a b'`\)\) does not start\. Wait until it has ended; if it is dead, it is taken over 90 s "
        r"after its last sign of life, or give another --out\.$"
    )
    with pytest.raises(ValueError, match=told), OutputLock(tmp_path, ["asr-kd", "train", "a b"], lease_s=90):
        pass


def test_an_owner_gives_signs_of_life(tmp_path: Path) -> None:
    with OutputLock(tmp_path / "x.jsonl", ["a"], is_file=True, lease_s=0.04):
        path = tmp_path / f".x.jsonl{LOCK_FILE}"
        os.utime(path, (0, 0))
        while path.stat().st_mtime == 0:
            time.sleep(0.01)
        assert time.time() - path.stat().st_mtime < 60
        assert path.stat().st_mode & 0o111 == 0


@pytest.mark.parametrize(
    "content", ["", "[" * 60_000, "9" * 5000, '{"pid": "x"}', '{"pid": 1e400}', "null", "\x00\xff"]
)
def test_a_lock_file_with_odd_content_is_nobodys(tmp_path: Path, content: str) -> None:
    (tmp_path / LOCK_FILE).write_text(content)
    with OutputLock(tmp_path, ["asr-kd", "train"]):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: os.symlink("elsewhere", path)])
def test_what_is_no_file_is_neither_read_nor_followed(tmp_path: Path, make) -> None:
    make(tmp_path / LOCK_FILE)
    with pytest.raises((ValueError, OSError), match="owner"), OutputLock(tmp_path, ["asr-kd", "train"]):
        pass
    assert not stat.S_ISREG(os.lstat(tmp_path / LOCK_FILE).st_mode)


def test_an_owner_whose_lock_was_given_to_another_stops_and_leaves_it(tmp_path: Path) -> None:
    other = json.dumps(Process("another/1", "elsewhere", 7, "99").record())
    path = tmp_path / LOCK_FILE
    for which in (signal.SIGINT, signal.SIGTERM):
        handlers = {signal.SIGINT: signal.SIG_IGN, which: signal.default_int_handler}
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            with pytest.raises(KeyboardInterrupt), OutputLock(tmp_path, ["asr-kd", "train"], lease_s=0.04):
                path.write_text(other)
                for _ in range(1200):  # a signal that comes just before a wait ends no wait: many short ones
                    time.sleep(0.05)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        assert path.read_text() == other
        path.unlink()


def test_files_in_one_folder_have_owners_of_their_own(tmp_path: Path) -> None:
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    with OutputLock(first, ["a"], is_file=True), OutputLock(second, ["b"], is_file=True):
        again = OutputLock(first, ["c"], is_file=True)
        with pytest.raises(ValueError, match=str(first)), again:
            pass
    assert not list(tmp_path.iterdir())


def test_a_folder_that_got_nothing_goes_again(tmp_path: Path) -> None:
    for out in (tmp_path / "new" / "a", tmp_path / "new" / "b"):
        with pytest.raises(RuntimeError), OutputLock(out, ["a"]):
            raise RuntimeError
        assert (tmp_path / "new").exists() and not out.exists()
    with OutputLock(tmp_path / "new", ["a"]):
        pass
    assert (tmp_path / "new").is_dir()  # it was there before


def test_only_temporary_files_of_ended_processes_are_removed(tmp_path: Path) -> None:
    this = Process.this()
    dead = Process(this.machine, this.host, this.pid, "1")
    other = Process("another/1", "elsewhere", 7, "99")
    name = lambda process: f".x.{process.tag}-0123abcd.tmp"
    old = [".old.12-0123abcd.tmp", f".old{name(other)}"]
    kept = [name(this), name(other), ".x.12-0123abcd.tmp", ".mine.tmp", "x.tmp", ".x.0-0123abcd.tmp.txt"]
    for file in [*old, *kept, name(dead)]:
        (tmp_path / file).write_text("")
    for file in old:
        os.utime(tmp_path / file, (0, 0))
    (tmp_path / f".folder{name(dead)}").mkdir()
    (tmp_path / f".folder{name(dead)}" / "file").write_text("")
    remove_abandoned(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(kept)


def test_the_next_to_write_into_a_folder_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    this = Process.this()
    (tmp_path / f".x.{Process(this.machine, this.host, this.pid, '1').tag}-0123abcd.tmp").write_text("")
    with atomic_path(tmp_path / ("long" * 60)) as temporary:
        temporary.write_text("whole")
    assert [p.name for p in tmp_path.iterdir()] == ["long" * 60]
