import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_kd.inventory.senones import Senones
from asr_kd.inventory.tree import NO_PHONE, Stats, Tree, TreeConfig, build_trees, phone_questions, phone_tree

PHONES = range(1, 6)
WINDOWS = list(itertools.product([NO_PHONE, 0, *PHONES], PHONES, [NO_PHONE, 0, *PHONES]))


def stats_of(frames_NF):
    return Stats(len(frames_NF), frames_NF.sum(0), (frames_NF**2).sum(0))


def contexts(rng, mean, windows=WINDOWS, frames=8):
    """Statistics of frames drawn around mean(window)."""
    return {w: stats_of(mean(w) + rng.normal(size=(frames, 2))) for w in windows}


def by_centre(stats):
    centres = {}
    for (_, phone, _), s in stats.items():
        old = centres.get(phone, Stats(0.0, np.zeros(2), np.zeros(2)))
        centres[phone] = Stats(old.count + s.count, old.sum_F + s.sum_F, old.square_F + s.square_F)
    return centres


def grow(stats, **config):
    return build_trees(stats, phone_questions(by_centre(stats[0])), TreeConfig(**config))


@settings(max_examples=25)
@given(
    seed=st.integers(0, 1000),
    states=st.integers(1, 3),
    leaves=st.integers(1, 40),
    min_count=st.sampled_from([1.0, 30.0, 200.0]),
    seen=st.integers(1, len(WINDOWS)),
)
def test_leaves_number_all_classes_without_gaps_and_take_every_context(seed, states, leaves, min_count, seen):
    rng = np.random.default_rng(seed)
    picked = [WINDOWS[i] for i in rng.choice(len(WINDOWS), seen, replace=False)]
    stats = [contexts(rng, lambda w: rng.normal(size=2), picked) for _ in range(states)]
    trees = grow(stats, leaves=leaves, min_count=min_count)
    assert sum(t.leaves for t in trees) <= max(leaves, states)
    first = 0
    for tree, counted in zip(trees, stats, strict=True):
        numbers = range(first, first + tree.leaves)
        first += tree.leaves
        assert {tree.leaf(w) for w in WINDOWS} <= set(numbers), "contexts that training lacks have a leaf as well"
        frames = dict.fromkeys(numbers, 0.0)
        for window, s in counted.items():
            frames[tree.leaf(window)] += s.count
        assert min(frames.values()) >= min_count or tree.leaves == 1
        assert tree.nodes == Tree.from_list(tree.to_list()).nodes


def test_contexts_that_sound_different_are_split_and_equal_ones_are_not():
    rng = np.random.default_rng(0)
    stats = contexts(rng, lambda w: np.array([4.0 * (w[0] == 2), 3.0 * (w[1] in (1, 3))]), frames=30)
    (tree,) = grow([stats], leaves=100, min_count=10, min_gain=100)
    assert tree.leaves == 4
    for a, b in itertools.combinations(WINDOWS, 2):
        same = (a[0] == 2, a[1] in (1, 3)) == (b[0] == 2, b[1] in (1, 3))
        assert (tree.leaf(a) == tree.leaf(b)) == same, (a, b)


def test_few_leaves_go_where_the_gain_is_largest():
    rng = np.random.default_rng(0)
    plain = contexts(rng, lambda w: np.zeros(2))
    varied = contexts(rng, lambda w: np.array([6.0 * w[1], 2.0 * (w[2] == 4)]))
    trees = grow([plain, varied], leaves=6, min_count=10)
    assert [t.leaves for t in trees] == [1, 5]
    assert len({trees[1].leaf((0, p, 0)) for p in PHONES}) == 5, "phones first, their contexts later"


def test_phones_that_sound_alike_are_asked_for_together():
    rng = np.random.default_rng(0)
    place = {1: 0.0, 2: 20.0, 3: 0.5, 4: 20.5, 5: 9.0}
    questions = phone_questions({p: stats_of(x + rng.normal(size=(50, 2))) for p, x in place.items()})
    assert {(p,) for p in place} <= set(questions)
    assert {(1, 3), (2, 4)} <= set(questions)
    assert (1, 2) not in questions and (1, 2, 3, 4, 5) not in questions
    assert phone_questions({7: stats_of(np.ones((2, 2)))}) == [(7,)]


def test_a_tree_without_context_gives_each_phone_its_leaf():
    tree = phone_tree([4, 1, 7])
    assert [tree.leaf((left, p, right)) for p in (4, 1, 7) for left, right in ((0, 0), (NO_PHONE, 4))] == [
        *(0, 0),
        *(1, 1),
        *(2, 2),
    ]


def test_impossible_limits_are_refused():
    for bad in ({"leaves": 0}, {"min_count": 0.0}, {"min_gain": -1.0}):
        with pytest.raises(ValueError, match=r"tree\.leaves and tree\.min_count must be above 0"):
            TreeConfig(**bad)


def test_a_phone_never_heard_still_has_senones():
    rng = np.random.default_rng(0)
    heard = [w for w in WINDOWS if 5 not in w]
    trees = grow([contexts(rng, lambda w: np.array([w[1], w[0]]), heard)] * 2, leaves=30, min_count=20)
    inventory = Senones(("SIL", *"ABCDE"), tuple(tuple(map(tuple, t.to_list())) for t in trees))
    first, second = inventory.senones(2, 5, NO_PHONE)
    assert 1 <= first < 1 + trees[0].leaves <= second < inventory.num_classes
