import numpy as np
import pytest

from asr_kd.align.flat_start import (
    FlatStartConfig,
    Speech,
    align_all,
    flat_start,
    retie,
    text_graphs,
    tie_states,
    uniform_alignment,
    windows,
)
from asr_kd.align.gaussians import FRAMES_PER_STEP
from asr_kd.inventory.lexicon import Lexicon
from asr_kd.inventory.senones import NO_PHONE, Senones
from asr_kd.inventory.tree import TreeConfig

LEXICON = Lexicon({"AB": [("A", "B")], "CAD": [("C", "A", "D")], "DO": [("D", "O")], "BOB": [("B", "O", "B")]})
PHONES = LEXICON.phones
MONO = Senones.monophone(PHONES)
DIM = 8
SMALL = FlatStartConfig(
    mono_iterations=12,
    mono_gaussians=20,
    triphone_iterations=4,
    triphone_gaussians=40,
    tree=TreeConfig(20, min_count=15),
)


def silent(_):
    pass


def speak(rng, words, pauses=0.4, steps=(2, 8)):
    """Made-up speech: each phone is a Gaussian of its own. Returns it with the phone of each 30 ms step."""
    means = np.random.default_rng(99).normal(scale=4, size=(len(PHONES), DIM))
    means[:, 0] = 4.0  # the first feature is loudness
    means[0, 0] = -6.0
    phones = ["SIL"]
    for i, word in enumerate(words):
        phones += LEXICON.pronunciations[word][0]
        if i == len(words) - 1 or rng.random() < pauses:
            phones.append("SIL")
    numbers = np.repeat([PHONES.index(p) for p in phones], rng.integers(*steps, size=len(phones)))
    x_NF = means[np.repeat(numbers, FRAMES_PER_STEP)] + rng.normal(size=(FRAMES_PER_STEP * len(numbers), DIM))
    return Speech("u", x_NF.astype(np.float32), list(words)), numbers


def corpus(seed=0, utterances=24):
    rng = np.random.default_rng(seed)
    return [speak(rng, rng.choice(LEXICON.words, size=rng.integers(2, 6)).tolist()) for _ in range(utterances)]


@pytest.fixture(scope="module")
def spoken():
    return corpus()


@pytest.fixture(scope="module")
def mono(spoken):
    """Senones, Gaussians and alignments without context."""
    config = FlatStartConfig(mono_iterations=12, mono_gaussians=20, triphone_iterations=0)
    speech = [s for s, _ in spoken]
    inventory, gaussians = flat_start(speech, LEXICON, PHONES, config, silent)
    return inventory, gaussians, align_all(speech, text_graphs(speech, LEXICON, inventory), gaussians)


def edges(numbers):
    return np.flatnonzero(np.diff(numbers)) + 1


def test_flat_start_finds_the_phones_in_unsegmented_speech(spoken, mono):
    inventory, _, alignments = mono
    spoken_phones = len(PHONES) - 1
    off = []
    for (_, reference), classes in zip(spoken, alignments, strict=True):
        found = np.where(classes == 0, 0, (classes - 1) % spoken_phones + 1)
        assert found[edges(found) - 1].tolist() == reference[edges(reference) - 1].tolist(), (
            "the same phones and pauses"
        )
        off += np.abs(edges(found) - edges(reference)).tolist()
    assert np.mean(np.array(off) <= 1) > 0.98, "boundaries are right to a frame of 30 ms"
    assert max(off) <= 2
    assert inventory == MONO


def test_tied_states_keep_the_phones_apart(spoken):
    speech = [s for s, _ in spoken]
    said = []
    inventory, gaussians = flat_start(speech, LEXICON, PHONES, SMALL, said.append)
    assert (
        MONO.num_classes - 2 <= inventory.num_classes <= 21 and f"{inventory.num_classes} classes after tying" in said
    )
    assert any("24 of 24 utterances" in line for line in said)
    counts = np.zeros((inventory.num_classes, len(PHONES)))
    for (_, reference), classes in zip(
        spoken, align_all(speech, text_graphs(speech, LEXICON, inventory), gaussians), strict=True
    ):
        np.add.at(counts, (classes, reference), 1)
    assert counts.max(1).sum() / counts.sum() > 0.97, "nearly all frames of a class are of one phone"


def test_the_same_speech_gives_the_same_inventory(spoken):
    speech = [s for s, _ in spoken[:8]]
    config = FlatStartConfig(
        mono_iterations=4, mono_gaussians=15, triphone_iterations=1, tree=TreeConfig(15, min_count=10)
    )
    first, _ = flat_start(speech, LEXICON, PHONES, config, silent)
    second, _ = flat_start(speech, LEXICON, PHONES, config, silent)
    assert first.fingerprint == second.fingerprint


def test_a_phone_without_speech_has_classes_and_breaks_nothing(spoken):
    speech = [s for s, _ in spoken[:8]]
    config = FlatStartConfig(
        mono_iterations=4, mono_gaussians=15, triphone_iterations=2, tree=TreeConfig(15, min_count=10)
    )
    inventory, gaussians = flat_start(speech, LEXICON, [*PHONES, "ZH"], config, silent)
    unheard = inventory.senones(1, len(PHONES), NO_PHONE)
    assert all(0 < c < inventory.num_classes for c in unheard)
    assert np.isfinite(gaussians.scores(speech[0].features_NF)).all()


def test_uniform_alignment_puts_silence_where_it_is_quiet():
    speech, reference = speak(np.random.default_rng(3), ["CAD"], steps=(10, 11))
    classes = uniform_alignment(speech, LEXICON, MONO)
    assert (classes == 0).tolist() == (reference == 0).tolist()
    states = [c for p in ("C", "A", "D") for c in MONO.senones(NO_PHONE, PHONES.index(p), NO_PHONE)]
    assert classes[classes > 0].tolist() == np.repeat(states, 5).tolist()


def test_speech_that_is_too_short_for_its_text_is_set_aside_not_fatal(spoken):
    speech = [s for s, _ in spoken[:6]]
    x_NF = speech[0].features_NF
    odd = [
        Speech("short", x_NF[:8], ["CAD"]),  # two steps for three phones
        Speech("one frame", x_NF[:2], ["AB"]),
        Speech("empty", x_NF[:0], ["AB"]),
        Speech("no text", x_NF, []),
    ]
    assert [uniform_alignment(s, LEXICON, MONO) for s in odd] == [None] * 4
    config = FlatStartConfig(
        mono_iterations=5, mono_gaussians=12, triphone_iterations=1, tree=TreeConfig(15, min_count=10)
    )
    inventory, gaussians = flat_start(odd + speech, LEXICON, PHONES, config, silent)
    alignments = align_all(odd + speech, text_graphs(odd + speech, LEXICON, inventory), gaussians)
    assert [a is None for a in alignments] == [True] * 4 + [False] * 6
    assert [len(a) for a in alignments[4:]] == [s.steps for s in speech]
    with pytest.raises(ValueError, match="no utterance could be aligned"):
        flat_start(odd, LEXICON, PHONES, config, silent)


def test_every_phone_may_take_a_single_frame(mono):
    _, gaussians, _ = mono
    speech, reference = speak(np.random.default_rng(5), ["CAD", "DO"], pauses=0, steps=(1, 2))
    (classes,) = align_all([speech], text_graphs([speech], LEXICON, MONO), gaussians)
    assert classes is not None
    found = np.where(classes == 0, 0, (classes - 1) % (len(PHONES) - 1) + 1)
    assert np.mean(found == reference) > 0.7


def test_contexts_are_read_off_an_alignment():
    a, b = PHONES.index("A"), PHONES.index("B")
    (a0, a1), (b0, b1) = MONO.senones(0, a, 0), MONO.senones(0, b, 0)
    alignment = np.array([0, a0, a0, a1, b0, b1, 0, b0, b0, b1, b0])
    read = windows(alignment, MONO)
    expected = [
        *[((0, a, b), 0, 1), ((0, a, b), 0, 2), ((0, a, b), 1, 3)],
        *[((a, b, 0), 0, 4), ((a, b, 0), 1, 5)],
        *[((0, b, b), 0, 7), ((0, b, b), 0, 8), ((0, b, b), 1, 9)],
        ((b, b, NO_PHONE), 0, 10),  # the state fell back: another B
    ]
    assert read == expected
    tree = (((-1, (a,), 1, 2, -1), (0, (), -1, -1, 0), (0, (), -1, -1, 1)), ((0, (), -1, -1, 2),))
    tied = Senones(tuple(PHONES), tree)
    assert retie(alignment, MONO, tied).tolist() == [0, 2, 2, 3, 1, 3, 0, 2, 2, 3, 2]
    assert alignment[1] == a0, "the alignment itself stays"
    assert retie(None, MONO, tied) is None


def test_states_that_no_frame_reached_are_named():
    inventory = Senones.monophone(PHONES, states=3)
    speech = Speech("u", np.zeros((6, DIM), dtype=np.float32), ["AB"])
    alignment = np.array([inventory.senones(0, 1, 0)[0], inventory.senones(0, 2, 0)[1]])
    with pytest.raises(ValueError, match=r"state 3 of the phones has not a single frame. Set flat_start\.states lower"):
        tie_states([speech], [alignment], inventory, TreeConfig())


class Stopped(Exception):
    pass


@pytest.mark.parametrize("at", ["round 5/12", "round 10/12", "classes after tying", "round 4/4"])
def test_an_interrupted_flat_start_goes_on_to_the_same_result(spoken, tmp_path, at):
    speech, file = [s for s, _ in spoken], tmp_path / "flat_start.npz"
    said = []

    def stop(line):
        said.append(line)
        if at in line:
            raise Stopped

    with pytest.raises(Stopped):
        flat_start(speech, LEXICON, PHONES, SMALL, stop, file)
    before = len(said)
    inventory, gaussians = flat_start(speech, LEXICON, PHONES, SMALL, said.append, file)
    assert said[before].startswith("goes on after round ")
    assert (at in "".join(said[before + 1 :])) == (at == "classes after tying"), "rounds are not done twice"
    whole, whole_gaussians = flat_start(speech, LEXICON, PHONES, SMALL, silent)
    assert inventory.fingerprint == whole.fingerprint
    for s in speech:
        assert np.array_equal(gaussians.scores(s.features_NF), whole_gaussians.scores(s.features_NF))
    assert [p.name for p in tmp_path.iterdir()] == ["flat_start.npz"]


def test_the_state_of_another_flat_start_or_a_damaged_one_is_not_gone_on_from(spoken, tmp_path, capsys):
    speech, file = [s for s, _ in spoken[:8]], tmp_path / "flat_start.npz"
    config = FlatStartConfig(mono_iterations=2, mono_gaussians=15, triphone_iterations=0)
    others = [
        (speech[1:], LEXICON, PHONES, config),
        (speech, Lexicon({**LEXICON.pronunciations, "DO": [("D", "A")]}), PHONES, config),
        (speech, LEXICON, [*PHONES, "ZH"], config),
        (speech, LEXICON, PHONES, FlatStartConfig(mono_iterations=2, mono_gaussians=16, triphone_iterations=0)),
        ([*speech[:7], Speech(speech[7].id, speech[7].features_NF + 1, speech[7].words)], LEXICON, PHONES, config),
    ]
    for other in others:
        flat_start(speech, LEXICON, PHONES, config, silent, file)
        said = []
        flat_start(*other, said.append, file)
        assert not any("goes on" in line for line in said)
        assert "of other speech, texts or settings. The flat start begins anew." in capsys.readouterr().err
    good = file.read_bytes()
    for damaged in (good[:-100], b"", good[:500] + bytes([good[500] ^ 1]) + good[501:]):
        file.write_bytes(damaged)
        flat_start(*others[-1], silent, file)
        assert "flat_start.npz: damaged. The flat start begins anew." in capsys.readouterr().err
