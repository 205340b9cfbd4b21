"""`asr-kd catalogue`: foreign tars are opened once each, by any number of processes, and the same file comes out."""

import io
import json
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr_kd.cli import main
from asr_kd.core import storage
from asr_kd.shards.catalogue import open_catalogue
from asr_kd.shards.catalogue_journal import CatalogueJournal
from asr_kd.shards.catalogue_writer import CATALOGUE_NAME, CatalogueRow
from asr_kd.shards.index import index_path
from asr_kd.shards.reader import find_shards, open_shard


def foreign_tar(path: Path, seed: int, utterances: int = 2) -> Path:
    """A WebDataset tar without an index."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    with tarfile.open(path, "w") as tar:
        for n in range(utterances):
            buffer = io.BytesIO()
            soundfile.write(buffer, rng.normal(0, 0.1, rng.integers(800, 4000)), 16000, format="WAV")
            info = tarfile.TarInfo(f"{path.stem}-{n}.wav")
            info.size = len(buffer.getvalue())
            tar.addfile(info, io.BytesIO(buffer.getvalue()))
    return path


@pytest.fixture
def corpus(tmp_path) -> Path:
    """A folder of 5 foreign tars."""
    for n in range(5):
        foreign_tar(tmp_path / "corpus" / f"{n}.tar", n)
    return tmp_path / "corpus"


def catalogue(capsys, *arguments) -> str:
    """What a run that ends well says."""
    capsys.readouterr()
    assert main(["catalogue", *map(str, arguments)]) == 0
    return capsys.readouterr().err


def lengths(place: storage.PathOrUrl) -> dict[str, list[float]]:
    found = open_catalogue(place)
    return {storage.basename(found.path(n)): found.lengths(n).tolist() for n in range(len(found))}


def test_foreign_tars_are_listed_and_the_bytes_are_those_of_any_number_of_jobs(corpus, tmp_path, capsys):
    copy = shutil.copytree(corpus, tmp_path / "copy")
    assert "5 shards: 0 known, 5 to open" in catalogue(capsys, corpus, "--jobs", 1)
    shards = [open_shard(tar) for tar in find_shards(corpus)]
    assert lengths(corpus) == {s.path.name: [e.seconds for e in s.entries] for s in shards}
    catalogue(capsys, copy, "--jobs", 3)
    assert (copy / CATALOGUE_NAME).read_bytes() == (corpus / CATALOGUE_NAME).read_bytes()
    assert "5 shards: 5 known, 0 to open" in catalogue(capsys, copy)
    assert (copy / CATALOGUE_NAME).read_bytes() == (corpus / CATALOGUE_NAME).read_bytes()
    assert sorted(p.name for p in corpus.iterdir() if p.suffix not in (".tar", ".json")) == [
        "catalogue.config.yaml",
        CATALOGUE_NAME,
    ]


def test_only_new_and_changed_shards_are_opened(corpus, capsys):
    catalogue(capsys, corpus)
    for n in range(5):  # whoever opened them again would fail
        index_path(corpus / f"{n}.tar").write_text("{}")
    foreign_tar(corpus / "1b.tar", 7)
    (corpus / "4.tar").unlink()
    index_path(foreign_tar(corpus / "0.tar", 8, 3)).unlink()
    with pytest.raises(ValueError, match=r"1 shards that it does not list \(first 1b.tar\), 1 that it lists are gone"):
        open_catalogue(corpus)
    assert "5 shards: 3 known, 2 to open" in catalogue(capsys, corpus)
    counts = {name: len(found) for name, found in lengths(corpus).items()}
    assert counts == {"0.tar": 3, "1.tar": 2, "1b.tar": 2, "2.tar": 2, "3.tar": 2}


def test_what_a_stopped_run_opened_is_not_opened_again(corpus, capsys):
    states = {tar.name: (tar.stat().st_size, tar.stat().st_mtime_ns) for tar in find_shards(corpus)}
    journal = CatalogueJournal(corpus / f".{CATALOGUE_NAME}.rows.jsonl")
    for name in ("3.tar", "1.tar", "2.tar"):
        journal.add(CatalogueRow(name, states[name][0], name * 8, 3.0, [1.0, 2.0]), states[name])
    with open(journal.file, "ab") as f:
        f.write(b'["0.tar", 12')  # killed while it wrote
    foreign_tar(corpus / "2.tar", 9, 1)  # changed since
    assert "5 shards: 2 known, 3 to open" in catalogue(capsys, corpus, "--dry-run")
    assert not (corpus / CATALOGUE_NAME).exists() and not index_path(corpus / "0.tar").exists()
    assert "5 shards: 2 known, 3 to open" in catalogue(capsys, corpus)
    assert not journal.file.exists()
    found = open_catalogue(corpus)
    assert [found.digest(n) == f"{n}.tar" * 8 for n in range(5)] == [False, True, False, True, False]
    assert [len(found.lengths(n)) for n in range(5)] == [2, 2, 1, 2, 2]


def test_however_often_it_is_killed_every_tar_is_read_once(tmp_path, capsys):
    corpus = tmp_path / "corpus"
    tars = [foreign_tar(corpus / f"{n:02d}.tar", n, 20) for n in range(24)]
    copy = shutil.copytree(corpus, tmp_path / "copy")
    catalogue(capsys, copy)
    read: dict[Path, int] = {}
    for kill_at in (3, 12, None):
        command = [sys.executable, "-m", "asr_kd.cli", "catalogue", str(corpus), "--jobs", "2"]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as job:
            while job.poll() is None and (kill_at is None or sum(map(has_index, tars)) < kill_at):
                time.sleep(0.01)
            job.kill()
        assert (job.returncode == 0) == (kill_at is None)
        indexes = [index_path(tar) for tar in tars if has_index(tar)]
        now = {index: index.stat().st_mtime_ns for index in indexes}
        assert now | read == now  # none was written again
        read = now
    assert len(read) == 24
    assert (corpus / CATALOGUE_NAME).read_bytes() == (copy / CATALOGUE_NAME).read_bytes()
    assert not [path for path in corpus.iterdir() if path.name.startswith(".")]


def has_index(tar: Path) -> bool:
    return index_path(tar).is_file()


def test_damaged_tars_are_skipped_listed_and_tried_again(corpus, capsys):
    whole = (corpus / "2.tar").read_bytes()
    (corpus / "2.tar").write_bytes(whole[:5000])
    assert main(["catalogue", str(corpus), "--max-skipped", "0.1"]) == 2
    assert "1 of 5 shards skipped (1 x " in (told := capsys.readouterr().err) and "2.tar" in told
    assert not (corpus / CATALOGUE_NAME).exists()
    assert "5 shards: 4 known, 1 to open" in catalogue(capsys, corpus)
    (listed,) = map(json.loads, (corpus / "catalogue.skipped.jsonl").read_text().splitlines())
    assert listed["id"] == str(corpus / "2.tar") and "cut off" in listed["reason"]
    assert list(lengths(corpus)) == ["0.tar", "1.tar", "3.tar", "4.tar"]
    (corpus / "2.tar").write_bytes(whole)
    with pytest.raises(ValueError, match=r"1 shards that it does not list \(first 2.tar\)"):
        open_catalogue(corpus)
    catalogue(capsys, corpus)
    assert list(lengths(corpus)) == [f"{n}.tar" for n in range(5)]
    assert not (corpus / "catalogue.skipped.jsonl").exists()


def test_a_catalogue_of_several_folders_stands_above_them(corpus, tmp_path, capsys, monkeypatch):
    foreign_tar(tmp_path / "more" / "9.tar", 9)
    lone = foreign_tar(tmp_path / "lone" / "8.tar", 9)
    foreign_tar(tmp_path / "lone" / "other.tar", 10)
    out = tmp_path / "all.parquet"
    monkeypatch.chdir(tmp_path)
    assert main(["catalogue", "corpus", "more"]) == 2
    assert "--out: is needed" in capsys.readouterr().err
    catalogue(capsys, "corpus", tmp_path / "more", "lone/8.tar", "--out", "all.parquet")
    found = open_catalogue(out)
    assert [found.path(n) for n in range(len(found))] == [*find_shards(corpus), lone, *find_shards(tmp_path / "more")]
    foreign_tar(tmp_path / "more" / "7.tar", 9)
    command = rf"asr-kd catalogue {corpus} {tmp_path}/more --out {out}"
    with pytest.raises(ValueError, match=rf"\(first more/7.tar\)\. Extend it: {command}$"):
        open_catalogue(out)


def test_a_corpus_in_a_store_gets_its_catalogue_there(corpus, bucket, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("ASR_KD_CACHE", str(tmp_path / "cache"))
    for tar in find_shards(corpus):
        storage.write_bytes(f"{bucket}/{tar.name}", tar.read_bytes())
    catalogue(capsys, corpus)
    for known in (0, 5):
        assert f"5 shards: {known} known, {5 - known} to open" in catalogue(capsys, bucket)
        assert storage.read_bytes(f"{bucket}/{CATALOGUE_NAME}") == (corpus / CATALOGUE_NAME).read_bytes()
    assert storage.exists(f"{bucket}/catalogue.config.yaml")
    assert not [p for p in (tmp_path / "cache").rglob("*") if p.suffix in (".tar", ".jsonl")]
    assert lengths(bucket) == lengths(corpus)


def test_a_tar_in_a_store_that_is_not_of_its_index_is_skipped(corpus, bucket, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("ASR_KD_CACHE", str(tmp_path / "cache"))
    catalogue(capsys, corpus)
    for tar in find_shards(corpus):
        for file in (tar, index_path(tar)):
            storage.write_bytes(f"{bucket}/{file.name}", file.read_bytes() + bytes(512 * (file.name == "3.tar")))
    assert "1 of 5 shards skipped" in catalogue(capsys, bucket)
    listed = json.loads(storage.read_bytes(f"{bucket}/catalogue.skipped.jsonl"))
    assert listed["id"] == f"{bucket}/3.tar" and "its index was made for" in listed["reason"]
    assert list(lengths(bucket)) == ["0.tar", "1.tar", "2.tar", "4.tar"]
