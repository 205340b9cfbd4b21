import numpy as np
import pyarrow as pa
import pytest
import soundfile

from asr_kd.corpora.manifest import Utterance
from asr_kd.inventory.senones import Senones
from asr_kd.shards.catalogue import open_catalogue
from asr_kd.shards.reader import open_shard
from asr_kd.shards.writer import write_shards
from asr_kd.targets.codec import ProbabilityQuantiser, encode_table
from asr_kd.targets.frame_targets import SHARDS_KEPT_OPEN, AlignmentTargets, FrameTargets
from asr_kd.targets.sidecar import sidecar_path, write_sidecar
from asr_kd.targets.sidecar_kinds import describe
from asr_kd.targets.soft_targets import SoftTargets
from asr_kd.targets.topk import SelectionConfig

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


P_TK = np.array([[0.7, 0.2, 0.1], [0.1, 0.5, 0.4]])
TEACHER = "7" * 64
OLD_FORMAT = (
    r"posteriors in format 1, this asr_kd reads format 2\. Make it again: remove it and run `asr-kd label`, or use the "
    r"asr_kd that made it\."
)
FEWER_CLASSES = r"holds 2 classes a frame, 3 are asked for\. Lower k, or label again with `asr-kd label --top-k 3`\."


@pytest.fixture(scope="module")
def soft(tmp_path_factory):
    """Shards, and a folder with a sidecar of each: the first utterance has two frames of targets, the second none."""
    folder = tmp_path_factory.mktemp("soft")
    shards = make_shards(folder, 2)
    for shard in shards:
        write_soft(folder, shard, {})
    return folder, shards


def write_soft(folder, shard, changes):
    order_TK = np.argsort(-P_TK)
    log_p_TK = np.log(np.take_along_axis(P_TK, order_TK, 1)).astype(np.float32)
    row = FrameTargets((order_TK + 2).astype(np.int32), log_p_TK, np.full(2, -np.inf, np.float32))
    quantiser, selection = ProbabilityQuantiser(30), SelectionConfig(top_k=3)
    table = encode_table([e.id for e in shard.entries], [row, "too long"], quantiser)
    made = describe(TEACHER, INVENTORY, selection, quantiser, 0.03, "float32") | {"shard": shard.digest} | changes
    write_sidecar(sidecar_path(folder, shard), table, {key: value for key, value in made.items() if value is not None})


def test_soft_targets_come_back_whole_cut_or_hard(soft):
    folder, (shard, _) = soft
    whole, nothing = SoftTargets(folder, INVENTORY, TEACHER).load(shard)
    assert nothing is None
    assert whole.ids_TK.tolist() == [[2, 3, 4], [3, 4, 2]]
    np.testing.assert_allclose(np.exp(whole.log_p_TK), [[0.7, 0.2, 0.1], [0.5, 0.4, 0.1]], atol=0.03)
    cut, _ = SoftTargets(folder, INVENTORY, k=2).load(shard)
    assert cut.ids_TK.tolist() == [[2, 3], [3, 4]]
    np.testing.assert_allclose(np.exp(cut.log_tail_T), 0.1, atol=0.02)
    rows = SoftTargets(folder, INVENTORY, hard=True).load(shard)
    assert len(rows) == 2 and rows[1] is None
    assert rows[0].ids_TK.tolist() == [[2], [3]] and (rows[0].log_p_TK == 0).all()
    assert np.isneginf(rows[0].log_tail_T).all()


def test_soft_targets_are_checked_by_their_descriptions_alone(soft):
    folder, shards = soft
    targets = SoftTargets(folder, INVENTORY, k=3)
    assert targets.check(open_catalogue(*(shard.path for shard in shards))) == TEACHER
    assert SoftTargets(folder, INVENTORY, TEACHER).check(open_catalogue(shards[0].path)) == TEACHER
    digests = [SoftTargets(folder, INVENTORY).digest(shard) for shard in shards]
    assert [targets.digest(shard) for shard in shards] == digests and len(set(digests)) == 2
    with pytest.raises(ValueError, match=r"^targets: k is 0; at least one class of a frame is needed$"):
        SoftTargets(folder, INVENTORY, k=0)


@pytest.mark.parametrize(
    ("changes", "options", "complaint"),
    [
        ({"kind": "alignment"}, {}, r"holds alignment, not posteriors\. Give the folder of `asr-kd label --out`\."),
        (
            {"inventory": "5" * 64},
            {},
            rf"posteriors over inventory 5{{12}}…, the alignments are over {INVENTORY.fingerprint[:12]}… \. Teacher "
            r"and alignments must share one inventory: label again with a teacher of these alignments, or give the "
            r"alignments that it was trained on\.",
        ),
        (
            {"shard": "5" * 64},
            {},
            r"made from a tar with digest 5{12}…, \S+\.tar has [^5]\w{11}… \. Label that tar again, or give the shards "
            r"that were labelled\.",
        ),
        ({"teacher": "5" * 64}, {}, r"made by teacher 5{12}…, this run distils from 7{12}… \. .*"),
        ({"format": 1}, {}, OLD_FORMAT),
        ({"format": None}, {}, OLD_FORMAT),
        ({"selection": {"top_k": 2}}, {"k": 3}, FEWER_CLASSES),
        ({"selection": {"k": 2}}, {"k": 3}, FEWER_CLASSES),
    ],
)
def test_soft_targets_of_something_else_are_refused(tmp_path, changes, options, complaint):
    shards = make_shards(tmp_path, 2)
    write_soft(tmp_path, shards[0], {})
    write_soft(tmp_path, shards[1], changes)
    targets = SoftTargets(tmp_path, INVENTORY, **options)
    with pytest.raises(ValueError, match=rf"^{sidecar_path(tmp_path, shards[1])}: {complaint}$"):
        targets.check(open_catalogue(*(shard.path for shard in shards)))
    with pytest.raises(ValueError):
        SoftTargets(tmp_path, INVENTORY, TEACHER, **options).load(shards[1])
    assert SoftTargets(tmp_path, INVENTORY, TEACHER, **options).load(shards[0])[0] is not None


def test_soft_targets_of_classes_that_do_not_exist_are_refused_with_a_way_out(soft, tmp_path):
    shard = soft[1][0]
    fewer = Senones.monophone(["SIL", "A"])
    assert fewer.num_classes < 5
    write_soft(tmp_path, shard, {"inventory": fewer.fingerprint})
    with pytest.raises(ValueError, match=r"\.parquet: .*has \d classes\. Remove it and label its shard again\.$"):
        SoftTargets(tmp_path, fewer).load(shard)
