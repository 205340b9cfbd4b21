"""Sidecars: they come back as written, and refuse to serve another shard, teacher or inventory."""

import numpy as np
import pyarrow
import pyarrow.parquet
import pyarrow.parquet as pq
import pytest
import soundfile

from asr_kd.corpora.manifest import Utterance
from asr_kd.shards.reader import open_shard
from asr_kd.shards.writer import write_shards
from asr_kd.targets.sidecar import read_description, read_sidecar, sidecar_path, write_sidecar

INVENTORY = "ab" * 32


@pytest.fixture
def shard(tmp_path):
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, 1600)
    utterances = []
    for name in "abc":
        soundfile.write(tmp_path / f"{name}.wav", wave, 16000)
        utterances.append(Utterance(name, str(tmp_path / f"{name}.wav"), 0.1))
    return open_shard(write_shards(utterances, tmp_path / "audio")[0])


@pytest.fixture
def table():
    states = pyarrow.array([[1, 2, 2], None, [3]], pyarrow.list_(pyarrow.int16()))
    return pyarrow.table({"id": ["a", "b", "c"], "states": states})


@pytest.fixture
def sidecar(tmp_path, shard, table):
    path = sidecar_path(tmp_path / "targets", shard)
    write_sidecar(path, table, {"kind": "alignment", "shard": shard.digest, "inventory": INVENTORY})
    return path


def refusal(*args, **kwargs) -> str:
    with pytest.raises(ValueError) as error:
        read_sidecar(*args, **kwargs)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_sidecar_comes_back_as_written_and_says_what_it_is(sidecar, shard, table):
    assert sidecar.name == "shard-000000.parquet"
    found, description = read_sidecar(sidecar, shard, {"inventory": INVENTORY, "kind": "alignment"})
    assert found.to_pydict() == table.to_pydict()
    assert found.schema.types == table.schema.types
    assert description == read_description(sidecar)
    assert description["version"] == 2
    assert description["library"].startswith("asr_kd ")


def test_the_same_table_gives_the_same_bytes(sidecar, shard, table, tmp_path):
    write_sidecar(
        tmp_path / "again.parquet", table, {"inventory": INVENTORY, "shard": shard.digest, "kind": "alignment"}
    )
    assert (tmp_path / "again.parquet").read_bytes() == sidecar.read_bytes()


def test_other_engines_read_it(sidecar):
    assert pyarrow.parquet.ParquetFile(sidecar).metadata.row_group(0).column(0).compression == "ZSTD"
    assert pyarrow.parquet.read_table(sidecar, columns=["id"]).column("id").to_pylist() == ["a", "b", "c"]


def test_what_differs_is_refused_and_both_sides_are_named(sidecar, shard):
    other = "cd" * 32
    message = refusal(sidecar, shard, {"inventory": other})
    assert message.startswith(f"{sidecar}: inventory is abababababab…, here cdcdcdcdcdcd… is expected. ")
    assert "kind is alignment, here posteriors is expected" in refusal(sidecar, shard, {"kind": "posteriors"})
    assert "teacher is null" in refusal(sidecar, shard, {"teacher": other})


def test_a_sidecar_of_another_tar_is_refused(sidecar, shard, tmp_path):
    utterances = [Utterance(e.id, str(tmp_path / f"{e.id}.wav"), 0.1, text="NEW") for e in shard.entries]
    (tar,) = write_shards(utterances, tmp_path / "other")
    assert "shard is " in refusal(sidecar, open_shard(tar))


def test_rows_of_other_utterances_are_refused(tmp_path, shard, table):
    for rows in (table.slice(0, 2), table.take([1, 0, 2])):
        path = tmp_path / "rows.parquet"
        write_sidecar(path, rows, {"kind": "alignment", "shard": shard.digest})
        assert "are not the 3 rows of" in refusal(path, shard)


def test_damage_is_told_in_one_line(sidecar, tmp_path):
    data = sidecar.read_bytes()
    for size in (0, 10, len(data) // 2, len(data) - 5):
        (tmp_path / "cut.parquet").write_bytes(data[:size])
        assert "not a readable Parquet file" in refusal(tmp_path / "cut.parquet")
    pyarrow.parquet.write_table(pyarrow.table({"id": ["a"]}), tmp_path / "plain.parquet")
    assert "no sidecar of asr_kd" in refusal(tmp_path / "plain.parquet")
    assert "no such sidecar" in refusal(tmp_path / "none.parquet")


def test_a_newer_version_is_refused(sidecar, tmp_path, monkeypatch):
    monkeypatch.setattr("asr_kd.targets.sidecar.SIDECAR_VERSION", 3)
    assert "sidecar version 2, this asr_kd reads 3" in refusal(sidecar)


def test_a_changed_description_is_found(sidecar):
    table = pq.read_table(sidecar)
    text = table.schema.metadata[b"asr_kd"]
    assert b"alignment" in text
    changed = table.replace_schema_metadata({b"asr_kd": text.replace(b"alignment", b"alignmint")})
    pq.write_table(changed, sidecar)
    assert "digest of its description" in refusal(sidecar)


def test_a_flipped_bit_anywhere_is_found_or_harmless(sidecar, shard):
    """Of headers and footer, bits that mean nothing to a reader may flip."""
    whole = sidecar.read_bytes()
    table, description = read_sidecar(sidecar, shard)
    refused = 0
    for place in range(0, len(whole), 7):
        sidecar.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << place % 8)]) + whole[place + 1 :])
        try:
            found = read_sidecar(sidecar, shard)
        except ValueError:
            refused += 1
        else:
            assert found[0].to_pydict() == table.to_pydict() and found[1] == description, place
    assert refused > len(whole) / 7 / 3
