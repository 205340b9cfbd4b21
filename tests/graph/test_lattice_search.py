"""The search for lattices finds those of Kaldi's decoder, to the last bit, at a cost that is linear in the frames."""

import kaldi_hmm_gmm  # noqa: F401  isort: skip  before kaldifst, see asr_kd.graph
import itertools

import kaldifst
import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kaldi_lattices import kaldi_lattice

from asr_kd.frontend.fbank import FrontEnd, FrontEndConfig
from asr_kd.graph.graph_arrays import graph_arrays
from asr_kd.graph.lattice import class_posteriors, forward_backward
from asr_kd.graph.lattice_search import LatticeSearch
from asr_kd.graph.search import Decoder, SearchConfig

CLASSES = 12


def random_graph(seed, states, arcs, epsilons, digits=2):
    """Arcs between any states; those without a label lead to higher states, as cycles of them would have no end."""
    rng = np.random.default_rng(seed)
    fst = kaldifst.StdVectorFst()
    for _ in range(states):
        fst.add_state()
    fst.start = int(rng.integers(states))
    for s in range(states):
        for _ in range(rng.poisson(arcs)):
            cost = round(rng.exponential(1.5), digits)
            label, word, target = rng.integers(1, CLASSES + 1), rng.integers(4), rng.integers(states)
            fst.add_arc(s, kaldifst.StdArc(int(label), int(word), cost, int(target)))
        for _ in range(rng.poisson(epsilons) if s + 1 < states else 0):
            target = rng.integers(s + 1, states)
            fst.add_arc(s, kaldifst.StdArc(0, int(rng.integers(4)), round(rng.exponential(1.5), digits), int(target)))
        if rng.random() < 0.5:
            fst.set_final(s, round(rng.exponential(1.0), digits))
    return fst


def random_scores(seed, frames, spread, digits=2):
    return np.round(np.random.default_rng(seed).normal(0, spread, (frames, CLASSES)), digits)


def assert_same(ours, kaldis):
    if kaldis is None or ours is None:
        assert ours is None and kaldis is None
        return
    for field in ("source_A", "target_A", "label_A", "word_A", "cost_A", "final_S"):
        np.testing.assert_array_equal(getattr(ours, field), getattr(kaldis, field), err_msg=field)


@settings(max_examples=150)
@given(
    st.integers(0, 2**32 - 1), st.integers(1, 40), st.floats(0.5, 4), st.floats(0, 1.5), st.integers(1, 80),
    st.floats(0.1, 4), st.floats(0.5, 20), st.floats(0.1, 15), st.integers(0, 6),
)  # fmt: skip
def test_lattices_are_kaldis(seed, states, arcs, epsilons, frames, spread, beam, lattice_beam, digits):
    """Few digits make many ties."""
    graph, config = random_graph(seed, states, arcs, epsilons, digits), SearchConfig(beam, lattice_beam=lattice_beam)
    score_TC = random_scores(seed, frames, spread, digits)
    assert_same(Decoder(graph, config).lattice(score_TC), kaldi_lattice(graph, config, score_TC))


def test_lattices_of_thousands_of_tokens_a_frame_are_kaldis():
    graph, config = random_graph(0, 6000, 2.5, 0.6), SearchConfig(9.0, lattice_beam=5.0)
    search = LatticeSearch(graph_arrays(graph), config.beam, config.lattice_beam)
    for seed, frames in ((1, 30), (2, 1), (3, 60)):  # the memory has to grow, and is used again
        score_TC = random_scores(seed, frames, 1.0, 3)
        ours = search(score_TC)
        assert_same(ours, kaldi_lattice(graph, config, score_TC))
    assert search.memory.ledger["buckets_2"].max() > 1000


def test_lattices_of_real_speech_are_kaldis(an4_root):
    """Filter banks through random weights: they change as slowly as speech does."""
    frontend = FrontEnd(FrontEndConfig())
    files = sorted(an4_root.rglob("*.flac"))[:3]
    graph, config = random_graph(1, 800, 2.0, 0.4), SearchConfig(9.0, lattice_beam=7.0)
    decoder = Decoder(graph, config)
    for path in files:
        wave, _ = soundfile.read(path, dtype="float32")
        x_BTF, _ = frontend(torch.from_numpy(wave)[None], torch.tensor([len(wave)]))
        weights = np.random.default_rng(0).normal(0, 0.3, (x_BTF.shape[2], CLASSES))
        score_TC = torch.from_numpy(x_BTF[0].numpy() @ weights).log_softmax(1).numpy()
        ours, kaldis = decoder.lattice(score_TC), kaldi_lattice(graph, config, score_TC)
        assert_same(ours, kaldis)
        posterior_TC = class_posteriors(ours, len(score_TC), CLASSES)
        np.testing.assert_allclose(posterior_TC.sum(1), 1, atol=1e-6)
        np.testing.assert_array_equal(posterior_TC, class_posteriors(kaldis, len(score_TC), CLASSES))
    assert len(files) == 3


def test_work_and_memory_are_linear_in_the_frames():
    search = LatticeSearch(graph_arrays(random_graph(2, 300, 2.5, 0.5)), 8.0, 6.0)
    short_TC = random_scores(0, 200, 1.5)
    work, used = [], []
    for times in (1, 8):
        search(np.tile(short_TC, (times, 1)))
        ledger = search.memory.ledger[0]
        work.append(int(ledger["tokens_visited"]) + int(ledger["links_visited"]))
        used.append(int(ledger["tokens_used"]) + int(ledger["links_used"]))
    assert work[0] > 200 * 100
    assert work[1] == pytest.approx(8 * work[0], rel=0.1)
    assert used[1] < 8 * used[0]


def test_the_same_lattice_whatever_was_searched_before():
    graph = random_graph(3, 200, 2.5, 0.5)
    long_TC, short_TC = random_scores(0, 300, 1.0), random_scores(1, 20, 1.0)
    used, fresh = (LatticeSearch(graph_arrays(graph), 10.0, 8.0) for _ in range(2))
    used(long_TC)
    ours = used(short_TC)
    assert_same(ours, fresh(short_TC))
    assert forward_backward(ours).posterior_A.max() <= 1 + 1e-9


def test_a_graph_comes_whole_into_arrays():
    fst = random_graph(4, 50, 3.0, 1.0)
    graph = graph_arrays(fst)
    assert graph.start == fst.start
    for s in range(50):
        iterator, arcs = kaldifst.ArcIterator(fst, s), []
        while not iterator.done:
            x = iterator.value
            arcs.append((x.ilabel, x.olabel, x.weight.value, x.nextstate))
            iterator.next()
        here = slice(graph.first_S[s], graph.first_S[s + 1])
        assert graph.arc_A[here].tolist() == [a for a in arcs if a[0]] + [a for a in arcs if not a[0]]
        assert graph.epsilon_S[s] - graph.first_S[s] == sum(a[0] > 0 for a in arcs)
        assert graph.final_S[s] == np.float32(fst.final(s).value)


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 120), st.lists(st.integers(1, 40), min_size=1, max_size=12))
def test_a_search_in_portions_finds_the_same_lattice_and_a_best_path_at_any_time(seed, frames, portions):
    graph = random_graph(seed, 30, 2.5, 0.5)
    arrays, score_TC = graph_arrays(graph), random_scores(seed, frames, 1.0)
    at_once, portioned = (LatticeSearch(arrays, 9.0, 6.0) for _ in range(2))
    portioned.start()
    cuts = [*np.clip(np.cumsum([0, *portions]), 0, frames).tolist(), frames]
    for first, end in itertools.pairwise(cuts):
        portioned.advance(score_TC[first:end])
        path = portioned.partial()
        if end and len(path.words_W):
            assert (np.diff(path.frames_W) >= 0).all() and path.frames_W[-1] <= end
        assert len(path.classes_T) == end
    at_once.start()
    at_once.advance(score_TC)
    whole = at_once.partial()
    for name in ("classes_T", "words_W", "frames_W"):
        assert getattr(path, name).tolist() == getattr(whole, name).tolist()
    assert_same(portioned.finish(), at_once.finish())


def test_a_partial_path_is_the_best_one_and_does_not_depend_on_what_follows():
    """The cheapest path to any state is the best of a graph in which paths may end anywhere."""
    for seed in range(40):
        graph = random_graph(seed, 30, 2.5, 0.5)
        score_TC = random_scores(seed, 60, 1.0, digits=6)
        search = LatticeSearch(graph_arrays(graph), 15.0, 10.0)
        search.start()
        search.advance(score_TC[:40])
        path = search.partial()
        for state in range(30):
            graph.set_final(state, 0.0)
        best = Decoder(graph, SearchConfig(beam=15.0)).best(score_TC[:40])
        if best is None:
            continue
        assert path.classes_T.tolist() == best.classes.tolist()
        assert path.words_W.tolist() == best.words
        search.advance(score_TC[40:])
        assert_same(
            search.finish(), LatticeSearch(graph_arrays(random_graph(seed, 30, 2.5, 0.5)), 15.0, 10.0)(score_TC)
        )


def test_a_search_whose_memory_ran_out_begins_anew_unnoticed():
    arrays = graph_arrays(random_graph(3, 300, 4.0, 0.5))
    score_TC = random_scores(3, 120, 0.3)
    search = LatticeSearch(arrays, 40.0, 30.0)
    small = len(search.memory.tokens)
    search.start()
    for first in range(0, 120, 7):
        search.advance(score_TC[first : first + 7])
    assert len(search.memory.tokens) > small
    assert_same(search.finish(), LatticeSearch(arrays, 40.0, 30.0)(score_TC))
