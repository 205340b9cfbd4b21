"""Promises of the language model: it is a distribution, knows every word of the lexicon, and Kaldi's tools read it."""

import itertools
import math
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_kd.graph.class_lm import read_classes, with_classes
from asr_kd.graph.ngram import BOS, EOS, perplexity, read_arpa, train_ngram

WORDS = ["A", "B", "C", "D", "E"]
sentences_of_few_words = st.lists(st.lists(st.sampled_from([*WORDS, "UNKNOWN"]), max_size=6), max_size=40)


def zipf_text(sentences: int, seed: int = 0) -> list[str]:
    """Text whose counts fall like those of language, so that Kneser-Ney finds discounts."""
    rng = random.Random(seed)
    words = [f"W{i}" for i in range(60)]
    weights = [1 / (i + 1) for i in range(60)]
    return [" ".join(rng.choices(words, weights, k=rng.randint(1, 8))) for _ in range(sentences)]


def total_probability(model, history) -> float:
    return math.fsum(10 ** model.log10_prob(w, history) for w in model.vocabulary)


@settings(max_examples=60, deadline=None)
@given(sentences_of_few_words, st.integers(1, 4), st.sampled_from(["kneser-ney", "witten-bell"]))
def test_every_history_is_a_distribution_over_the_whole_lexicon(sentences, order, smoothing):
    model = train_ngram(sentences, WORDS, order, smoothing)
    assert model.vocabulary == {*WORDS, EOS}
    for history in ([], [BOS], ["A"], [BOS, "A"], ["A", "B"], ["B", "UNKNOWN"], ["A", "B", "C"], [BOS, "D", "D"]):
        assert total_probability(model, history) == pytest.approx(1, abs=1e-9)
        assert all(model.log10_prob(w, history) > -20 for w in model.vocabulary)


def test_enough_text_is_smoothed_by_kneser_ney_and_sums_to_one():
    text = zipf_text(400)
    vocabulary = {w for s in text for w in s.split()} | {"NEVER", "SEEN"}
    model = train_ngram(text, vocabulary)
    other = train_ngram(text, vocabulary, smoothing="witten-bell")
    assert model.grams != other.grams
    for history in [(), (BOS,), *sorted(model.grams[1])[::50]]:
        assert total_probability(model, history) == pytest.approx(1, abs=1e-9)


def test_kneser_ney_equals_the_published_recursion():
    text = zipf_text(400)
    vocabulary = sorted({w for s in text for w in s.split()})
    model = train_ngram(text, vocabulary, order=2)
    pairs: dict[tuple[str, str], int] = {}
    for sentence in text:
        tokens = [BOS, *sentence.split(), EOS]
        for pair in itertools.pairwise(tokens):
            pairs[pair] = pairs.get(pair, 0) + 1
    continuations = {w: sum(1 for _, b in pairs if b == w) for w in (*vocabulary, EOS)}

    def discount(counts):
        n = [sum(1 for c in counts if c == k) for k in range(5)]
        y = n[1] / (n[1] + 2 * n[2])
        d = [0, 1 - 2 * y * n[2] / n[1], 2 - 3 * y * n[3] / n[2], 3 - 4 * y * n[4] / n[3]]
        return lambda c: d[min(c, 3)]

    d2, total = discount(pairs.values()), sum(continuations.values())
    # Of 61 unigrams some counts of counts are 0: they are Witten-Bell's, over continuation counts.
    unigram = {w: (c + 1) / (total + len(continuations)) for w, c in continuations.items()}
    for history in (BOS, "W0", "W3", "W40"):
        after = {w: c for (h, w), c in pairs.items() if h == history}
        total = sum(after.values())
        spread = sum(map(d2, after.values())) / total
        for w in (EOS, "W0", "W1", "W17", "W59"):
            expected = max(after.get(w, 0) - d2(after.get(w, 0)), 0) / total + spread * unigram[w]
            assert 10 ** model.log10_prob(w, [history]) == pytest.approx(expected, rel=1e-9)


def test_kneser_ney_beats_a_unigram_on_held_out_text_with_structure():
    rng = random.Random(1)
    text = []
    for _ in range(600):
        word, sentence = rng.randrange(20), []
        for _ in range(rng.randint(2, 8)):
            sentence.append(f"W{word}")
            word = (word + rng.choice([1, 1, 1, 2, 3, 7])) % 20
        text.append(sentence)
    vocabulary = [f"W{i}" for i in range(20)]
    unigram, trigram = (perplexity(train_ngram(text[:500], vocabulary, n), text[500:]) for n in (1, 3))
    assert trigram.perplexity < 0.6 * unigram.perplexity
    assert trigram.tokens == sum(len(s) + 1 for s in text[500:]) and trigram.unknown == 0


def test_a_uniform_model_has_the_perplexity_of_its_vocabulary():
    model = train_ngram([], WORDS)
    measured = perplexity(model, ["A B C", "E UNKNOWN"])
    assert measured.perplexity == pytest.approx(len(WORDS) + 1)
    assert (measured.tokens, measured.unknown) == (6, 1)


def test_seen_words_outweigh_words_that_only_the_lexicon_has():
    model = train_ngram(["A B", "A B", "B A"], WORDS)
    assert model.log10_prob("A") > model.log10_prob("C") == model.log10_prob("D")


def test_arpa_returns_the_same_probabilities(tmp_path):
    model = train_ngram(zipf_text(50), [f"W{i}" for i in range(70)])
    model.write_arpa(tmp_path / "lm.arpa")
    again = read_arpa(tmp_path / "lm.arpa")
    assert [set(g) for g in again.grams] == [set(g) for g in model.grams]
    for history in ([], [BOS], ["W0", "W1"], ["W65"]):
        for word in ("W0", "W3", "W69", EOS):
            assert again.log10_prob(word, history) == pytest.approx(model.log10_prob(word, history), abs=1e-6)
    again.write_arpa(tmp_path / "again.arpa")
    assert (tmp_path / "again.arpa").read_bytes() == (tmp_path / "lm.arpa").read_bytes()


@pytest.mark.parametrize("damage", ["cut", "number", "count"])
def test_a_damaged_arpa_is_refused_by_name(tmp_path, damage):
    path = tmp_path / "lm.arpa"
    train_ngram(["A B C"], WORDS).write_arpa(path)
    text = path.read_text()
    path.write_text(
        {
            "cut": text[: len(text) // 2],
            "number": text.replace("-0.", "much", 1),
            "count": text.replace("ngram 2=", "ngram 2=1"),
        }[damage]
    )
    with pytest.raises(ValueError, match=r"lm\.arpa"):
        read_arpa(path)


def test_kaldi_turns_the_arpa_into_a_grammar_with_the_same_scores(tmp_path):
    kaldilm = pytest.importorskip("kaldilm", reason="kaldilm converts ARPA to FST")
    import kaldifst

    text = zipf_text(60)
    model = train_ngram(text, [f"W{i}" for i in range(60)])
    model.write_arpa(tmp_path / "lm.arpa")
    symbols = tmp_path / "words.txt"
    kaldilm.arpa2fst(
        str(tmp_path / "lm.arpa"), str(tmp_path / "G.fst"), disambig_symbol="#0", write_symbol_table=str(symbols)
    )
    ids = {line.split()[0]: int(line.split()[1]) for line in symbols.read_text().splitlines()}
    grammar = kaldifst.StdVectorFst.read(str(tmp_path / "G.fst"))
    for state in kaldifst.StateIterator(grammar):
        for arc in kaldifst.ArcIterator(grammar, state):
            assert arc.ilabel == ids["#0"] or arc.ilabel not in {ids.get(BOS), ids.get(EOS)}
    for sentence in (text[0], text[1], "W50 W51 W0", "W5"):
        words = [BOS, *sentence.split(), EOS]
        expected = sum(model.log10_prob(words[i], words[:i]) for i in range(1, len(words))) * -math.log(10)
        assert grammar_cost(grammar, [ids[w] for w in words[1:-1]], ids["#0"]) == pytest.approx(expected, abs=1e-3)


def grammar_cost(grammar, words: list[int], backoff: int) -> float:
    """Cost of a sentence in G when a back-off arc is taken only where the word has no arc of its own."""
    import kaldifst

    state, cost = grammar.start, 0.0
    for word in [*words, None]:
        while True:
            arcs = {arc.ilabel: arc for arc in kaldifst.ArcIterator(grammar, state)}
            final = grammar.final(state).value
            if word is None and math.isfinite(final):
                return cost + final
            arc = arcs.get(word, arcs.get(backoff))
            state, cost = arc.nextstate, cost + arc.weight.value
            if arc.ilabel == word:
                break
    raise AssertionError("unreachable")


@pytest.mark.parametrize("vocabulary", [[], ["TWO WORDS"], ["<s>"], ["#0"], [""]])
def test_a_vocabulary_that_cannot_be_recognised_is_refused(vocabulary):
    with pytest.raises(ValueError, match="language model"):
        train_ngram(["A"], vocabulary)


CLASSES = {"FIRST": ("A", "B"), "LAST": ("D", "E")}


@settings(max_examples=60, deadline=None)
@given(sentences_of_few_words, st.integers(1, 3), st.integers(1, 3), st.sampled_from([0.0, 0.5, 0.9]))
def test_a_model_with_classes_is_a_distribution_and_survives_its_file(sentences, order, class_order, weight):
    model = with_classes(train_ngram(sentences, WORDS, order), sentences, CLASSES, weight, class_order)
    assert model.vocabulary == {*WORDS, EOS}
    for history in ([], [BOS], ["A"], [BOS, "A"], ["A", "B"], ["B", "UNKNOWN"], ["A", "B", "C"], [BOS, "D", "D"]):
        assert total_probability(model, history) == pytest.approx(1, abs=1e-6)
        assert all(model.log10_prob(w, history) > -20 for w in model.vocabulary)


def test_words_of_a_class_are_expected_where_others_of_it_were_seen():
    text = ["A D", "B E", "A E C"] * 3
    plain = train_ngram(text, WORDS)
    model = with_classes(plain, text, CLASSES)
    assert model.log10_prob("D", ["B"]) > plain.log10_prob("D", ["B"])  # never seen, but A D, A E and B E were
    p_word, p_class = (
        10 ** plain.log10_prob("D", [BOS, "A"]),
        10
        ** train_ngram(
            [s.replace("A", "X").replace("B", "X").replace("D", "Y").replace("E", "Y") for s in text],
            ["C", "X", "Y"],
            2,
        ).log10_prob("Y", ["X"]),
    )
    assert 10 ** model.log10_prob("D", [BOS, "A"]) == pytest.approx(0.5 * p_word + 0.5 * p_class * (3 + 1) / (9 + 2))


@pytest.mark.parametrize(
    "text, message",
    [
        ("ONE A B\nTWO C A\n", r"classes.txt:2: A is in class ONE already"),
        ("ONE A B\nONE C D\n", r"classes.txt:2: class ONE is declared twice"),
        ("ONE A\n", r"classes.txt:1: class ONE needs at least two words"),
        ("# none\nONE X Y\n", r"none of its words is in the lexicon"),
    ],
)
def test_word_classes_that_cannot_be_are_refused_by_line(tmp_path, text, message):
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_classes(tmp_path / "classes.txt", WORDS)


def test_classes_of_a_corpus_name_words_of_its_dictionary(tmp_path):
    file = Path(__file__).parents[2] / "manifests" / "an4_classes.txt"
    assert read_classes(file, ["A", "B", "MAY", "C"]) == {"LETTER": ("A", "B", "C"), "MONTH": ("MAY",)}
