import itertools
import math

import numpy as np
import pytest

import asr_kd.graph  # noqa: F401  the Kaldi libraries, in the one order that works
from asr_kd.cli import main
from asr_kd.graph.ctc import token_graph
from asr_kd.graph.graph import load_graph
from asr_kd.graph.ngram import read_arpa, train_ngram
from asr_kd.graph.search import Decoder, SearchConfig
from asr_kd.inventory.tokens import SPACE, Tokens, ctc_collapse

WIDE = SearchConfig(beam=60.0, max_active=5000, lattice_beam=30.0)
TOLERANCE = 0.02  # Kaldi's operations round weights to 1/1024
CHARACTERS = Tokens.characters(["AB"])
PIECES = Tokens((SPACE, SPACE + "A", "A", "B", "BB"))
SENTENCES = ["A B", "AB A", "BB", "A ABB", "B B B"]
WORDS = ["A", "AB", "ABB", "B", "BB"]


def lm_cost(words, model):
    tokens = ["<s>", *words, "</s>"]
    return -math.log(10) * sum(model.log10_prob(tokens[i], tokens[:i]) for i in range(1, len(tokens)))


def by_enumeration(score_TC, tokens, model):
    """The best class path whose units are a spelling of words, its words and its cost."""
    known = {tokens.tokenise_word(word): word for word in WORDS}
    leads = [number for number, unit in enumerate(tokens.symbols) if unit.startswith(SPACE)]
    best = (math.inf, None)
    for path in itertools.product(range(tokens.num_classes), repeat=len(score_TC)):
        units, spelt = ctc_collapse(path), []
        for unit in units:
            if unit in leads or not spelt:
                spelt.append(())
            spelt[-1] += (unit,)
        if all(word in known for word in spelt):
            words = [known[word] for word in spelt]
            cost = lm_cost(words, model) - sum(score_TC[t, c] for t, c in enumerate(path))
            best = min(best, (cost, words))
    return best


@pytest.mark.parametrize("tokens", [CHARACTERS, PIECES], ids=["characters", "pieces"])
@pytest.mark.parametrize("frames", [1, 5])
def test_the_search_finds_the_best_of_all_paths(tmp_path, tokens, frames):
    train_ngram(SENTENCES, WORDS, order=2).write_arpa(tmp_path / "lm.arpa")
    model = read_arpa(tmp_path / "lm.arpa")
    fst, names = token_graph(tokens, WORDS, tmp_path / "lm.arpa")
    searcher = Decoder(fst, WIDE)
    for seed in range(8):
        score_TC = 3 * np.random.default_rng(seed).normal(size=(frames, tokens.num_classes))
        cost, words = by_enumeration(score_TC, tokens, model)
        path = searcher.best(score_TC)
        assert path.complete and len(path.classes) == frames
        assert path.cost == pytest.approx(cost, abs=TOLERANCE)
        found = [names[w] for w in path.words]
        assert found == words
        assert tokens.decode(ctc_collapse(path.classes)) == " ".join(found)


def planted(tokens, text, blanks=1):
    """Scores of a clear reading: each unit for two frames, blanks between."""
    classes = [0]
    for unit in tokens.encode(text):
        classes += [unit, unit, *[0] * blanks]
    return np.where(np.arange(tokens.num_classes) == np.array(classes)[:, None], 0.0, -30.0)


@pytest.fixture
def parts(tmp_path):
    Tokens.characters(["ABC"]).save(tmp_path / "tokens" / "inventory.json")
    (tmp_path / "text.txt").write_text("a bab\nbaab a\n\nab q\n")
    return tmp_path


def graph(parts, *args):
    options = ["--inventory", str(parts / "tokens"), "--out", str(parts / "graph")]
    return main(["graph", *map(str, args), *options])


def recognise(parts, text, blanks=1):
    loaded = load_graph(parts / "graph")
    path = Decoder(loaded.fst, WIDE).best(planted(Tokens.characters(["ABC"]), text, blanks))
    return " ".join(loaded.words[w] for w in path.words)


def test_text_alone_makes_a_graph_of_its_words(parts, capsys):
    assert graph(parts, parts / "text.txt") == 0
    told = capsys.readouterr().err
    assert "1 words cannot be recognised; the first, Q: cannot be spelt" in told and "4 words" in told
    loaded = load_graph(parts / "graph")
    loaded.check(Tokens.characters(["ABC"]), "model")
    assert loaded.lexicon is None and not (parts / "graph" / "lexicon.txt").exists()
    assert recognise(parts, "BAAB A BAB") == "BAAB A BAB"
    assert recognise(parts, "BAAB", blanks=0) == "BAB", "held without a blank, two letters are one"


def test_a_lexicon_adds_words_whatever_their_pronunciation(parts):
    (parts / "words.txt").write_text("CAB K AE B\nCABBA\n")
    assert graph(parts, parts / "text.txt", "--lexicon", parts / "words.txt") == 0
    assert recognise(parts, "CABBA BAB CAB") == "CABBA BAB CAB"


def test_words_come_from_a_language_model_of_ones_own(parts):
    graph(parts, parts / "text.txt")
    arpa = parts / "own.arpa"
    (parts / "graph" / "lm.arpa").rename(arpa)
    assert graph(parts, "--arpa", arpa) == 0
    assert recognise(parts, "BAAB A") == "BAAB A"


def test_nothing_that_can_be_spelt_is_one_line(parts, capsys):
    (parts / "text.txt").write_text("xyz\n")
    assert graph(parts, parts / "text.txt") == 2
    assert "no word can be spelt with the tokens; the first, XYZ" in capsys.readouterr().err
