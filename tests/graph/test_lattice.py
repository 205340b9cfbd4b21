import itertools

import numpy as np
import pytest
from graphs import word_loop

from asr_kd.graph.lattice import class_posteriors
from asr_kd.graph.search import Decoder, SearchConfig

COSTS = [0.3, 1.0, 2.0]
CLASSES = len(COSTS)
EVERYTHING = SearchConfig(beam=200.0, lattice_beam=100.0)


def by_enumeration(score_TC):
    """Posteriors over all class sequences and all ways to cut their runs into words."""
    frames = len(score_TC)
    posterior_TC = np.zeros(score_TC.shape)
    for classes in itertools.product(range(CLASSES), repeat=frames):
        likelihood = np.exp(sum(score_TC[t, c] for t, c in enumerate(classes)))
        graph = np.exp(-COSTS[classes[0]])
        for before, now in itertools.pairwise(classes):
            enter = np.exp(-COSTS[now])
            graph *= enter if before != now else 1 + enter  # a word goes on, or is said again
        for t, c in enumerate(classes):
            posterior_TC[t, c] += likelihood * graph
    return posterior_TC / posterior_TC.sum(1, keepdims=True)


@pytest.mark.parametrize("seed", range(5))
def test_posteriors_are_those_of_all_paths_of_the_graph(seed):
    score_TC = np.random.default_rng(seed).normal(0, 2, (4, CLASSES))
    lattice = Decoder(word_loop(COSTS), EVERYTHING).lattice(score_TC)
    posterior_TC = class_posteriors(lattice, 4, CLASSES)
    np.testing.assert_allclose(posterior_TC, by_enumeration(score_TC), atol=2e-3)
    np.testing.assert_allclose(posterior_TC.sum(1), 1, atol=1e-6)


def test_a_narrow_lattice_is_sure_of_the_best_path():
    score_TC = np.random.default_rng(0).normal(0, 3, (20, CLASSES))
    narrow = Decoder(word_loop(COSTS), SearchConfig(beam=20.0, lattice_beam=1e-3))
    lattice = narrow.lattice(score_TC)
    posterior_TC = class_posteriors(lattice, 20, CLASSES)
    assert posterior_TC.argmax(1).tolist() == narrow.best(score_TC).classes.tolist()
    assert posterior_TC.max(1).min() > 0.49


def test_without_frames_there_is_no_lattice():
    assert Decoder(word_loop(COSTS)).lattice(np.zeros((0, CLASSES))) is None
