"""Models of tokens align text too: by CTC."""

import numpy as np
import pytest

from asr_kd.graph.ngram import train_ngram
from asr_kd.graph.search import Decoder, SearchConfig
from asr_kd.inventory.tokens import Tokens
from asr_kd.segment.text_aligner import TokenScorer


@pytest.fixture(scope="module")
def tokens() -> Tokens:
    return Tokens(("▁", *"ABCDEF"))


def _spelt(tokens: Tokens, text: str) -> np.ndarray:
    """Log-posteriors of frames that spell a text, each token with a blank behind it."""
    classes = [c for token in tokens.encode(text) for c in (token, 0)]
    p_TC = np.full((len(classes), tokens.num_classes), 0.01)
    p_TC[np.arange(len(classes)), classes] = 1.0
    return np.log(p_TC / p_TC.sum(1, keepdims=True)).astype(np.float32)


def test_the_words_that_were_said_cost_least(tokens):
    scorer = TokenScorer(tokens)
    assert scorer.prepare(["AB", "CD", "F", "Q1"]) == {"AB", "CD", "F"}
    score_TC = _spelt(tokens, "AB CD")
    costs = {words: scorer.cost(words.split(), score_TC) for words in ("AB CD", "AB", "CD", "AB CD F", "F", "")}
    assert min(costs, key=costs.get) == "AB CD" and scorer.cost(["Q1"], score_TC) == float("inf")


def test_its_graph_recognises_the_words_of_the_text(tokens, tmp_path):
    scorer = TokenScorer(tokens)
    known = scorer.prepare(["AB", "CD", "F"])
    train_ngram([["AB", "CD"], ["CD", "F"]], known, 2).write_arpa(tmp_path / "lm.arpa")
    fst, names = scorer.graph(tmp_path / "lm.arpa")
    path = Decoder(fst, SearchConfig()).best(_spelt(tokens, "CD F"))
    assert [names[w] for w in path.words] == ["CD", "F"]
