"""Shards and sidecars in a store: as good as local ones, fetched once, streamed when labelled, the same bytes."""

import dataclasses
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import boto3
import numpy as np
import pyarrow
import pytest
import soundfile
import torch

from asr_kd.cli import main
from asr_kd.core import storage
from asr_kd.core.storage import StorageError
from asr_kd.corpora.manifest import Utterance
from asr_kd.data.loader import batches
from asr_kd.data.sampler import BatchSampler, TrainingSet
from asr_kd.frontend.fbank import FrontEndConfig
from asr_kd.inventory.senones import Senones
from asr_kd.jobs.job import Worker
from asr_kd.label.label_job import LabelJob
from asr_kd.models.acoustic import build_model
from asr_kd.models.checkpoint import save_model
from asr_kd.models.config import ModelConfig
from asr_kd.shards.catalogue import open_catalogue
from asr_kd.shards.index import index_path
from asr_kd.shards.reader import find_shards, open_shard
from asr_kd.shards.writer import write_shards
from asr_kd.targets.sidecar import find_description, read_description, read_sidecar, sidecar_path, write_sidecar
from asr_kd.targets.soft_targets import SoftTargets

INVENTORY = Senones.monophone(["SIL", *"ABCDEFGHIJ"])


@pytest.fixture(scope="module")
def tars(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audio")
    utterances = []
    for i, seconds in enumerate([0.9, 0.4, 1.3, 0.6, 0.75, 1.1]):
        wave = np.random.default_rng(i).normal(0, 0.1, int(16000 * seconds))
        soundfile.write(folder / f"{i}.wav", wave, 16000)
        utterances.append(Utterance(id=f"u{i}", audio_filepath=str(folder / f"{i}.wav"), duration=seconds))
    tars = write_shards(utterances, folder / "shards", shard_seconds=2.0)
    assert len(tars) >= 2
    return tars


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("teacher")
    save_model(folder, build_model(ModelConfig(num_layers=1, hidden_size=16), INVENTORY, FrontEndConfig()))
    return folder


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("ASR_KD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def audio(tars, bucket, cache) -> str:
    """The folder of the shards in the store."""
    for tar in tars:
        storage.write_bytes(f"{bucket}/audio/{tar.name}", tar.read_bytes())
        storage.write_bytes(f"{bucket}/audio/{index_path(tar).name}", index_path(tar).read_bytes())
    return f"{bucket}/audio"


def files(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.is_file() and p.parent.name != "locks")


def fetches(log: list[str]) -> list[str]:
    return [line for line in log if line.startswith("GET") and line.endswith(".tar")]


def test_shards_are_found_and_opened_without_their_audio(audio, tars, cache, on_the_way):
    log = on_the_way()
    found = find_shards(audio)
    assert found == [f"{audio}/{tar.name}" for tar in tars]
    assert find_shards(found[1], found[0]) == found[:2]
    for url, tar in zip(found, tars, strict=True):
        here, there = open_shard(tar), open_shard(url)
        assert there == dataclasses.replace(here, path=url, cache=cache)
    assert not fetches(log) and files(cache) == []
    with pytest.raises(ValueError, match="holds no shards"):
        find_shards(f"{audio}/deeper")
    with pytest.raises(ValueError, match=r"none\.tar: no such shard"):
        open_shard(f"{audio}/none.tar")


def test_audio_is_the_same_and_fetched_once_by_however_many_ask(audio, tars, cache, on_the_way):
    log = on_the_way()
    shard, here = open_shard(f"{audio}/{tars[0].name}"), open_shard(tars[0])
    sent = pickle.dumps(shard)
    assert len(sent) < 5000
    rows = list(range(len(shard.entries))) * 4
    with ThreadPoolExecutor(8) as pool:
        waves = list(pool.map(lambda row: pickle.loads(sent).audio(row), rows))
    for row, wave in zip(rows, waves, strict=True):
        np.testing.assert_array_equal(wave, here.audio(row))
    assert len(fetches(log)) == 1
    assert shard.file().read_bytes() == tars[0].read_bytes()
    shard.discard()
    assert files(cache) == [] and not (cache / shard.digest).exists()
    here.discard()
    assert tars[0].is_file()


def test_a_shard_is_fetched_to_where_it_is_wanted_and_only_that_copy_discarded(audio, tars, tmp_path, cache):
    url = f"{audio}/{tars[0].name}"
    shard = open_shard(url, tmp_path / "here")
    assert shard.file().is_relative_to(tmp_path / "here") and shard.path == url and not cache.exists()
    kept = open_shard(url).file()
    shard.discard()
    assert files(tmp_path / "here") == [] and files(cache) == [kept.name]


def test_a_tar_that_is_not_its_indexs_is_a_failure_of_storage_not_of_an_utterance(audio, tars, cache):
    url = f"{audio}/{tars[0].name}"
    data = bytearray(storage.read_bytes(url))
    data[open_shard(url).entries[0].audio_offset + 100] ^= 1
    storage.write_bytes(url, bytes(data))
    with pytest.raises(StorageError, match=r"was expected\. Upload it again") as error:
        open_shard(url).audio(0)
    assert not isinstance(error.value, ValueError)
    assert files(cache) == []


def test_a_damaged_index_is_named(audio, tars):
    path = f"{audio}/{index_path(tars[0]).name}"
    data = storage.read_bytes(path)
    for damaged, complaint in ((data[:-50], "not valid JSON"), (data.replace(b'"count"', b'"c"'), "damaged index")):
        storage.write_bytes(path, damaged)
        with pytest.raises(ValueError, match=complaint) as error:
            open_shard(f"{audio}/{tars[0].name}")
        assert str(error.value).startswith(path)


def test_a_foreign_tar_is_fetched_and_walked_once_until_it_changes(audio, tars, on_the_way):
    url = f"{audio}/{tars[0].name}"
    storage.delete(f"{audio}/{index_path(tars[0]).name}")
    log = on_the_way()
    entries = [replace(entry, audio_filepath=None, offset=0.0) for entry in open_shard(tars[0]).entries]
    for _ in range(2):
        shard = open_shard(url)
        assert (shard.digest, shard.entries) == (open_shard(tars[0]).digest, entries)
        np.testing.assert_array_equal(shard.audio(1), open_shard(tars[0]).audio(1))
    assert len(fetches(log)) == 1
    storage.write_bytes(url, tars[1].read_bytes())
    assert open_shard(url).digest == open_shard(tars[1]).digest
    storage.write_bytes(url, tars[1].read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"cut off") as error:
        open_shard(url)
    assert str(error.value).startswith(url)


def test_sidecars_in_a_store_are_those_of_a_folder(audio, tars, tmp_path, on_the_way):
    here, there = open_shard(tars[0]), open_shard(f"{audio}/{tars[0].name}")
    table = pyarrow.table(
        {
            "id": [e.id for e in here.entries],
            "x": np.random.default_rng(0).bytes(50_000).split(b"0")[: len(here.entries)],
        }
    )
    path = sidecar_path(f"{audio}/targets", there)
    assert path == f"{audio}/targets/{tars[0].stem}.parquet"
    assert find_description(path) is None
    with pytest.raises(ValueError, match="no such sidecar"):
        read_sidecar(path)
    for notes in ("short", "a long one " * 20_000):  # longer than what is read at first of a remote file
        for place in (path, tmp_path / "local.parquet"):
            write_sidecar(place, table, {"kind": "test", "shard": here.digest, "notes": notes})
        assert storage.read_bytes(path) == (tmp_path / "local.parquet").read_bytes()
        assert read_description(path) == read_description(tmp_path / "local.parquet")
        assert read_sidecar(path, there)[0] == table
    log = on_the_way()
    read_sidecar(path, there)
    assert len(log) == 1
    with pytest.raises(ValueError, match="shard is"):
        read_sidecar(path, open_shard(tars[1]))
    storage.write_bytes(path, storage.read_bytes(path)[:-9])
    for read in (read_sidecar, read_description):
        with pytest.raises(ValueError, match="not a readable Parquet file"):
            read(path)


def label(shards, teacher, out, *more):
    command = ["label", *map(str, shards), "--teacher", str(teacher), "--out", str(out), "--threads", "1", *more]
    return main(command)


def sidecars(folder) -> dict[str, bytes]:
    return {storage.basename(p): storage.read_bytes(p) for p in storage.list_files(folder, ".parquet")}


def test_labelling_from_store_to_store_gives_the_bytes_of_a_local_run(
    audio, tars, teacher, tmp_path, bucket, cache, on_the_way, capsys
):
    assert label(tars, teacher, tmp_path / "local") == 0
    odd = iter(["503", None, "drop", None, None, "503", "503", None] * 100)
    log = on_the_way(lambda method, path: next(odd) if method != "HEAD" else None)
    assert label([audio], teacher, f"{bucket}/targets") == 0
    assert sidecars(f"{bucket}/targets") == sidecars(tmp_path / "local")
    assert len(sidecars(tmp_path / "local")) == len(tars)
    assert files(cache) == []
    log = on_the_way()
    capsys.readouterr()
    assert label([audio], teacher, f"{bucket}/targets") == 0
    assert f"0 of {len(tars)} shards to label" in capsys.readouterr().err
    assert not fetches(log) and not [line for line in log if line.startswith("PUT")]
    assert label([audio], teacher, f"{bucket}/targets", "--status") == 0
    assert f"{len(tars)} of {len(tars)} shards labelled in {bucket}/targets" in capsys.readouterr().out
    assert main(["inspect", audio, "--verify"]) == main(["inspect", f"{bucket}/targets"]) == 0
    shown = capsys.readouterr().out
    assert "verified: true" in shown and f"{bucket}/targets: sidecars" in shown
    assert files(cache) == []


def test_a_store_that_fails_sets_no_utterance_aside(audio, teacher, bucket, on_the_way):
    on_the_way(lambda method, path: "503" if path.endswith(".tar") else None)
    job, outcomes = LabelJob(teacher=(str(teacher),), out=f"{bucket}/targets"), []
    given = iter([*map(str, find_shards(audio)), None])
    Worker(job.processor(), outcomes.append).run(lambda: next(given))
    assert [o.kind for o in outcomes] == ["failed"] * 3 and not any(o.final for o in outcomes)
    assert all("Run the same command again to go on." in o.reason for o in outcomes)
    assert sidecars(f"{bucket}/targets") == {}


def test_labels_are_never_sent_where_they_cannot_be_written(audio, teacher, capsys):
    with pytest.raises(SystemExit):
        label([audio], teacher, "https://host/targets")
    assert "https is for reading" in capsys.readouterr().err


def test_training_batches_are_those_of_local_shards_and_targets(audio, tars, teacher, tmp_path, bucket, cache):
    label(tars, teacher, tmp_path / "targets")
    for path in storage.list_files(tmp_path / "targets", ".parquet"):
        storage.write_bytes(f"{bucket}/targets/{path.name}", path.read_bytes())
    made = {}
    for name, shards, folder in (("here", tars, tmp_path / "targets"), ("there", [audio], f"{bucket}/targets")):
        targets = SoftTargets(folder, INVENTORY)
        stream = TrainingSet("unlabelled", open_catalogue(*shards), targets)
        assert len(targets.check(stream.shards)) == 64
        plan = BatchSampler(stream, frames_per_batch=60, seed=0, shuffle=False)
        made[name] = list(batches(plan, FrontEndConfig(), workers=2 if name == "there" else 0, endless=False))
    assert len(made["here"]) > 2
    for a, b in zip(made["here"], made["there"], strict=True):
        assert a.utterances == b.utterances and not b.set_aside
        for one, other in zip((a.x_BTF, *a.targets.frames), (b.x_BTF, *b.targets.frames), strict=True):
            assert one is other is None or torch.equal(one, other)
    assert files(cache) == sorted(tar.name for tar in tars)


def test_boto_sees_plain_objects(audio, tars, s3_endpoint):
    """What is in the bucket is no format of ours."""
    name, _, prefix = audio.removeprefix("s3://").partition("/")
    body = boto3.client("s3", endpoint_url=s3_endpoint).get_object(Bucket=name, Key=f"{prefix}/{tars[0].name}")["Body"]
    assert body.read() == tars[0].read_bytes()
