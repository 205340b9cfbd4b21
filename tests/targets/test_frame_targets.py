import numpy as np
import pyarrow as pa
import pytest
import soundfile

from asr_kd.corpora.manifest import Utterance
from asr_kd.inventory.senones import Senones
from asr_kd.shards.reader import open_shard
from asr_kd.shards.writer import write_shards
from asr_kd.targets.frame_targets import SHARDS_KEPT_OPEN, AlignmentTargets
from asr_kd.targets.sidecar import sidecar_path, write_sidecar

INVENTORY = Senones.monophone(["SIL", "A", "B"])


def make_shards(folder, count):
    utterances = []
    for i in range(2 * count):
        path = folder / f"{i}.wav"
        soundfile.write(path, np.random.default_rng(i).normal(0, 0.1, 8000), 16000)
        utterances.append(Utterance(id=f"u{i}", audio_filepath=str(path), duration=0.5, text="a"))
    return [open_shard(p) for p in write_shards(utterances, folder / "shards", shard_seconds=1.0)]


def write_alignment(folder, shard, states, description=None):
    table = pa.table({"id": [e.id for e in shard.entries], "states": pa.array(states, pa.list_(pa.int16()))})
    full = {"kind": "alignment", "inventory": INVENTORY.fingerprint, "shard": shard.digest} | (description or {})
    write_sidecar(sidecar_path(folder, shard), table, full)


def test_an_alignment_gives_hard_targets_and_none_where_nothing_was_aligned(tmp_path):
    (shard,) = make_shards(tmp_path, 1)
    write_alignment(tmp_path, shard, [None, [0, 1, 3, 3, 0]])
    first, second = AlignmentTargets(tmp_path, INVENTORY).load(shard)
    assert first is None
    np.testing.assert_array_equal(second.ids_TK, [[0], [1], [3], [3], [0]])
    assert second.ids_TK.dtype == np.int32
    assert (second.log_p_TK == 0).all() and np.isneginf(second.log_tail_T).all()
    assert (second.frames, second.k) == (5, 1)


@pytest.mark.parametrize("difference", [{"inventory": "5" * 64}, {"shard": "5" * 64}, {"kind": "posteriors"}])
def test_a_sidecar_of_something_else_is_refused_naming_both_sides(tmp_path, difference):
    (shard,) = make_shards(tmp_path, 1)
    write_alignment(tmp_path, shard, [[0], [0]], difference)
    with pytest.raises(ValueError, match=rf"shard-000000\.parquet: {next(iter(difference))} is .* expected"):
        AlignmentTargets(tmp_path, INVENTORY).load(shard)


@pytest.mark.parametrize("state", [-1, INVENTORY.num_classes])
def test_states_outside_the_inventory_are_refused(tmp_path, state):
    (shard,) = make_shards(tmp_path, 1)
    write_alignment(tmp_path, shard, [[0], [state]])
    with pytest.raises(ValueError, match=f"the inventory has {INVENTORY.num_classes} classes"):
        AlignmentTargets(tmp_path, INVENTORY).load(shard)


def test_a_missing_sidecar_is_named(tmp_path):
    (shard,) = make_shards(tmp_path, 1)
    with pytest.raises(ValueError, match=r"shard-000000\.parquet"):
        AlignmentTargets(tmp_path / "nowhere", INVENTORY).load(shard)


def test_only_a_few_shards_stay_in_memory(tmp_path):
    shards = make_shards(tmp_path, SHARDS_KEPT_OPEN + 2)
    targets = AlignmentTargets(tmp_path, INVENTORY)
    for shard in shards:
        write_alignment(tmp_path, shard, [[0]] * len(shard.entries))
        targets.load(shard)
    assert targets.load(shards[-1]) is targets.load(shards[-1])
    sidecar_path(tmp_path, shards[0]).unlink()
    with pytest.raises(ValueError, match="no such sidecar"):
        targets.load(shards[0])
