"""A general language model beside one's own text: mixed, cut to a vocabulary and a size, and still a distribution."""

import sys
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_kd.cli import main
from asr_kd.graph.lm_pruning import _entropy_changes, pruned
from asr_kd.graph.mixture import best_weight, interpolated, perplexity_of
from asr_kd.graph.ngram import BOS, EOS, NgramModel, perplexity, read_arpa, train_ngram
from asr_kd.graph.ngram_arrays import NgramArrays
from asr_kd.graph.sphinx_lm import packaged_model, read_sphinx_lm
from asr_kd.inventory.senones import Senones

WORDS = ("A", "B", "C", "D")
OWN = ["A B A", "A B", "B A B A", "A", "C A B"]
GENERAL = ["C D C D", "D C", "A C D", "D D C", "B C D A", "C"]


def arrays(sentences, words=WORDS, order=3) -> NgramArrays:
    return NgramArrays.of_model(train_ngram(sentences, words, order, "witten-bell"))


def histories(words=WORDS):
    return [(BOS,), *((a,) for a in words), *((BOS, a) for a in words), *product(words, words)]


def distribution(model: NgramArrays, history) -> dict[str, float]:
    ids = [model.ids.get(word, -1) for word in history]
    words = [word for word in model.words if word != BOS]
    score = model.score(np.array([[*ids, model.ids[word]] for word in words]))
    return dict(zip(words, 10.0**score, strict=True))


def assert_sums_to_one(model: NgramArrays) -> None:
    for history in histories():
        assert sum(distribution(model, history).values()) == pytest.approx(1.0, abs=1e-9), history


sentences_of = st.lists(st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join), min_size=1, max_size=12)


@settings(max_examples=30)
@given(sentences_of, st.integers(1, 4))
def test_arrays_score_as_the_dictionaries_do(sentences, order):
    model = train_ngram(sentences, WORDS, order)
    same = NgramArrays.of_model(model)
    for history in histories():
        for word, p in distribution(same, history).items():
            assert np.log10(p) == pytest.approx(model.log10_prob(word, history), abs=1e-9)
    assert same.to_model().grams == model.grams


@settings(max_examples=30)
@given(sentences_of, sentences_of, st.floats(0.01, 0.99), st.integers(1, 3))
def test_a_mixture_has_the_mean_of_both_probabilities_and_sums_to_one(own, general, weight, order):
    own, general = arrays(own), arrays(general, order=order)
    mixed = interpolated(own, general, weight)
    assert_sums_to_one(mixed)
    for k in range(1, mixed.order + 1):
        for gram, log_p in zip(mixed.grams(k).tolist(), mixed.orders[k - 1].log_p_N, strict=True):
            *history, word = (mixed.words[i] for i in gram)
            if word != BOS:
                expected = (
                    weight * distribution(own, history)[word] + (1 - weight) * distribution(general, history)[word]
                )
                assert 10**log_p == pytest.approx(expected, rel=1e-9)


def test_a_general_model_that_lacks_words_of_the_text_still_gives_a_distribution():
    general = arrays(["B C", "C B B"], ("B", "C"))
    mixed = interpolated(arrays(OWN), general, 0.4)
    assert_sums_to_one(mixed)
    assert set(mixed.words) == {*WORDS, BOS, EOS}
    assert distribution(mixed, ())["A"] == pytest.approx(0.4 * distribution(arrays(OWN), ())["A"])


def test_the_weight_is_the_best_for_held_out_text():
    own, general = arrays(OWN), arrays(GENERAL)
    held_out = ["A B C D", "A B A", "D C", "A B", "C D A"]
    best = best_weight(own, general, held_out)
    assert 0.2 < best < 0.8
    at_best = perplexity_of(interpolated(own, general, best), held_out)[0]
    for weight in np.arange(0.05, 1, 0.05):
        assert at_best <= perplexity_of(interpolated(own, general, float(weight)), held_out)[0] * 1.01
    assert at_best < min(perplexity_of(model, held_out)[0] for model in (own, general))
    assert best_weight(own, general, OWN) > 0.9 and best_weight(own, general, GENERAL) < 0.1


@settings(max_examples=30)
@given(sentences_of, st.sets(st.sampled_from(WORDS), min_size=1))
def test_a_restricted_model_predicts_its_words_alone_and_sums_to_one(sentences, kept):
    model = arrays(sentences).restricted({*kept, BOS, EOS})
    assert set(model.words) == {*kept, BOS, EOS}
    assert_sums_to_one(model)


def test_the_change_by_an_entry_is_the_divergence_of_the_model_without_it():
    model = arrays(OWN + GENERAL)
    changes = _entropy_changes(model, 3)
    for number, gram in enumerate(model.grams(3)):
        rest = [model.grams(k) for k in (1, 2)] + [np.delete(model.grams(3), number, axis=0)]
        log_p = [model.orders[0].log_p_N, model.orders[1].log_p_N, np.delete(model.orders[2].log_p_N, number)]
        without = NgramArrays.of_grams(model.words, rest, log_p)
        history = [model.words[i] for i in gram[:2]]
        before, after = distribution(model, history), distribution(without, history)
        first = distribution(model, ())[EOS if history[0] == BOS else history[0]]
        of_history = first * distribution(model, history[:1])[history[1]]
        divergence = sum(p * np.log(p / after[word]) for word, p in before.items())
        assert changes[number] == pytest.approx(of_history * divergence, rel=1e-6, abs=1e-12)


def test_pruning_reaches_a_size_keeps_contexts_and_loses_little():
    rng = np.random.default_rng(0)
    words = [f"W{n}" for n in range(30)]
    sentences = [[words[min(29, int(rng.exponential(5)))] for _ in range(8)] for _ in range(400)]
    model = arrays(sentences, words)
    before = perplexity_of(model, sentences)[0]
    last = before
    for size in (len(model), len(model) // 2, len(model) // 8, len(words) + 2):
        smaller = pruned(model, max_ngrams=size)
        assert 0.9 * size - 5 <= len(smaller) <= size
        assert perplexity_of(smaller, sentences)[0] >= last * 0.999
        last = perplexity_of(smaller, sentences)[0]
        dictionaries = smaller.to_model()
        for shorter, longer in pairwise(dictionaries.grams):
            assert all(gram[:-1] in shorter for gram in longer)
        assert perplexity(dictionaries, sentences).perplexity == pytest.approx(last)
    assert perplexity_of(pruned(model, max_ngrams=len(model) // 2), sentences)[0] < 1.3 * before
    assert len(pruned(model, 1e-3)) < len(model) and pruned(model) is model
    with pytest.raises(ValueError, match=r"--max-ngrams 5: there are 32 words\. Lower --vocabulary"):
        pruned(model, max_ngrams=5)


pocketsphinx = pytest.importorskip("pocketsphinx")


def pocketsphinx_scores(path: Path, model: NgramArrays, grams: np.ndarray, lower: bool) -> np.ndarray:
    """log10 probabilities as pocketsphinx itself computes them."""
    theirs = pocketsphinx.NGramModel(pocketsphinx.Config(), pocketsphinx.LogMath(), str(path))
    names = [word if word in (BOS, EOS) or not lower else word.lower() for word in model.words]
    return np.array([theirs.prob([names[i] for i in gram[::-1]]) for gram in grams.tolist()]) * np.log10(1.0001)


def check_against_pocketsphinx(path: Path, lower: bool, count: int) -> NgramArrays:
    model = read_sphinx_lm(path)
    rng = np.random.default_rng(0)
    of_model = [model.grams(k)[rng.integers(len(model.orders[k - 1]), size=count)] for k in range(1, model.order + 1)]
    for grams in (*of_model, rng.integers(len(model.words), size=(count, model.order))):
        np.testing.assert_allclose(model.score(grams), pocketsphinx_scores(path, model, grams, lower), atol=1e-4)
    return model


def test_a_model_of_pocketsphinx_has_its_probabilities():
    check_against_pocketsphinx(packaged_model("pocketsphinx:en-us").parent / "en-us-phone.lm.bin", False, 300)


@pytest.mark.slow
def test_the_english_model_of_pocketsphinx_has_its_probabilities():
    model = check_against_pocketsphinx(packaged_model("pocketsphinx:en-us"), True, 2000)
    assert [len(order) for order in model.orders] == [72547, 2051541, 1669625]
    sums = 10.0 ** model.score(np.column_stack([np.full(72546, model.ids["THE"]), np.arange(72547)[model.order - 2 :]]))
    assert sums.sum() == pytest.approx(1.0, abs=0.05)


def test_a_damaged_model_of_pocketsphinx_is_one_line(tmp_path: Path):
    data = (packaged_model("pocketsphinx:en-us").parent / "en-us-phone.lm.bin").read_bytes()
    for changed in (b"", data[:10], data[:1000], data[:-5000], data[:19] + b"\xff" + data[20:], b"no model" * 99):
        (tmp_path / "a.lm.bin").write_bytes(changed)
        with pytest.raises(ValueError, match=r"a\.lm\.bin: no language model of pocketsphinx, or damaged") as error:
            read_sphinx_lm(tmp_path / "a.lm.bin")
        assert "\n" not in str(error.value)


def test_without_the_package_its_model_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    with pytest.raises(
        ValueError, match=r"--arpa pocketsphinx:en-us: needs the package pocketsphinx\. Run .*general-lm"
    ):
        packaged_model("pocketsphinx:en-us")
    monkeypatch.undo()
    with pytest.raises(ValueError, match="has no such model"):
        packaged_model("pocketsphinx:../secret")


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """An inventory, a lexicon, a text, held-out text and a general model."""
    Senones.monophone(["SIL", "AH", "B", "IY", "S"]).save(tmp_path / "align" / "inventory.json")
    (tmp_path / "lexicon.txt").write_text("A AH\nB B IY\nC S IY\nD S AH\n")
    (tmp_path / "own.txt").write_text("\n".join(OWN))
    (tmp_path / "dev.txt").write_text("A B C D\nA B A\nC D\n")
    train_ngram(GENERAL, [*WORDS, "OWL"], 3).write_arpa(tmp_path / "general.arpa")
    return tmp_path


def graph(parts: Path, *args) -> int:
    options = ["--lexicon", parts / "lexicon.txt", "--inventory", parts / "align", "--out", parts / "graph"]
    return main([str(arg) for arg in ("graph", *args, *options)])


def built(parts: Path) -> NgramModel:
    return read_arpa(parts / "graph" / "lm.arpa")


def test_a_graph_of_text_and_a_general_model_is_better_than_either(parts: Path, capsys):
    held_out = (parts / "dev.txt").read_text().split("\n")[:-1]
    found = []
    for args in ([parts / "own.txt"], ["--arpa", parts / "general.arpa"]):
        assert graph(parts, *args) == 0
        found.append(perplexity(built(parts), held_out).perplexity)
    capsys.readouterr()
    assert graph(parts, parts / "own.txt", "--arpa", parts / "general.arpa", "--held-out", parts / "dev.txt") == 0
    mixed = perplexity(built(parts), held_out).perplexity
    told = capsys.readouterr().err
    assert mixed < min(found)
    assert f"perplexity {mixed:.1f}, 0 unknown words" in told and f"the best for {parts / 'dev.txt'}" in told
    assert "general.arpa: 4 of its 5 words can be recognised" in told
    assert graph(parts, parts / "own.txt", "--arpa", parts / "general.arpa", "--interpolate", 0.95) == 0
    assert perplexity(built(parts), held_out).perplexity > mixed


def test_a_vocabulary_takes_the_words_of_the_text_first(parts: Path, capsys):
    both = (parts / "own.txt", "--arpa", parts / "general.arpa")
    assert graph(parts, *both, "--vocabulary", 4, "--max-ngrams", 12) == 0
    model = built(parts)
    assert model.vocabulary == {*WORDS, EOS} and sum(map(len, model.grams)) <= 12
    assert "pruned to" in capsys.readouterr().err
    assert graph(parts, *both, "--vocabulary", 2) == 0
    assert built(parts).vocabulary == {"A", "B", EOS}
    assert graph(parts, parts / "own.txt", "--vocabulary", 2) == 0
    assert built(parts).vocabulary == {"A", "B", EOS}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--interpolate", "0.5"], "--interpolate: is the weight of text beside --arpa. Give both."),
        (["--vocabulary", "0"], "--vocabulary 0: at least one word is needed"),
        (["--prune", "-1"], "--prune -1: a share of the perplexity"),
        (["--arpa", "general.arpa", "--interpolate", "1"], "--interpolate 1: the weight of your own text must lie"),
    ],
)
def test_options_that_do_not_go_together_are_one_line(parts: Path, args, message, capsys, monkeypatch):
    monkeypatch.chdir(parts)
    assert graph(parts, parts / "own.txt", *args) == 2
    told = capsys.readouterr().err
    assert message in told and told.count("asr-kd graph:") == 1


def test_held_out_text_without_a_word_is_refused(parts: Path, capsys):
    (parts / "dev.txt").write_text("\n .\n")
    assert graph(parts, parts / "own.txt", "--arpa", parts / "general.arpa", "--held-out", parts / "dev.txt") == 2
    assert "dev.txt: holds no text" in capsys.readouterr().err
