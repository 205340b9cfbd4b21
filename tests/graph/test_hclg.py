import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import asr_kd.graph  # noqa: F401  the Kaldi libraries, in the one order that works
from asr_kd.graph.hclg import TextGraphs, decoding_graph
from asr_kd.graph.ngram import read_arpa, train_ngram
from asr_kd.graph.search import Decoder, SearchConfig
from asr_kd.inventory.lexicon import Lexicon
from asr_kd.inventory.senones import NO_PHONE, Senones
from asr_kd.inventory.tree import Stats, TreeConfig, build_trees

LEXICON = Lexicon(
    {
        "A": [("A",)],
        "ACT": [("A", "K", "T")],
        "CAT": [("K", "A", "T"), ("K", "A")],
        "T": [("T",)],  # CAT T sounds like CAT
        "TACK": [("T", "A", "K")],
        "TAC": [("T", "A", "K")],
    }
)
SENTENCES = ["CAT ACT", "CAT TACK", "TACK A CAT", "A CAT", "ACT TAC", "CAT T"]
PHONES = LEXICON.phones
MONO = Senones.monophone(PHONES)
WIDE = SearchConfig(beam=40.0, max_active=5000, lattice_beam=30.0)
PAUSE_COST = math.log(2)  # with or without a pause: each has probability 1/2
TOLERANCE = 0.02  # Kaldi's operations round weights to 1/1024


def tied_inventory(seed, leaves=14, **topology):
    """Random trees: which contexts share a class is arbitrary, so that every context in a graph must be right."""
    rng = np.random.default_rng(seed)
    everything = range(len(PHONES))
    windows = list(itertools.product([NO_PHONE, *everything], everything[1:], [NO_PHONE, *everything]))
    stats = [{w: Stats(1.0, x, x**2) for w in windows for x in [rng.normal(size=2)]} for _ in range(2)]
    trees = build_trees(stats, [(p,) for p in everything], TreeConfig(leaves=leaves, min_count=1))
    return Senones(tuple(PHONES), tuple(tuple(map(tuple, t.to_list())) for t in trees), **topology)


def senones_of(phones, inventory):
    """Classes of a sequence of phone names, each state for one frame."""
    numbers = [NO_PHONE, *(inventory.phones.index(p) for p in phones), NO_PHONE]
    triples = zip(numbers, numbers[1:], numbers[2:], strict=False)
    return [c for left, phone, right in triples for c in inventory.senones(left, phone, right)]


def planted(classes, inventory, penalty=50.0):
    """Scores that are 0 for the given classes and worse by `penalty` for all others."""
    score_TC = np.full((len(classes), inventory.num_classes), -penalty)
    score_TC[np.arange(len(classes)), classes] = 0
    return score_TC


def cost_of(words, model):
    """-ln P of a sentence, and of the choice at each word's edge whether to pause."""
    tokens = ["<s>", *words, "</s>"]
    log10_p = sum(model.log10_prob(tokens[i], tokens[:i]) for i in range(1, len(tokens)))
    return -log10_p * math.log(10) + (len(words) + 1) * PAUSE_COST


def spoken_as(words):
    """All phone sequences of a word sequence: pronunciations and pauses."""
    options = [[(), ("SIL",)]]
    for word in words:
        options += [LEXICON.pronunciations[word], [(), ("SIL",)]]
    return [tuple(itertools.chain(*choice)) for choice in itertools.product(*options)]


def graph_of(tmp_path, inventory, lexicon=LEXICON, sentences=SENTENCES, order=2):
    train_ngram(sentences, lexicon.words, order).write_arpa(tmp_path / "lm.arpa")
    return *decoding_graph(inventory, lexicon, tmp_path / "lm.arpa"), read_arpa(tmp_path / "lm.arpa")


INVENTORIES = {
    "mono": MONO,
    "mono without skip": Senones.monophone(PHONES, states=3, silence_states=2, skip=False),
    "tied": tied_inventory(0),
    "tied without skip": tied_inventory(1, skip=False),
    "hardly told apart": tied_inventory(2, leaves=5),
}


@pytest.mark.parametrize("inventory", INVENTORIES.values(), ids=INVENTORIES)
def test_the_graph_is_the_language_model_over_all_pronunciations(tmp_path, inventory):
    """Against brute force: of all word sequences that sound like what was planted, the likeliest, at its cost."""
    fst, words, model = graph_of(tmp_path, inventory)
    searcher = Decoder(fst, WIDE)
    best = {}  # by what is heard: the lowest cost of a word sequence of up to three words
    for n in range(4):
        for sentence in itertools.product(LEXICON.words, repeat=n):
            cost = cost_of(sentence, model)
            for classes in {tuple(senones_of(p, inventory)) for p in spoken_as(sentence)}:
                best[classes] = min(best.get(classes, math.inf), cost)
    rng = np.random.default_rng(0)
    for sentence in [("CAT",), ("TAC", "CAT"), ("A", "CAT"), ("ACT", "A", "TACK"), ("A", "A", "A"), ("CAT", "T"), ()]:
        heard = spoken_as(sentence)
        for phones in [heard[i] for i in rng.integers(len(heard), size=4)]:
            classes = senones_of(phones, inventory)
            if not classes:
                continue
            path = searcher.best(planted(classes, inventory))
            found = [words[w] for w in path.words]
            assert path.complete
            assert list(path.classes) == classes
            if len(found) <= 3:
                assert path.cost == pytest.approx(best[tuple(classes)], abs=TOLERANCE)
            assert path.cost == pytest.approx(cost_of(found, model), abs=TOLERANCE)
            assert path.cost <= cost_of(sentence, model) + TOLERANCE


@pytest.mark.parametrize("winner", ["TACK", "TAC"])
def test_the_language_model_decides_between_homophones(tmp_path, winner):
    fst, words, _ = graph_of(tmp_path, MONO, sentences=["TACK", "TAC", *[f"CAT {winner}"] * 3])
    paths = Decoder(fst, WIDE).n_best(planted(senones_of("KATTAK", MONO), MONO), 5)
    said = [[words[w] for w in p.words] for p in paths]
    assert said[0] == ["CAT", winner]
    assert ["CAT", "TAC" if winner == "TACK" else "TACK"] in said


def test_words_that_share_all_states_are_told_apart_by_the_language_model(tmp_path):
    lexicon = Lexicon({"AT": [("A", "T")], "KA": [("K", "A")], "TT": [("T", "T")]})
    one_class = ((0, (), -1, -1, 0),), ((0, (), -1, -1, 1),)
    inventory = Senones(tuple(lexicon.phones), one_class)
    fst, words, _ = graph_of(tmp_path, inventory, lexicon, ["KA", "KA", "AT AT"])
    path = Decoder(fst, WIDE).best(planted([1, 2, 1, 2], inventory))
    assert [words[w] for w in path.words] == ["KA"]


def test_words_beyond_the_text_can_be_recognised(tmp_path):
    fst, words, model = graph_of(tmp_path, MONO, sentences=["A A"])
    path = Decoder(fst, WIDE).best(planted(senones_of("AKT", MONO), MONO))
    assert [words[w] for w in path.words] == ["ACT"]
    assert path.cost == pytest.approx(cost_of(["ACT"], model), abs=TOLERANCE)


def test_phones_last_one_frame_or_many(tmp_path):
    fst, words, _ = graph_of(tmp_path, MONO)
    for frames in ([1] * 6, [5, 1, 30, 2, 1, 7]):
        classes = np.repeat(senones_of("TAK", MONO), frames)
        path = Decoder(fst, WIDE).best(planted(classes, MONO))
        assert [words[w] for w in path.words] == ["TACK"] and (path.classes == classes).all()
    first_states = senones_of("KAT", MONO)[::2]  # with skip, a frame a phone is enough
    path = Decoder(fst, WIDE).best(planted(first_states, MONO))
    assert [words[w] for w in path.words] == ["CAT"] and list(path.classes) == first_states


def test_a_phone_that_the_inventory_lacks_is_named():
    with pytest.raises(ValueError, match="lexicon: DOG has phone D, which the inventory lacks"):
        TextGraphs(MONO, Lexicon({"DOG": [("D", "A")]}))


def test_symbols_of_graphs_are_no_words():
    with pytest.raises(ValueError, match="lexicon: </s> is a symbol of graphs"):
        TextGraphs(MONO, Lexicon({"A": [("A",)], "</s>": [("A",)]}))


@settings(max_examples=40)
@given(
    inventory=st.sampled_from(list(INVENTORIES.values())),
    words=st.lists(st.sampled_from(LEXICON.words), min_size=1, max_size=4),
    data=st.data(),
)
def test_forced_alignment_finds_a_known_state_sequence(inventory, words, data):
    phones = data.draw(st.sampled_from(spoken_as(words)))
    states = senones_of(phones, inventory)
    frames = data.draw(st.lists(st.integers(1, 6), min_size=len(states), max_size=len(states)))
    classes = np.repeat(states, frames)
    score_TC = planted(classes, inventory, penalty=8.0) - np.random.default_rng(len(classes)).uniform(
        0, 3, (len(classes), inventory.num_classes)
    )
    graphs = TextGraphs(inventory, LEXICON)
    path = Decoder(graphs.compile(words), WIDE).best(score_TC)
    assert path.complete
    assert (path.classes == classes).all()
    assert [graphs.symbols.words[w] for w in path.words] == words


@pytest.mark.parametrize("skip", [True, False])
def test_forced_alignment_is_the_viterbi_path(skip):
    inventory = Senones.monophone(PHONES, states=3, silence_states=2, skip=skip)
    rng = np.random.default_rng(0)
    graphs = TextGraphs(inventory, LEXICON)
    for words, frames in ((["ACT"], 9), (["TACK", "A"], 14), (["A", "A", "TAC"], 40)):
        score_TC = rng.normal(scale=3, size=(frames, inventory.num_classes))
        path = Decoder(graphs.compile(words), SearchConfig(beam=1e4, max_active=10**6)).best(score_TC)
        pauses = (len(words) + 1) * PAUSE_COST
        assert path.cost == pytest.approx(pauses - viterbi(words, score_TC, inventory), abs=0.01)
        assert path.cost == pytest.approx(pauses - score_TC[np.arange(frames), path.classes].sum(), abs=0.01)


def viterbi(words, score_TC, inventory):
    """The best score of any alignment, by brute force over pauses and a table over frames and states."""

    def of_phones(phones):
        hmms = [senones_of([p], inventory) for p in phones]
        classes = [c for hmm in hmms for c in hmm]
        starts = np.cumsum([0, *map(len, hmms)])[:-1].tolist()
        ends = {i: k for k, (s, hmm) in enumerate(zip(starts, hmms, strict=True)) for i in range(s, s + len(hmm))}
        may_leave = [inventory.skip or i + 1 in (*starts, len(classes)) for i in range(len(classes))]
        best = np.full(len(classes), -np.inf)
        for t, score_C in enumerate(score_TC):
            new = np.full(len(classes), -np.inf)
            for i in range(len(classes)):
                before = [best[i], best[i - 1] if i not in starts else -np.inf]
                if i in starts:
                    before += [best[j] for j in range(i) if ends[j] == ends[i] - 1 and may_leave[j]]
                    before += [0.0] if i == 0 and t == 0 else []
                new[i] = max(before) + score_C[classes[i]]
            best = new
        return max(best[j] for j in range(len(classes)) if ends[j] == len(hmms) - 1 and may_leave[j])

    return max(of_phones(phones) for phones in spoken_as(words))


def test_a_text_that_does_not_fit_gives_no_complete_path():
    graphs = TextGraphs(MONO, LEXICON)
    for frames, fits in ((2, False), (3, True)):  # three phones need three frames
        path = Decoder(graphs.compile(["ACT"]), WIDE).best(np.zeros((frames, MONO.num_classes)))
        assert path.complete == fits


def test_words_to_align_must_be_known():
    graphs = TextGraphs(MONO, LEXICON)
    with pytest.raises(ValueError, match="DOG: not in the lexicon"):
        graphs.compile(["CAT", "DOG"])
    with pytest.raises(ValueError, match="the text is empty"):
        graphs.compile([])
