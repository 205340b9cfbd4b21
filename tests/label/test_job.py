"""Promises of a labelling job: every shard exactly once, the same bytes however it runs, no shard stops another."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import exactly_once
import pytest
import torch

from asr_kd.cli import main
from asr_kd.core.files import fingerprint
from asr_kd.jobs.job_state import JobState
from asr_kd.jobs.leases import Leases
from asr_kd.jobs.process_pool import ProcessPool
from asr_kd.label.label_job import LabelJob
from asr_kd.label.posteriors import LabelConfig
from asr_kd.label.status import SETTINGS_FILE, status
from asr_kd.models.checkpoint import load_model, save_model
from asr_kd.shards.reader import open_shard
from asr_kd.targets.codec import ProbabilityQuantiser
from asr_kd.targets.topk import SelectionConfig
from asr_kd.transcripts.pseudo_labels import read_transcripts


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """Tars, a teacher, and the digests of their sidecars."""
    folder = tmp_path_factory.mktemp("given")
    tars, teacher = exactly_once.make_input(folder, shards=4, seconds_per_shard=10, hidden=32)
    assert label(tars, teacher, folder / "whole") == 0
    return tars, teacher, exactly_once.digests(folder / "whole")


def label(tars, teacher, out, *more):
    return main(["label", *map(str, tars), "--teacher", str(teacher), "--out", str(out), "--threads", "1", *more])


def test_any_number_of_workers_gives_the_same_bytes(given, tmp_path):
    tars, teacher, wanted = given
    assert len(wanted) == len(tars) >= 4
    assert label(tars[::-1], teacher, tmp_path, "--workers", "3") == 0
    assert exactly_once.faults(tmp_path, wanted, tars) == []


@pytest.mark.parametrize("victim", exactly_once.VICTIMS)
def test_after_sigkill_at_a_random_moment_no_utterance_is_lost_or_doubled(given, tmp_path, victim):
    tars, teacher, wanted = given
    kills = exactly_once.disturbed(tars, teacher, tmp_path, 2, victim, whole_s=4, rng=random.Random(victim))
    assert kills and exactly_once.faults(tmp_path, wanted, tars) == []


def test_a_damaged_shard_is_reported_and_stops_no_other_and_is_tried_again_when_asked(given, tmp_path, capsys):
    tars, teacher, wanted = given
    shards = tmp_path / "shards"
    shards.mkdir()
    for tar in tars:
        (shards / tar.name).write_bytes(tar.read_bytes())
    whole = (shards / tars[1].name).read_bytes()
    (shards / tars[1].name).write_bytes(whole[:3000])
    assert label([shards], teacher, tmp_path / "out") == 1
    told = capsys.readouterr().err
    assert f"{shards / tars[1].name}: " in told and f"{len(tars) - 1} of {len(tars)} shards labelled" in told
    now = status([shards / tar.name for tar in tars], tmp_path / "out")
    assert (now.done, now.failed, now.running) == (len(tars) - 1, 1, 0) and tars[1].stem in now.failures
    (shards / tars[1].name).write_bytes(whole)
    assert label([shards], teacher, tmp_path / "out") == 0
    assert exactly_once.digests(tmp_path / "out") == wanted
    assert status([shards / tar.name for tar in tars], tmp_path / "out").failed == 0


def test_a_worker_that_dies_each_time_fails_its_shard_and_ends_the_job(given, tmp_path, capfd):
    tars, teacher, _ = given
    stop = threading.Event()

    def kill_workers():
        while not stop.wait(0.02):
            for server in exactly_once.children(os.getpid()):
                for worker in exactly_once.children(server):
                    os.kill(worker, signal.SIGKILL)

    killer = threading.Thread(target=kill_workers)
    killer.start()
    try:
        code = label(tars[:1], teacher, tmp_path / "out")
    finally:
        stop.set()
        killer.join()
    told = capfd.readouterr().err
    assert code in (1, 2) and "signal SIGKILL" in told
    assert not list((tmp_path / "out").glob("*.parquet"))
    assert label(tars[:1], teacher, tmp_path / "out") == 0


def test_status_counts_done_running_and_left_as_json(given, tmp_path, capsys):
    tars, teacher, _ = given
    assert label(tars[:2], teacher, tmp_path) == 0
    with Leases(JobState(tmp_path, SETTINGS_FILE).leases_folder) as leases:
        assert leases.acquire(tars[2].stem)
        capsys.readouterr()
        assert label(tars, teacher, tmp_path, "--status", "--json") == 0
        now = json.loads(capsys.readouterr().out)
    assert (now["shards"], now["done"], now["running"], now["failed"]) == (len(tars), 2, 1, 0)
    assert now["hours"] > 0 and now["hours_left"] > 0 and now["hours_per_second"] > 0 and now["mb_per_hour"] > 0
    for log in (tmp_path / ".work/log").iterdir():
        log.write_text('{"shard": "cut off')
    assert status(tars, tmp_path).hours == pytest.approx(now["hours"])


def test_verify_finds_what_a_start_takes_on_trust(given, tmp_path, capsys):
    tars, teacher, _ = given
    assert label(tars, teacher, tmp_path) == 0
    second = tmp_path / f"{tars[1].stem}.parquet"
    second.write_bytes((tmp_path / f"{tars[0].stem}.parquet").read_bytes())
    assert label(tars, teacher, tmp_path) == 0
    assert label(tars, teacher, tmp_path, "--verify") == 2
    assert str(second) in capsys.readouterr().err


def test_a_tar_that_changed_after_it_was_labelled_is_told(given, tmp_path, capsys):
    tars, teacher, _ = given
    tar = tmp_path / tars[0].name
    tar.write_bytes(tars[0].read_bytes())
    assert label([tar], teacher, tmp_path / "out") == 0
    tar.write_bytes(tars[1].read_bytes())
    tar.with_name(tar.stem + ".index.json").unlink()
    later = time.time() + 5
    os.utime(tar, (later, later))
    assert label([tar], teacher, tmp_path / "out") == 2
    assert "is there already with shard" in capsys.readouterr().err


def test_two_runs_with_different_settings_cannot_share_a_folder(given, tmp_path, capsys):
    tars, teacher, _ = given
    JobState(tmp_path, SETTINGS_FILE).check_settings({"teacher": "a" * 64, "k": 1})
    JobState(tmp_path, SETTINGS_FILE).check_settings({"teacher": "a" * 64, "k": 1})
    with pytest.raises(ValueError, match=r"label.json: is there already with k 1, this run makes k 2"):
        JobState(tmp_path, SETTINGS_FILE).check_settings({"teacher": "a" * 64, "k": 2})
    assert label(tars[:1], teacher, tmp_path) == 2
    assert "label.json" in capsys.readouterr().err and not list(tmp_path.glob("*.parquet"))


def test_a_lease_is_one_runs_until_released_expired_or_its_process_is_dead(tmp_path):
    with Leases(tmp_path, lease_s=0.4) as ours, Leases(tmp_path, lease_s=0.4) as theirs:
        assert ours.acquire("a") and not theirs.acquire("a")
        time.sleep(0.8)
        assert not theirs.acquire("a")  # kept fresh
        assert [name for name, _ in theirs.running()] == ["a"]
        ours.release("a")
        assert theirs.acquire("a")
        theirs.release("a")
    stranger = {"machine": "another", "host": "h", "pid": 1, "started": "1", "run": "x"}
    (tmp_path / "b.json").write_text(json.dumps(stranger))
    (tmp_path / "c.json").write_text('{"cut o')
    late = Leases(tmp_path, lease_s=0.2)
    assert not late.acquire("b") and not late.acquire("c")
    time.sleep(0.3)
    assert late.acquire("b") and late.acquire("c")
    take = "import sys\nfrom pathlib import Path\nfrom asr_kd.jobs.leases import Leases\n"
    take += f"assert Leases(Path({str(tmp_path)!r})).acquire('d')\nsys.stdout.close()\n"
    subprocess.run([sys.executable, "-c", take], check=True)
    assert (tmp_path / "d.json").exists() and late.acquire("d")  # that process has ended


def test_leases_of_a_run_that_died_after_its_last_shard_are_removed(given, tmp_path):
    tars, teacher, _ = given
    assert label(tars, teacher, tmp_path) == 0
    folder = tmp_path / ".work/leases"
    take = "import sys\nfrom pathlib import Path\nfrom asr_kd.jobs.leases import Leases\n"
    take += f"assert Leases(Path({str(folder)!r})).acquire({tars[0].stem!r})\nsys.stdout.close()\n"
    subprocess.run([sys.executable, "-c", take], check=True)
    (folder / "other.json").write_text(json.dumps({"machine": "another", "host": "h", "pid": 1, "started": "1"}))
    assert label(tars, teacher, tmp_path) == 0
    assert [path.name for path in folder.iterdir()] == ["other.json"]  # whether that one lives cannot be told from here


def test_a_wrong_teacher_is_told_before_any_worker_starts(given, tmp_path, capsys):
    tars, _, _ = given
    assert label(tars, tmp_path / "nowhere", tmp_path / "out") == 2
    assert "nowhere" in capsys.readouterr().err and not (tmp_path / "out").exists()
    assert label(tars, tmp_path / "nowhere", tmp_path / "out", "--ray-address", "auto") == 2
    assert "--ray-address: only used with --backend ray" in capsys.readouterr().err


def test_what_was_heard_stands_beside_the_targets_and_can_be_selected_from(given, tmp_path, capsys):
    tars, teacher, _ = given
    exactly_once.INVENTORY.save(tmp_path / "inventory.json")
    (tmp_path / "lexicon.txt").write_text("".join(f"{a}{b} {a} {b}\n" for a in "ABCDE" for b in "FGHIJ"))
    (tmp_path / "text.txt").write_text("AF BG CH\nDI EJ\n")
    options = ["--lexicon", tmp_path / "lexicon.txt", "--inventory", tmp_path, "--out", tmp_path / "graph"]
    assert main(["graph", str(tmp_path / "text.txt"), *map(str, options)]) == 0
    search = ["--graph", str(tmp_path / "graph"), "--write-transcripts"]
    assert label(tars, teacher, tmp_path / "one", *search) == 0
    assert label(tars, teacher, tmp_path / "three", *search, "--workers", "3") == 0
    for folder in ("one", "three"):
        assert len(list((tmp_path / folder).glob("*.hyp.jsonl"))) == len(tars)
    for path in [*(tmp_path / "one").glob("*.parquet"), *(tmp_path / "one").glob("*.hyp.jsonl")]:
        assert path.read_bytes() == (tmp_path / "three" / path.name).read_bytes()
    given_ids = [entry.id for tar in tars for entry in open_shard(tar).entries]
    lines = list(read_transcripts(tmp_path / "one"))
    assert [line.id for line in lines] == given_ids and any(line.text for line in lines)
    kept = tmp_path / "kept.jsonl"
    assert main(["filter", str(tmp_path / "one"), "--min-seconds", "2", "--out", str(kept)]) == 0
    ids = {json.loads(line)["id"] for line in kept.read_text().splitlines()}
    assert ids == {line.id for line in lines if line.seconds >= 2 and line.text is not None}
    assert label(tars, teacher, tmp_path / "other", "--write-transcripts") == 2
    assert "--write-transcripts: only used with --graph" in capsys.readouterr().err


def test_a_worker_does_not_label_with_another_teacher_than_the_job_began_with(given, tmp_path):
    _, teacher, _ = given
    own = tmp_path / "teacher"
    shutil.copytree(teacher, own)
    job = LabelJob((str(own),), str(tmp_path / "out"), device="cpu")
    job = replace(job, settings=fingerprint(job.processor().settings))
    job.processor()

    for config in (LabelConfig(SelectionConfig(top_k=3)), LabelConfig(quantiser=ProbabilityQuantiser(10))):
        with pytest.raises(ValueError, match="is not here what it was when this job began"):
            replace(job, config=config).processor()
    model = load_model(own)
    with torch.no_grad():
        model.output.bias[0] += 1
    save_model(own, model)
    with pytest.raises(ValueError, match="is not here what it was when this job began"):
        job.processor()
    pool = ProcessPool(job, 1)
    try:
        with pytest.raises(ValueError, match="is not here what it was when this job began"):
            while True:
                list(pool.events(60))
    finally:
        pool.close()
