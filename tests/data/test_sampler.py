from collections import Counter
from dataclasses import replace
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_kd.core.config import to_dict
from asr_kd.core.files import fingerprint
from asr_kd.data.sampler import BatchSampler, Position, ShardCache, TrainingSet
from asr_kd.frontend.augment import AugmentConfig
from asr_kd.shards.catalogue import open_catalogue
from asr_kd.shards.index import Entry, Index, write_index
from asr_kd.targets.empty import NoTargets
from asr_kd.targets.frame_targets import SHARDS_KEPT_OPEN

FRAME_S = 0.030


def write_indexes(folder, *lengths):
    """Shards as a plan sees them, by their indexes: one list of seconds a shard. The tars are empty."""
    paths = []
    for number, seconds in enumerate(lengths):
        path = folder / f"shard-{number:06d}.tar"
        path.touch()
        entries = [Entry(f"{number}-{i}", s, None, None, {}, 0, 0) for i, s in enumerate(seconds)]
        write_index(path, Index(path.name, f"{number:064d}", 0, len(entries), sum(seconds), entries))
        paths.append(path)
    return paths


def plan_of(shards, frames=300, seed=0, name="labelled", **other):
    return BatchSampler(TrainingSet(name, open_catalogue(*shards), None, **other), frames, seed)


@given(
    lengths=st.lists(st.lists(st.floats(0.1, 12), min_size=1, max_size=8), min_size=1, max_size=6),
    epoch=st.integers(0, 3),
    speeds=st.sampled_from([(1.0,), (0.9, 1.0, 1.1)]),
)
def test_an_epoch_has_every_utterance_once_in_batches_that_fit(tmp_path_factory, lengths, epoch, speeds):
    shards = write_indexes(tmp_path_factory.mktemp("indexes"), *lengths)
    specs = list(plan_of(shards, augment=AugmentConfig(speed_perturb=speeds)).epoch(epoch))
    expected = [(shard, row) for shard, seconds in enumerate(lengths) for row in range(len(seconds))]
    assert sorted(row for spec in specs for row in spec.rows) == expected
    seconds_of = dict(zip(expected, [s for seconds in lengths for s in seconds], strict=True))
    for spec in specs:
        longest = max(seconds_of[row] for row in spec.rows) / min(speeds)
        assert len(spec.rows) == 1 or longest * len(spec.rows) <= 300 * FRAME_S * (1 + 1e-9)
    assert [spec.is_last for spec in specs] == [False] * (len(specs) - 1) + [True]
    assert [spec.index for spec in specs] == list(range(len(specs)))


def test_seed_stream_and_epoch_decide_the_order_and_nothing_else(tmp_path):
    shards = write_indexes(tmp_path, *[[1 + 0.1 * j for j in range(20)]] * 6)
    order = lambda epoch, **change: [s.rows for s in plan_of(shards, **change).epoch(epoch)]
    assert order(2) == order(2)
    others = [order(1), order(0, seed=1), order(0, name="unlabelled")]
    assert all(order(0) != other for other in others)


def test_padding_is_small(tmp_path):
    lengths = [[0.5 + 0.13 * ((7 * j + i) % 50) for j in range(50)] for i in range(4)]
    shards = write_indexes(tmp_path, *lengths)
    seconds_of = {(shard, i): s for shard, seconds in enumerate(lengths) for i, s in enumerate(seconds)}
    specs = list(plan_of(shards, frames=1000).epoch(0))
    padded = sum(max(seconds_of[row] for row in spec.rows) * len(spec.rows) for spec in specs)
    assert padded / sum(spec.seconds for spec in specs) < 1.12


def test_a_shard_is_needed_for_a_window_of_time_only(tmp_path):
    specs = list(plan_of(write_indexes(tmp_path, *[[1.0] * 5] * 30)).epoch(0))
    used: dict[int, list[int]] = {}
    for spec in specs:
        for shard, _ in spec.rows:
            used.setdefault(shard, []).append(spec.index)
    for spec in specs:
        assert sum(times[0] <= spec.index <= times[-1] for times in used.values()) <= SHARDS_KEPT_OPEN


def test_epochs_go_on_from_any_batch(tmp_path):
    plan = plan_of(write_indexes(tmp_path, *[[2.0] * 10] * 3))
    whole = list(islice(plan.epochs(), 40))
    for place, spec in enumerate(whole[:30]):
        for windows in ((), (spec.window,)):
            on = plan.epochs(Position(spec.epoch, spec.index, 0.0, windows))
            assert list(islice(on, 40 - place)) == whole[place:]


@given(
    lengths=st.lists(st.lists(st.floats(0.1, 5), min_size=1, max_size=6), min_size=4, max_size=14),
    lanes=st.integers(2, 4),
    epoch=st.integers(0, 2),
)
def test_lanes_share_an_epoch_whatever_ranks_they_are_on(tmp_path_factory, lengths, lanes, epoch):
    shards = write_indexes(tmp_path_factory.mktemp("indexes"), *lengths)
    plan = BatchSampler(TrainingSet("unlabelled", open_catalogue(*shards), None), 300, 0, lanes=lanes)
    whole = list(plan.epoch(epoch))
    expected = [(shard, row) for shard, seconds in enumerate(lengths) for row in range(len(seconds))]
    assert sorted(row for spec in whole for row in spec.rows) == expected
    owner = {}
    for spec in whole:
        for shard, _ in spec.rows:
            assert owner.setdefault(shard, spec.lane) == spec.lane  # a shard is read by one lane
    assert len({spec.seed for spec in whole}) == len(whole)
    assert [(spec.index, spec.lane) for spec in whole] == sorted((spec.index, spec.lane) for spec in whole)
    for lane in range(lanes):
        own = [spec for spec in whole if spec.lane == lane]
        assert list(plan.epoch(epoch, lanes=[lane])) == own
        assert [spec.index for spec in own] == list(range(len(own))) and [spec.is_last for spec in own][-1]
        for place, spec in enumerate(own):  # going on opens only the window
            windows = tuple(spec.window if other == lane else (0, 0) for other in range(lanes))
            assert list(plan.epoch(epoch, Position(epoch, place, 0.0, windows), [lane])) == own[place:]


def test_lanes_get_about_the_same_audio_and_more_than_shards_are_refused(tmp_path):
    shards = write_indexes(tmp_path, *[[1.0 + i % 7] * 5 for i in range(40)], [])
    plan = BatchSampler(TrainingSet("labelled", open_catalogue(*shards), None), 300, 0, lanes=4)
    seconds = [sum(spec.seconds for spec in plan.epoch(0, lanes=[lane])) for lane in range(4)]
    assert max(seconds) - min(seconds) <= 35
    with pytest.raises(ValueError, match=r"labelled: 40 shards .* in an epoch cannot be dealt to 41 lanes"):
        BatchSampler(TrainingSet("labelled", open_catalogue(*shards), None), 300, 0, lanes=41)


def test_held_out_data_keeps_its_shards_in_order(tmp_path):
    shards = write_indexes(tmp_path, *[[2.0] * 3] * 9)
    plan = BatchSampler(TrainingSet("dev", open_catalogue(*shards), None), 300, 0, shuffle=False)
    met = [shard for spec in plan.epoch(0) for shard, _ in spec.rows]
    assert met == sorted(met)


def test_shards_without_utterances_are_refused_by_the_streams_name(tmp_path):
    with pytest.raises(ValueError, match="labelled: its 2 shards hold no utterance"):
        plan_of(write_indexes(tmp_path, [], []))


def test_the_shards_used_last_stay_in_memory(tmp_path):
    catalogue = open_catalogue(*write_indexes(tmp_path, [1.0], [1.0], [1.0]))
    shards = ShardCache(catalogue.open, most=2)
    kept, dropped = shards(0), shards(1)
    assert shards(0) is kept
    shards(2)
    assert shards(0) is kept
    assert shards(1) is not dropped


def test_a_list_of_utterances_is_all_that_a_stream_has(tmp_path):
    shards = write_indexes(tmp_path, [1.0, 2.0, 3.0], [4.0], [5.0, 6.0])
    plan = plan_of(shards, utterance_ids=frozenset({"0-1", "2-0", "2-1", "9-9"}))
    assert (plan.utterances, plan.seconds, plan.missing) == (3, 13.0, {"9-9"})
    for epoch in range(3):
        specs = list(plan.epoch(epoch))
        assert sorted(row for spec in specs for row in spec.rows) == [(0, 1), (2, 0), (2, 1)]
        assert specs[-1].is_last and sum(spec.seconds for spec in specs) == 13.0


def test_a_list_of_everything_changes_nothing(tmp_path):
    shards = write_indexes(tmp_path, *[[1 + 0.1 * j for j in range(20)]] * 3)
    everything = frozenset(f"{i}-{j}" for i in range(3) for j in range(20))
    listed, plan = plan_of(shards, utterance_ids=everything), plan_of(shards)
    assert [spec.rows for spec in listed.epoch(1)] == [spec.rows for spec in plan.epoch(1)]
    assert listed.utterances == plan.utterances == 60 and not listed.missing and not plan.missing
    assert listed.seconds == pytest.approx(plan.seconds) == pytest.approx(3 * (20 + 0.1 * 190))


def test_the_order_of_a_seed_stays_what_it_was(tmp_path):
    """A run that goes on with a later version goes on with the same batches."""
    lengths = [[0.4 + 0.3 * ((5 * i + 3 * j) % 11) for j in range(7)] for i in range(6)]
    shards = write_indexes(tmp_path, *lengths)
    order = lambda shards, **given: [
        [f"{shard}-{row}" for shard, row in spec.rows] for spec in plan_of(shards, **given).epoch(1)
    ]
    slower = AugmentConfig(speed_perturb=(0.9, 1.0))
    for count, plain, other in (
        (4, "792c70710b7288b6", "36b5c616a81c5626"),
        (6, "cc63ed20b6c3a498", "d7f48132aa380d83"),
    ):
        assert fingerprint(order(shards[:count]))[:16] == plain
        assert fingerprint(order(shards[:count], augment=slower, seed=3))[:16] == other
    spec = next(plan_of(shards, seed=5).epoch(2))
    assert spec.seed == (5, 7838746699194913584, 2, 0)


def test_held_out_utterances_go_by_length_within_a_window_of_shards(tmp_path):
    shards = write_indexes(tmp_path, [1.0, 3.0, 2.0, 3.0], *[[5.0]] * 4)
    plan = BatchSampler(TrainingSet("dev", open_catalogue(*shards), None), 1, 0, shuffle=False)
    met = [row for spec in plan.epoch(0) for row in spec.rows]
    assert met == [(1, 0), (2, 0), (3, 0), (0, 1), (0, 3), (0, 2), (0, 0), (4, 0)]


def test_batches_are_as_full_as_they_can_be(tmp_path):
    shards = write_indexes(tmp_path, [0.3] * 10, [0.9] * 4)
    plan = BatchSampler(TrainingSet("dev", open_catalogue(*shards), None), 61, 0, shuffle=False)  # 1.83 s
    assert [len(spec.rows) for spec in plan.epoch(0)] == [2, 2, 6, 4]
    catalogue = open_catalogue(*write_indexes(tmp_path, [1.0] * 7))
    exactly = BatchSampler(TrainingSet("dev", catalogue, None), 12, 0, 0.25, shuffle=False)
    assert [len(spec.rows) for spec in exactly.epoch(0)] == [3, 3, 1]


def test_a_run_is_identified_by_its_utterances_their_targets_and_augmentation(tmp_path):
    shards = write_indexes(tmp_path, [1.0, 2.0], [4.0])
    masked = AugmentConfig(num_time_masks=1)
    of = lambda shards=shards, **given: BatchSampler(
        TrainingSet("labelled", open_catalogue(*shards), NoTargets(), **given), 300, 0
    ).identity()
    found = of()
    assert {name: found[name] for name in ("utterances", "seconds", "augment")} == {
        "utterances": 3,
        "seconds": 7.0,
        "augment": to_dict(AugmentConfig()),
    }
    others = [
        of(shards[1:]),
        of(shards[:1]),
        of(utterance_ids=frozenset({"0-0", "1-0"})),
        of(utterance_ids=frozenset({"0-0", "0-1", "1-0"})),
    ]
    assert len({x["shards and targets"] for x in [found, *others]}) == 5
    assert of(augment=masked)["augment"] == to_dict(masked)
    stream = TrainingSet("labelled", open_catalogue(*shards), NoTargets(), masked, is_supervised=False)
    plain = TrainingSet("labelled", stream.shards, stream.targets, is_supervised=False)
    assert stream.without_augmentation() == plain


def test_an_epoch_reads_each_path_as_often_as_its_weight_says(tmp_path):
    folders = [tmp_path / name for name in ("a", "b", "c")]
    for folder, count in zip(folders, (4, 5, 10), strict=True):
        folder.mkdir()
        write_indexes(folder, *[[1.0, 2.0]] * count)
    catalogue = open_catalogue(*folders)
    stream = TrainingSet("unlabelled", catalogue, NoTargets(), weights=(1, 2, 0.55))
    plan = BatchSampler(stream, 300, 0, lanes=2)
    assert (plan.seconds, plan.utterances) == (pytest.approx(3 * (4 + 10 + 5.5)), 38)
    drawn = []
    for epoch in range(40):
        times = Counter(shard for spec in plan.epoch(epoch) for shard, row in spec.rows if row == 0)
        assert [times[n] for n in range(9)] == [1] * 4 + [2] * 5
        drawn.append(tuple(n for n in range(9, 19) if times[n] == 1))
        assert len(drawn[-1]) in (5, 6)
    assert len(set(drawn)) > 20 and {n for part in drawn for n in part} == set(range(9, 19))
    assert 5.2 < sum(map(len, drawn)) / len(drawn) < 5.9
    assert list(plan.epoch(3)) == list(BatchSampler(stream, 300, 0, lanes=2).epoch(3))
    assert plan.identity() != BatchSampler(replace(stream, weights=()), 300, 0, lanes=2).identity()


@pytest.mark.parametrize("weights", [(1.0,), (1.0, 0.0), (1.0, float("inf")), (1.0, -2.0)])
def test_weights_that_do_not_fit_the_paths_are_refused(tmp_path, weights):
    shards = open_catalogue(*write_indexes(tmp_path, [1.0], [2.0]))
    with pytest.raises(ValueError, match=r"labelled: weights .* of 2 paths of shards. Give each path one, above 0"):
        BatchSampler(TrainingSet("labelled", shards, NoTargets(), weights=weights), 300, 0)


def test_weights_that_may_leave_an_epoch_empty_are_refused(tmp_path):
    """A run over nothing would go on without end."""
    shards = open_catalogue(*[folder_of(tmp_path / "a", 3)])
    stream = TrainingSet("labelled", shards, NoTargets(), weights=(0.2,))
    with pytest.raises(ValueError, match=r"0 shards .* \(as the weights say, at least\) cannot be dealt to 1 lanes"):
        BatchSampler(stream, 300, 0)
    assert list(BatchSampler(replace(stream, weights=(0.4,)), 300, 0).epoch(0))


def folder_of(folder, shards):
    folder.mkdir()
    write_indexes(folder, *[[1.0, 2.0]] * shards)
    return folder


def test_steps_are_those_of_the_longest_lane(tmp_path):
    shards = open_catalogue(*write_indexes(tmp_path, *[[2.0] * (3 + n % 4) for n in range(12)]))
    for lanes in (1, 3):
        plan = BatchSampler(TrainingSet("labelled", shards, None), 200, 0, lanes=lanes)
        assert abs(plan.steps() - (1 + max(spec.index for spec in plan.epoch(0)))) <= 1
    assert "12 shards" not in plan.describe() and "3 lanes of 0.01 to 0.01 h" in plan.describe()
