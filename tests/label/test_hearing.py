import numpy as np
import pytest

from asr_kd.cli import main
from asr_kd.graph.confidence import entropies
from asr_kd.graph.graph import load_graph
from asr_kd.graph.lattice import class_posteriors
from asr_kd.graph.scales import DecodingScales
from asr_kd.graph.search import Decoder
from asr_kd.inventory.senones import NO_PHONE, Senones
from asr_kd.inventory.tree import Node, Tree
from asr_kd.label.lattices import SEARCH, LatticeConfig, LatticePosteriors

INVENTORY = Senones.monophone(["SIL", "A", "B", "C", "D"])
LEXICON = "AB A B\nABC A B C\nD D\nDEE D A\nDEE D B B\n"
PRIOR_C = np.zeros(INVENTORY.num_classes)


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    folder = tmp_path_factory.mktemp("graph")
    INVENTORY.save(folder / "inventory.json")
    (folder / "lexicon.txt").write_text(LEXICON)
    (folder / "text.txt").write_text("AB D\nABC D\nD D ABC AB\nDEE AB\nD DEE\n")
    options = ["--lexicon", folder / "lexicon.txt", "--inventory", folder, "--out", folder / "out"]
    assert main(["graph", str(folder / "text.txt"), *map(str, options)]) == 0
    return folder / "out"


def spoken(*phones, sure=0.9):
    """Log-posteriors of phones, each with its number of frames, half of them in each state."""
    classes = []
    for phone, frames in phones:
        states = INVENTORY.senones(NO_PHONE, INVENTORY.phones.index(phone), NO_PHONE)
        classes += [states[i * len(states) // frames] for i in range(frames)]
    p_TC = np.full((len(classes), INVENTORY.num_classes), (1 - sure) / (INVENTORY.num_classes - 1))
    p_TC[np.arange(len(classes)), classes] = sure
    return np.log(p_TC).astype(np.float32)


def listener(graph, weight=0.7):
    return LatticePosteriors(load_graph(graph), PRIOR_C, LatticeConfig(DecodingScales(), weight), INVENTORY)


SENTENCE = [("SIL", 3), ("A", 4), ("B", 2), ("C", 5), ("D", 4), ("SIL", 6), ("D", 2), ("B", 2), ("B", 3), ("SIL", 2)]
TIMES = [("ABC", 3, 14), ("D", 14, 18), ("DEE", 24, 31)]


def test_words_are_found_where_they_were_said(graph):
    _, heard = listener(graph).search(spoken(*SENTENCE))
    assert [(w.word, w.start_frame, w.end_frame) for w in heard.words] == TIMES
    assert (heard.phones, heard.frames) == (7, 33)
    assert heard.agreement == 1


def test_a_words_confidence_is_the_mean_of_lattice_model_and_clarity(graph):
    _, heard = listener(graph).search(spoken(*SENTENCE))
    entropy = -(0.9 * np.log(0.9) + 0.1 * np.log(0.1 / (INVENTORY.num_classes - 1)))
    for word in heard.words:
        assert word.posterior > 0.999
        assert word.acoustic == pytest.approx(0.9) and word.entropy_confidence == pytest.approx(np.exp(-entropy))
        assert word.confidence == pytest.approx((0.9 * np.exp(-entropy) * word.posterior) ** (1 / 3))
    assert heard.entropy == pytest.approx(entropy)
    assert heard.confidence == pytest.approx(np.prod([w.confidence for w in heard.words]) ** (1 / 3))


def test_what_is_heard_less_clearly_is_trusted_less(graph):
    listen = listener(graph)
    clear, dim = (listen.search(spoken(*SENTENCE, sure=sure))[1] for sure in (0.9, 0.3))
    assert [w.word for w in clear.words] == [w.word for w in dim.words]
    assert dim.confidence < clear.confidence and dim.entropy > clear.entropy
    assert dim.entropy == pytest.approx(
        -(0.3 * np.log(0.3) + 0.7 * np.log(0.7 / (INVENTORY.num_classes - 1))), rel=1e-5
    )


def test_a_word_that_might_be_another_is_trusted_less_than_its_neighbours(graph):
    log_p_TC = spoken(*SENTENCE)
    log_p_TC[9:14] = spoken(("D", 5))  # ABC, or AB D: C and D alike
    log_p_TC[9:14] = np.logaddexp(log_p_TC[9:14], spoken(*SENTENCE)[9:14]) - np.log(2)
    _, heard = listener(graph).search(log_p_TC)
    assert heard.words[0].word in ("AB", "ABC") and heard.words[0].posterior < 0.95
    assert heard.words[0].confidence < heard.words[-1].confidence
    assert heard.words[-1].word == "DEE" and heard.words[-1].posterior > 0.99


def test_disagreement_counts_frames_that_the_language_model_overruled(graph):
    log_p_TC = spoken(*SENTENCE)
    log_p_TC[9:11] = spoken(("A", 4))[:2]  # two of the C's five frames sound like A: no such word
    _, heard = listener(graph).search(log_p_TC)
    assert [w.word for w in heard.words] == ["ABC", "D", "DEE"]
    assert heard.agreement == pytest.approx(1 - 2 / 22)


def test_silence_is_heard_as_silence(graph):
    listen = listener(graph)
    _, heard = listen.search(spoken(("SIL", 12), ("D", 2), ("SIL", 3)))
    assert [w.word for w in heard.words] == ["D"]
    _, heard = listen.search(spoken(("SIL", 12), ("D", 2), ("SIL", 3))[:0])
    assert heard is None


def test_hearing_changes_nothing_in_the_targets_and_weight_0_leaves_them_alone(graph):
    log_p_TC = spoken(*SENTENCE, sure=0.5)
    mixed, _ = listener(graph).search(log_p_TC)
    deaf = LatticePosteriors(load_graph(graph), PRIOR_C, LatticeConfig(DecodingScales()))
    np.testing.assert_array_equal(mixed, deaf.search(log_p_TC)[0])
    lattice = Decoder(load_graph(graph).fst, SEARCH).lattice(log_p_TC)
    expected = 0.7 * class_posteriors(lattice, *log_p_TC.shape) + 0.3 * np.exp(log_p_TC)
    np.testing.assert_allclose(np.exp(mixed), expected, atol=1e-5)
    same, heard = listener(graph, weight=0.0).search(log_p_TC)
    np.testing.assert_array_equal(same, log_p_TC)
    assert [w.word for w in heard.words] == ["ABC", "D", "DEE"]


def test_a_graph_without_its_lexicon_is_refused_for_hearing_and_fine_for_targets(graph, tmp_path):
    loaded = load_graph(graph)
    old = type(loaded)(loaded.fst, loaded.words, loaded.inventory, loaded.fingerprint)
    with pytest.raises(ValueError, match="Run `asr-kd graph` again"):
        LatticePosteriors(old, PRIOR_C, LatticeConfig(DecodingScales()), INVENTORY)
    LatticePosteriors(old, PRIOR_C, LatticeConfig(DecodingScales())).search(spoken(("D", 3)))


def test_entropy_of_certainty_is_0():
    with np.errstate(divide="ignore"):
        assert entropies(np.log(np.array([[1.0, 0.0], [0.5, 0.5]]))) == pytest.approx([0, np.log(2)])


def test_classes_know_the_phones_that_share_them():
    tree = Tree(
        [
            Node(0, (1, 2), 1, 2, -1),  # A or B?
            Node(-1, (3,), 3, 4, -1),  # then: after C?
            Node(0, (), -1, -1, 0),
            Node(0, (1,), 5, 6, -1),
            Node(0, (), -1, -1, 1),
            Node(0, (), -1, -1, 2),
            Node(0, (), -1, -1, 3),
        ]
    )
    inventory = Senones(("SIL", "A", "B", "C", "D"), (tuple(map(tuple, tree.to_list())),), states=1)
    shared = [["SIL"], ["C", "D"], ["A", "B"], ["A"], ["B"]]
    names = np.array(inventory.phones)
    assert [names[row].tolist() for row in inventory.phones_of_class_CP] == shared
