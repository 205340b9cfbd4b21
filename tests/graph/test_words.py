import kaldi_hmm_gmm  # noqa: F401  isort: skip  before kaldifst, see asr_kd.graph
import numpy as np
import pytest
from graphs import word_loop
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_kd.graph.lattice import LatticeArcs, class_posteriors, forward_backward, sorted_arcs
from asr_kd.graph.search import Decoder, SearchConfig
from asr_kd.graph.word_posteriors import best_path

COSTS = [0.3, 1.0, 2.0]
EVERYTHING = SearchConfig(beam=200.0, lattice_beam=100.0)


def lattice_of(*arcs, ends):
    """Arcs (source, target, class or None, word, cost) as a lattice; `ends`: cost of ending in a state."""
    final_S = np.full(max(a[1] for a in arcs) + 1, np.inf)
    for state, cost in ends.items():
        final_S[state] = cost
    source, target, classes, words, costs = zip(*sorted(arcs, key=lambda a: a[0]), strict=True)
    labels = [0 if c is None else c + 1 for c in classes]
    return LatticeArcs(*map(np.array, (source, target, labels, costs)), final_S, np.array(words))


def all_paths(lattice):
    """Every path as its arcs and its probability."""
    paths = []

    def follow(state, arcs, cost):
        if np.isfinite(lattice.final_S[state]):
            paths.append((arcs, cost + lattice.final_S[state]))
        for arc in np.flatnonzero(lattice.source_A == state):
            follow(lattice.target_A[arc], [*arcs, arc], cost + lattice.cost_A[arc])

    follow(0, [], 0.0)
    weights = np.exp(-np.array([cost for _, cost in paths]))
    return list(zip([arcs for arcs, _ in paths], weights / weights.sum(), strict=True))


def spans(lattice, arcs):
    """Word, first frame, frame behind the last of each word on a path, by the labels' places."""
    frame, found = 0, []
    for arc in arcs:
        if lattice.word_A[arc]:
            found.append((int(lattice.word_A[arc]), frame))
        frame += int(lattice.label_A[arc] > 0)
    ends = [start for _, start in found[1:]] + [frame]
    return [(word, start, max(end, start + 1)) for (word, start), end in zip(found, ends, strict=False)]


def by_enumeration(lattice):
    """Words of the best path and C_max of each: the largest sum, among its frames, of paths that say it there."""
    paths = all_paths(lattice)
    best, _ = max(paths, key=lambda p: p[1])
    said = [(spans(lattice, arcs), p) for arcs, p in paths]
    confidences = []
    for word, start, end in spans(lattice, best):
        sums = [
            sum(p * sum(w == word and s <= t < e for w, s, e in path) for path, p in said) for t in range(start, end)
        ]
        confidences.append(min(max(sums), 1.0))
    return [w for w, _, _ in spans(lattice, best)], confidences


def test_a_words_posterior_is_the_share_of_paths_that_say_it_there():
    lattice = lattice_of(
        (0, 1, 0, 1, -np.log(0.6)),  # word 1, or word 2 in its place
        (0, 1, 1, 2, -np.log(0.4)),
        (1, 2, 0, 0, 0.0),
        (2, 3, 2, 3, -np.log(0.7)),  # then word 3, or word 1 again
        (2, 3, 0, 1, -np.log(0.3)),
        ends={3: 0.0},
    )
    path = best_path(lattice, forward_backward(lattice))
    assert path.words == [1, 3] and path.classes_T.tolist() == [0, 0, 2]
    assert path.posteriors == pytest.approx([0.6, 0.7])
    assert path.silence_posterior == 0


def test_the_same_word_at_other_times_is_added_up_where_they_overlap():
    lattice = lattice_of(
        (0, 1, 0, 1, -np.log(0.5)),  # word 1 from frame 0
        (0, 2, 3, 0, -np.log(0.3)),  # or silence first, word 1 from frame 1
        (0, 3, 1, 2, -np.log(0.2)),  # or word 2
        (1, 4, 0, 0, 0.0),
        (2, 4, 0, 1, 0.0),
        (3, 4, 1, 0, 0.0),
        ends={4: 0.0},
    )
    assert best_path(lattice, forward_backward(lattice)).posteriors == pytest.approx([0.8])


def test_a_word_without_a_frame_of_its_own_has_a_posterior():
    lattice = lattice_of(
        (0, 1, None, 1, -np.log(0.9)),
        (0, 1, None, 3, -np.log(0.1)),
        (1, 2, 0, 2, 0.0),
        (2, 3, None, 4, 0.0),
        ends={3: 0.0},
    )
    path = best_path(lattice, forward_backward(lattice))
    assert path.words == [1, 2, 4] and path.posteriors == pytest.approx([0.9, 1, 1])


def test_saying_nothing_has_a_posterior_too():
    lattice = lattice_of((0, 1, 0, 0, -np.log(0.75)), (0, 1, 1, 1, -np.log(0.25)), ends={1: 0.0})
    path = best_path(lattice, forward_backward(lattice))
    assert path.words == [] and path.posteriors == []
    assert path.silence_posterior == pytest.approx(0.75)


@st.composite
def lattices(draw):
    """Small acyclic lattices: all paths take the same number of frames."""
    frames, width = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    costs = st.floats(0, 4)
    words = st.sampled_from([0, 0, 1, 2])
    arcs, state_of = [], {(0, 0): 0}
    for t in range(frames):
        here = [s for (level, _), s in state_of.items() if level == t]
        if draw(st.booleans()):  # a word without a frame
            after = max(state_of.values()) + 1
            state_of[t, 9] = after
            arcs += [(s, after, None, draw(words), draw(costs)) for s in here]
            here.append(after)
        for i in range(width):
            target = max(state_of.values()) + 1
            state_of[t + 1, i] = target
            for s in here:
                if i == 0 or s == here[-1] or draw(st.booleans()):
                    arcs.append((s, target, draw(st.integers(0, 2)), draw(words), draw(costs)))
    ends = {s: draw(costs) for (level, _), s in state_of.items() if level == frames}
    return lattice_of(*arcs, ends=ends)


@settings(max_examples=200)
@given(lattices())
def test_an_arcs_posterior_is_the_share_of_the_paths_through_it(lattice):
    passed, paths = forward_backward(lattice), all_paths(lattice)
    shares = [sum(p for arcs, p in paths if a in arcs) for a in range(len(lattice.cost_A))]
    assert passed.posterior_A == pytest.approx(shares, abs=1e-9)
    emits = lattice.label_A > 0
    for arcs, _ in paths:
        assert passed.frame_S[lattice.source_A[arcs]].tolist() == np.cumsum([0, *emits[arcs][:-1]]).tolist()
    frame_A = passed.frame_S[lattice.source_A[emits]]
    np.testing.assert_allclose(np.bincount(frame_A, passed.posterior_A[emits]), 1)


@settings(max_examples=50)
@given(lattices(), st.integers(0, 100))
def test_an_arcs_posterior_is_the_gradient_of_the_total_cost(lattice, number):
    arc, step = number % len(lattice.cost_A), 1e-4

    def total_cost(change):
        cost_A = lattice.cost_A.astype(float)
        cost_A[arc] += change
        arcs = [p[0] for p in all_paths(lattice)]
        ends = lattice.final_S[lattice.target_A[[a[-1] for a in arcs]]]
        return -np.log(sum(np.exp(-cost_A[a].sum() - end) for a, end in zip(arcs, ends, strict=True)))

    gradient = (total_cost(step) - total_cost(-step)) / (2 * step)
    assert forward_backward(lattice).posterior_A[arc] == pytest.approx(gradient, abs=1e-6)


def test_a_lattice_with_a_cycle_is_refused():
    source_A, target_A = np.array([0, 1, 2]), np.array([1, 2, 1])
    with pytest.raises(ValueError, match="cycle"):
        sorted_arcs(source_A, target_A, source_A, source_A, np.zeros(3), np.array([np.inf, 0, 0]), 0)


@settings(max_examples=200, deadline=None)
@given(lattices())
def test_posteriors_are_those_of_all_paths(lattice):
    paths = all_paths(lattice)
    ranked = sorted((p for _, p in paths), reverse=True)
    path = best_path(lattice, forward_backward(lattice))
    assert all(0 < p <= 1 for p in path.posteriors)
    silent = sum(p for arcs, p in paths if not lattice.word_A[arcs].any())
    assert path.silence_posterior == pytest.approx(silent, abs=1e-9)
    if len(ranked) == 1 or ranked[0] > ranked[1] * (1 + 1e-9):  # ties have no one best path
        words, confidences = by_enumeration(lattice)
        assert path.words == words
        assert path.posteriors == pytest.approx(confidences, abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_a_lattices_best_path_is_the_searchs(seed):
    score_TC = np.random.default_rng(seed).normal(0, 2, (6, 3))
    searcher = Decoder(word_loop(COSTS), EVERYTHING)
    arcs = searcher.lattice(score_TC)
    path, best = best_path(arcs, forward_backward(arcs)), searcher.best(score_TC)
    assert (path.words, path.classes_T.tolist()) == (best.words, best.classes.tolist())
    assert path.classes_T.dtype == np.int32


@pytest.mark.parametrize("seed", range(3))
def test_word_posteriors_of_a_search_are_those_of_its_n_best_list(seed):
    score_TC = np.random.default_rng(seed).normal(0, 2, (3, 3))
    arcs = Decoder(word_loop(COSTS), EVERYTHING).lattice(score_TC)
    words, confidences = by_enumeration(arcs)
    path = best_path(arcs, forward_backward(arcs))
    assert path.words == words
    assert path.posteriors == pytest.approx(confidences, abs=1e-9)


def test_one_forward_backward_serves_classes_and_words():
    score_TC = np.random.default_rng(0).normal(0, 2, (5, 3))
    arcs = Decoder(word_loop(COSTS), EVERYTHING).lattice(score_TC)
    passed = forward_backward(arcs)
    np.testing.assert_array_equal(class_posteriors(arcs, 5, 3, passed), class_posteriors(arcs, 5, 3))
    emits = arcs.label_A > 0
    np.testing.assert_allclose(np.bincount(passed.frame_S[arcs.source_A[emits]], passed.posterior_A[emits]), 1)
