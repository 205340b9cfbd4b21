import numpy as np
import pytest

from asr_kd.cli import main
from asr_kd.graph.graph import load_graph
from asr_kd.graph.scales import DecodingScales
from asr_kd.graph.word_times import TokenTimes
from asr_kd.inventory.tokens import SPACE, Tokens
from asr_kd.label.lattices import LatticeConfig, LatticePosteriors

TOKENS = Tokens((SPACE, SPACE + "A", "A", "B", "D"))


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    folder = tmp_path_factory.mktemp("graph")
    TOKENS.save(folder / "inventory.json")
    (folder / "text.txt").write_text("AB D\nABA D\nD D ABA AB\n")
    assert main(["graph", str(folder / "text.txt"), "--inventory", str(folder), "--out", str(folder / "out")]) == 0
    return load_graph(folder / "out")


def classes_of(*units):
    """Classes of frames: units by name, each with its number of frames; "" is the blank."""
    return np.array([TOKENS.symbols.index(unit) if unit else 0 for unit, frames in units for _ in range(frames)])


def spoken(*units, sure=0.9):
    classes_T = classes_of(*units)
    p_TC = np.full((len(classes_T), TOKENS.num_classes), (1 - sure) / (TOKENS.num_classes - 1))
    p_TC[np.arange(len(classes_T)), classes_T] = sure
    return np.log(p_TC).astype(np.float32)


SAID = [("", 3), (SPACE + "A", 1), ("", 1), ("B", 2), ("", 2), ("A", 1), ("", 1), (SPACE, 1), ("D", 2), ("", 4)]


def listen(graph, log_p_TC, weight=0.7):
    lattices = LatticePosteriors(graph, np.zeros(TOKENS.num_classes), LatticeConfig(DecodingScales(), weight), TOKENS)
    return lattices.search(log_p_TC)


def test_words_of_tokens_are_found_where_they_were_said(graph):
    mixed_TC, heard = listen(graph, spoken(*SAID))
    assert [(w.word, w.start_frame, w.end_frame) for w in heard.words] == [("ABA", 3, 10), ("D", 11, 14)]
    assert (heard.phones, heard.frames, heard.agreement) == (5, 18, 1)
    entropy = -(0.9 * np.log(0.9) + 0.1 * np.log(0.1 / (TOKENS.num_classes - 1)))
    for word in heard.words:
        assert word.acoustic == pytest.approx(0.9) and word.entropy_confidence == pytest.approx(np.exp(-entropy))
        assert word.posterior > 0.9
    np.testing.assert_allclose(np.exp(mixed_TC).sum(1), 1, atol=1e-5)


def test_a_word_that_might_be_another_is_trusted_less(graph):
    log_p_TC = spoken(*SAID)
    log_p_TC[9] = np.logaddexp(log_p_TC[9], log_p_TC[0]) - np.log(2)  # the last A of ABA, or a blank: AB
    _, heard = listen(graph, log_p_TC)
    assert heard.words[0].word in ("AB", "ABA") and heard.words[0].posterior < 0.95
    assert heard.words[0].confidence < heard.words[1].confidence


def test_disagreement_counts_frames_that_the_language_model_overruled(graph):
    log_p_TC = spoken(*SAID)
    log_p_TC[6] = spoken(("D", 1))[0]  # in the B: there is no such word
    _, heard = listen(graph, log_p_TC)
    assert [w.word for w in heard.words] == ["ABA", "D"]
    assert 0.5 < heard.agreement < 1


@pytest.mark.parametrize(
    ("units", "words", "spans"),
    [
        ([("", 4)], [], []),
        ([(SPACE, 2), ("B", 3)], ["B"], [(0, 5)]),
        ([("B", 1), ("", 1), ("B", 1)], ["BB"], [(0, 3)]),
        ([(SPACE + "A", 2), (SPACE, 1), ("A", 1), ("", 1)], ["A", "A"], [(0, 2), (2, 4)]),
        ([(SPACE, 1), ("", 1), (SPACE, 1), ("B", 1), ("", 1), (SPACE, 1)], ["B"], [(2, 4)]),
        ([(SPACE, 2)], [], []),
    ],
)
def test_a_word_lasts_from_the_token_that_begins_it_to_its_last(units, words, spans):
    assert TokenTimes(TOKENS)(words, classes_of(*units), []) == spans


def test_other_words_than_those_of_the_path_are_refused():
    with pytest.raises(ValueError, match="B A: its tokens are not those of the path"):
        TokenTimes(TOKENS)(["B", "A"], classes_of((SPACE + "A", 2)), [])
