import kaldi_hmm_gmm  # noqa: F401  isort: skip  before kaldifst, see asr_kd.graph
import kaldifst
import numpy as np
import pytest
from graphs import word_loop

from asr_kd.graph.graph_arrays import with_word_insertion_penalty
from asr_kd.graph.search import Decoder, SearchConfig

CLASSES = 4


def chain(labels):
    """Exactly these classes, a frame each; final at the end only."""
    fst = kaldifst.StdVectorFst()
    states = [fst.add_state() for _ in range(len(labels) + 1)]
    fst.start = states[0]
    for label, source, target in zip(labels, states, states[1:], strict=False):
        fst.add_arc(source, kaldifst.StdArc(label, label, 0.0, target))
    fst.set_final(states[-1], 0.0)
    return fst


def scores(classes, margin=5.0):
    score_TC = np.full((len(classes), CLASSES), -margin)
    score_TC[np.arange(len(classes)), classes] = 0
    return score_TC


def test_the_best_path_weighs_graph_and_scores():
    path = Decoder(word_loop([1.0, 2.0, 3.0, 4.0])).best(scores([0, 0, 2, 2, 2, 1]))
    assert path.words == [1, 3, 2]
    assert path.classes.tolist() == [0, 0, 2, 2, 2, 1] and path.classes.dtype == np.int32
    assert path.cost == pytest.approx(1 + 3 + 2)
    assert path.complete


def test_n_best_are_different_word_sequences_best_first():
    searcher = Decoder(word_loop([1.0, 1.1, 1.2, 1.3]), SearchConfig(beam=50, lattice_beam=20))
    score_TC = np.random.default_rng(0).normal(size=(5, CLASSES))
    paths = searcher.n_best(score_TC, 6)
    assert [p.cost for p in paths] == sorted(p.cost for p in paths)
    assert 2 <= len({tuple(p.words) for p in paths}) == len(paths) <= 6
    best = searcher.best(score_TC)
    assert (paths[0].words, paths[0].classes.tolist()) == (best.words, best.classes.tolist())
    for p in paths:
        graph_cost = sum([1.0, 1.1, 1.2, 1.3][w - 1] for w in p.words)
        assert p.cost == pytest.approx(graph_cost - score_TC[np.arange(5), p.classes].sum(), abs=1e-4)
    assert len(searcher.n_best(score_TC, 1)) == 1


def test_a_searcher_answers_the_same_whatever_it_searched_before():
    searcher = Decoder(word_loop([1.0, 1.0, 1.0, 1.0]))
    rng = np.random.default_rng(0)
    matrices = [rng.normal(scale=3, size=(n, CLASSES)) for n in (7, 3, 12, 1)]
    again = [searcher.best(m) for m in matrices]
    for matrix, path in zip(matrices, again, strict=True):
        alone = Decoder(word_loop([1.0, 1.0, 1.0, 1.0])).best(matrix)
        assert (path.words, path.cost) == (alone.words, alone.cost)


def test_float64_strided_and_float32_scores_give_one_result():
    searcher = Decoder(word_loop([1.0, 1.0, 1.0, 1.0]))
    wide_TC = np.random.default_rng(0).normal(scale=3, size=(30, 2 * CLASSES))
    results = [searcher.best(x) for x in (wide_TC[:, ::2], wide_TC[:, ::2].astype(np.float32), wide_TC[:, ::2].copy())]
    assert len({(tuple(p.words), p.cost) for p in results}) == 1


def test_a_path_that_is_cut_off_says_so():
    searcher = Decoder(chain([1, 2, 3]))
    assert searcher.best(scores([0, 1, 2])).complete
    path = searcher.best(scores([0, 1]))
    assert path.words == [1, 2] and not path.complete
    (only,) = searcher.n_best(scores([0, 1]), 3)
    assert only.words == [1, 2] and not only.complete


@pytest.mark.parametrize("score_TC", [np.full((3, CLASSES), -np.inf), scores([0, 1, 2, 3])], ids=["-inf", "too long"])
def test_when_no_path_survives_there_is_none(score_TC):
    searcher = Decoder(chain([1, 2, 3]))
    assert searcher.best(score_TC) is None
    assert searcher.n_best(score_TC, 3) == []


def test_without_frames_nothing_was_said():
    searcher = Decoder(word_loop([1.0, 1.0, 1.0, 1.0]))
    empty_TC = np.zeros((0, CLASSES), dtype=np.float32)
    path = searcher.best(empty_TC)
    assert path.words == [] and path.classes.shape == (0,)
    assert searcher.n_best(empty_TC, 3) == []


def test_a_narrow_beam_loses_what_looks_bad_at_first():
    fst = kaldifst.StdVectorFst()
    first, late, early, end = (fst.add_state() for _ in range(4))
    fst.start = first
    fst.set_final(end, 0.0)
    for state, label, cost in ((late, 1, 6.0), (early, 2, 0.0)):
        fst.add_arc(first, kaldifst.StdArc(1, label, cost, state))
        fst.add_arc(state, kaldifst.StdArc(label + 1, 0, 0.0, end))
    score_TC = np.array([[0, 0, 0, 0], [0, 0, -20.0, 0]])
    assert Decoder(fst, SearchConfig(beam=15)).best(score_TC).words == [1]
    assert Decoder(fst, SearchConfig(beam=3, max_active=2)).best(score_TC).words == [2]


def test_impossible_widths_are_refused():
    for bad in ({"beam": 0}, {"lattice_beam": -1}, {"max_active": 1}):
        with pytest.raises(ValueError, match=f"search.*{next(iter(bad))}"):
            SearchConfig(**bad)
    assert Decoder(word_loop([1.0]), SearchConfig(max_active=2)).best(scores([0])).words == [1]


@pytest.mark.parametrize("cost", [0.5, 2.25, -1.0])
def test_a_cost_for_each_word_adds_itself_as_often_as_there_are_words_and_nothing_else(cost):
    graph = word_loop([1.0, 1.1, 1.2, 1.3])
    dearer = Decoder(with_word_insertion_penalty(graph, cost), SearchConfig(beam=50, lattice_beam=30))
    plain = Decoder(graph, SearchConfig(beam=50, lattice_beam=30))
    score_TC = np.random.default_rng(1).normal(size=(4, CLASSES))
    before = {tuple(p.words): p.cost for p in plain.n_best(score_TC, 500)}
    after = {tuple(p.words): p.cost for p in dearer.n_best(score_TC, 500)}
    common = before.keys() & after.keys()
    assert {len(words) for words in common} == {1, 2, 3, 4} and len(common) > 30
    for words in common:
        assert after[words] == pytest.approx(before[words] + cost * len(words), abs=1e-4)
    assert plain.best(score_TC).cost == pytest.approx(min(before.values()), abs=1e-4), "the given graph is as it was"


def test_a_dear_word_makes_short_hypotheses():
    score_TC = np.random.default_rng(2).normal(scale=2, size=(30, CLASSES))
    graph = word_loop([0.1, 0.1, 0.1, 0.1])
    lengths = [
        len(Decoder(with_word_insertion_penalty(graph, cost)).best(score_TC).words) for cost in (0.0, 1.0, 3.0, 9.0)
    ]
    assert lengths == sorted(lengths, reverse=True) and lengths[0] > 10 > 3 > lengths[-1]
