"""The catalogue: what the indexes say, in one file; another is refused when it no longer fits the shards."""

import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from asr_kd.cli import main
from asr_kd.core import storage
from asr_kd.corpora.manifest import Utterance, write_manifest
from asr_kd.shards.catalogue import Catalogue, open_catalogue
from asr_kd.shards.catalogue_file import CatalogueFile, stored_path
from asr_kd.shards.catalogue_writer import (
    CATALOGUE_NAME,
    SHARDS_PER_GROUP,
    CatalogueRow,
    catalogue_bytes,
    write_catalogue,
)
from asr_kd.shards.index import index_path
from asr_kd.shards.reader import find_shards, open_shard, shard_order
from asr_kd.shards.writer import write_shards
from asr_kd.targets.sidecar import write_sidecar


def utterances(folder: Path, first: int, count: int) -> list[Utterance]:
    found = []
    for n in range(first, first + count):
        samples = 1600 + 177 * n
        pcm_N = np.random.default_rng(n).integers(-9000, 9000, samples).astype(np.int16)
        soundfile.write(folder / f"{n}.wav", pcm_N, 16000)
        found.append(Utterance(f"u{n}", str(folder / f"{n}.wav"), samples / 16000))
    return found


@pytest.fixture
def corpus(tmp_path) -> Path:
    """A folder of 3 shards with 9 utterances, as `asr-kd shard` makes it."""
    write_manifest(tmp_path / "part.jsonl", utterances(tmp_path, 0, 9))
    assert main(["shard", str(tmp_path / "part.jsonl"), "--out", str(tmp_path), "--minutes", "0.008"]) == 0
    assert len(find_shards(tmp_path / "part")) == 3
    return tmp_path / "part"


def contents(catalogue: Catalogue) -> list[tuple]:
    found = []
    for n, path in enumerate(map(catalogue.path, range(len(catalogue)))):
        figures = [float(catalogue.seconds_N[n]), int(catalogue.utterances_N[n]), int(catalogue.bytes_N[n])]
        found.append((str(path), catalogue.digest(n), *figures, catalogue.lengths(n).tolist()))
    return found


def from_indexes(*places: storage.PathOrUrl) -> list[tuple]:
    found = []
    for shard in map(open_shard, find_shards(*places)):
        lengths = [entry.seconds for entry in shard.entries]
        found.append((str(shard.path), shard.digest, shard.seconds, len(lengths), storage.size(shard.path), lengths))
    return found


def refusal(*places: storage.PathOrUrl) -> str:
    with pytest.raises(ValueError) as error:
        open_catalogue(*places)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_shard_writes_what_the_indexes_say_and_the_same_bytes_again(corpus, tmp_path):
    assert contents(open_catalogue(corpus)) == contents(open_catalogue(corpus / CATALOGUE_NAME)) == from_indexes(corpus)
    table = pyarrow.parquet.read_table(corpus / CATALOGUE_NAME).to_pydict()
    assert table["path"] == [tar.name for tar in find_shards(corpus)]
    before = (corpus / CATALOGUE_NAME).read_bytes()
    for out in (tmp_path, tmp_path / "elsewhere"):
        assert main(["shard", str(tmp_path / "part.jsonl"), "--out", str(out), "--minutes", "0.008"]) == 0
        assert (out / "part" / CATALOGUE_NAME).read_bytes() == before


def test_without_a_catalogue_the_indexes_are_opened_and_nothing_else_differs(corpus):
    with_one = open_catalogue(corpus)
    (corpus / CATALOGUE_NAME).unlink()
    without = open_catalogue(corpus)
    assert contents(without) == contents(with_one) == contents(pickle.loads(pickle.dumps(without)))
    assert without.fingerprint == with_one.fingerprint
    assert not (corpus / CATALOGUE_NAME).exists()
    some = find_shards(corpus)[1:3]
    assert contents(open_catalogue(*some)) == from_indexes(*some)
    assert open_catalogue(*some).fingerprint != without.fingerprint


def test_several_places_are_put_together_as_find_shards_does_each_shard_once(corpus, tmp_path):
    inside, plain = corpus / "shard-000001.more", tmp_path / "a"
    write_shards(utterances(tmp_path, 20, 4), inside, 0.5)
    write_shards(utterances(tmp_path, 30, 4), plain, 0.5)
    shutil.copytree(inside, tmp_path / "z")
    rows = [CatalogueRow.of(open_shard(t), t.name) for t in find_shards(tmp_path / "z")]
    write_catalogue(tmp_path / "z" / CATALOGUE_NAME, rows, ["."])
    places = [tmp_path / "z", corpus, inside, plain, find_shards(corpus)[2], corpus / CATALOGUE_NAME]
    assert contents(open_catalogue(*places)) == from_indexes(*places[:-1])


def test_rows_of_many_groups_are_read_in_any_order(tmp_path):
    rng = np.random.default_rng(0)
    rows = [
        CatalogueRow(f"{n:05d}.tar", n, f"{n:064x}", float(n), rng.uniform(0.5, 20, rng.integers(0, 5)))
        for n in range(2 * SHARDS_PER_GROUP + 5)
    ]
    write_catalogue(tmp_path / "c.parquet", iter(rows), [])
    file = CatalogueFile(tmp_path / "c.parquet")
    for n in [0, *rng.permutation(len(rows)).tolist()]:
        assert file.lengths(n).tolist() == rows[n].lengths_N.tolist()
    assert file.row(7).path == rows[7].path and file.bytes_N.tolist() == [row.bytes for row in rows]


NAMES = st.text(st.characters(exclude_characters="/\\\0", exclude_categories=["Cs"]), min_size=1, max_size=8)
FOLDERS = st.lists(NAMES.filter(lambda name: name not in (".", "..")), max_size=3)


@given(st.sets(st.builds(lambda folders, name: "/".join([*folders, name + ".tar"]), FOLDERS, NAMES), max_size=5))
def test_any_names_below_the_folder_are_found_again_in_the_order_of_find_shards(names):
    base = Path("/corpus/x")
    tars = sorted((base / name for name in names if "://" not in name), key=shard_order)
    rows = [CatalogueRow(stored_path(base, tar), 1, "d", 0.5, [0.25, 0.25]) for tar in tars]
    file = CatalogueFile(base / CATALOGUE_NAME, catalogue_bytes(rows, []))
    assert [file.locate(path.as_py()) for path in file.paths] == tars
    assert list(file.sort_keys()) == [shard_order(tar) for tar in tars]


@pytest.mark.parametrize("path", ["../x.tar", "a/../../x.tar", "a/./x.tar", "x.flac", "", "file:/x.tar/.."])
def test_paths_that_lead_out_or_are_no_tars_are_refused(tmp_path, path):
    write_catalogue(tmp_path / CATALOGUE_NAME, [CatalogueRow(path, 1, "d", 1.0, [1.0])], [])
    assert "which is no tar in its folder" in refusal(tmp_path)


def test_a_catalogue_in_a_store_lists_no_files_of_this_machine():
    with pytest.raises(ValueError, match="no tar in its folder"):
        content = catalogue_bytes([CatalogueRow("/etc/x.tar", 1, "d", 1.0, [1.0])], [])
        CatalogueFile("s3://bucket/catalogue.parquet", content)
    with pytest.raises(ValueError, match="Upload it, or give another --out"):
        stored_path("s3://bucket", Path("/data/x.tar"))


def test_a_catalogue_that_no_longer_fits_says_which_shards_and_what_to_run(corpus, tmp_path):
    tars, ending = find_shards(corpus), f"Extend it: asr-kd catalogue {corpus}"
    shutil.copy(tars[0], corpus / "more.tar")
    assert refusal(corpus) == (
        f"{corpus / CATALOGUE_NAME}: does not fit its shards: 1 shards that it does not list (first more.tar). {ending}"
    )
    (corpus / "more.tar").unlink()
    shutil.move(tars[1], tmp_path)
    assert f"1 that it lists are gone (first {tars[1].name}). {ending}" in refusal(corpus)
    shutil.move(tmp_path / tars[1].name, corpus)
    open_catalogue(corpus)
    os.truncate(tars[2], tars[2].stat().st_size - 512)
    assert f"1 are of another size (first {tars[2].name}). {ending}" in refusal(corpus / CATALOGUE_NAME)


def test_of_very_many_shards_not_every_size_is_asked_for_but_every_name(corpus, monkeypatch):
    monkeypatch.setattr("asr_kd.shards.catalogue.SIZES_CHECKED", 1)
    asked = [size for _, size, _ in storage.scan(corpus, ".tar", 3)]
    assert asked[0] and asked[1:] == [None, None]
    open_catalogue(corpus)
    tar = find_shards(corpus)[1]
    tar.rename(corpus / "renamed.tar")
    assert "(first renamed.tar), 1 that it lists are gone (first shard-000001.tar)" in refusal(corpus)


def test_a_tar_of_the_same_size_but_other_bytes_is_noticed(corpus, tmp_path):
    before = open_catalogue(corpus)
    tar = find_shards(corpus)[0]
    other = tmp_path / "other" / "part"
    renamed = [Utterance(f"v{u.id[1:]}", u.audio_filepath, u.duration) for u in utterances(tmp_path, 0, 9)]
    write_manifest(tmp_path / "part.jsonl", renamed)
    assert main(["shard", str(tmp_path / "part.jsonl"), "--out", str(other.parent), "--minutes", "0.008"]) == 0
    assert (other / tar.name).stat().st_size == tar.stat().st_size
    for name in (tar.name, index_path(tar).name):
        shutil.copy(other / name, corpus / name)
    assert "does not fit its shards: 1 of another digest (first shard-000000.tar)" in refusal(corpus)
    with pytest.raises(ValueError, match="It was written anew since; extend the catalogue: asr-kd catalogue"):
        before.open(0)
    assert before.open(1).path == find_shards(corpus)[1]
    os.utime(tar, (0, 0))  # a copy that kept an older time is noticed when it is opened
    with pytest.raises(ValueError, match="written anew since"):
        open_catalogue(corpus).open(0)


@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_a_damaged_catalogue_is_told_in_one_line(corpus, damage):
    path = corpus / CATALOGUE_NAME
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for place in rng.integers(0, len(whole), 60).tolist():
        path.write_bytes(whole[:place] if damage == "cut" else flipped(whole, place))
        try:
            found = contents(open_catalogue(corpus))
        except ValueError as error:
            assert str(path) in str(error) and "\n" not in str(error)
        else:
            assert damage == "flip" and found == from_indexes(corpus)


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 255]) + data[place + 1 :]


def test_other_parquet_files_are_no_catalogues(corpus, tmp_path):
    table = pyarrow.table({"id": ["a"]})
    pyarrow.parquet.write_table(table, tmp_path / "plain.parquet")
    assert "Parquet, but no catalogue of asr_kd" in refusal(tmp_path / "plain.parquet")
    write_sidecar(tmp_path / "side.parquet", table, {"kind": "posteriors", "shard": "x"})
    assert "no catalogue, but a sidecar of posteriors" in refusal(tmp_path / "side.parquet")
    assert "no such catalogue. `asr-kd catalogue` makes one." in refusal(tmp_path / "none.parquet")
    table = pyarrow.parquet.read_table(corpus / CATALOGUE_NAME)
    newer = {b"asr_kd": table.schema.metadata[b"asr_kd"].replace(b'"version": 1', b'"version": 2')}
    pyarrow.parquet.write_table(table.replace_schema_metadata(newer), tmp_path / "newer.parquet")
    assert "catalogue version 2, this asr_kd reads 1" in refusal(tmp_path / "newer.parquet")


def test_a_corpus_in_a_store_opens_by_its_catalogue(corpus, bucket, tmp_path, monkeypatch):
    monkeypatch.setenv("ASR_KD_CACHE", str(tmp_path / "cache"))
    for file in corpus.iterdir():
        if file.suffix != ".json":
            storage.write_bytes(f"{bucket}/{file.name}", file.read_bytes())
    there, here = open_catalogue(bucket), open_catalogue(corpus)  # no index is there to be opened
    assert [there.path(n) for n in range(len(there))] == find_shards(bucket)
    assert there.fingerprint == here.fingerprint and there.lengths(1).tolist() == here.lengths(1).tolist()
    first = find_shards(bucket)[0]
    storage.write_bytes(first, storage.read_bytes(first) + bytes(512))
    assert f"1 are of another size (first {storage.basename(first)}). Extend it: asr-kd catalogue {bucket}" in refusal(
        bucket
    )
