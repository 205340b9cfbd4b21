import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_kd.cli import main
from asr_kd.inventory.inventory import INVENTORY_FILE
from asr_kd.inventory.registry import inventory_from_dict, load_inventory, require_senones
from asr_kd.inventory.tokens import BLANK, SPACE, Tokens, ctc_collapse

LETTERS = "ABCÉ'7"
WORDS = st.text(LETTERS, min_size=1, max_size=8)
TEXTS = st.lists(WORDS, max_size=6).map(" ".join)
PIECES = st.sets(st.text(LETTERS, min_size=1, max_size=4), max_size=12)
LED_PIECES = st.sets(st.text(LETTERS, min_size=1, max_size=3).map(lambda piece: SPACE + piece), max_size=6)


@given(TEXTS)
def test_a_text_spelt_in_characters_is_read_again(text):
    tokens = Tokens.characters(LETTERS)
    assert tokens.decode(tokens.encode(text)) == text
    assert len(tokens.encode(text)) == sum(len(word) + 1 for word in text.split())


@given(TEXTS, PIECES, LED_PIECES)
def test_a_text_spelt_in_whatever_pieces_is_read_again(text, pieces, led):
    tokens = Tokens(tuple(sorted({SPACE, *LETTERS} | pieces | led)))
    assert tokens.decode(tokens.encode(text)) == text
    assert 0 not in tokens.encode(text)


def shortest(word, units):
    """Fewest units that give SPACE + word, by trying all ways."""
    text = SPACE + word

    def rest(start):
        if start == len(text):
            return 0
        return 1 + min(rest(start + len(u)) for u in units if text.startswith(u, start))

    return rest(0)


@given(WORDS, PIECES, LED_PIECES)
def test_a_word_is_spelt_in_the_fewest_units(word, pieces, led):
    units = {SPACE, *LETTERS} | pieces | led
    assert len(Tokens(tuple(sorted(units))).tokenise_word(word)) == shortest(word, units)


@given(TEXTS, st.lists(st.tuples(st.integers(1, 3), st.integers(0, 2)), min_size=60, max_size=60))
def test_what_frames_repeat_and_leave_blank_is_taken_out(text, lengths):
    tokens = Tokens.characters(LETTERS)
    classes = tokens.encode(text)
    frames = []
    for number, ((held, blanks), unit) in enumerate(zip(lengths, classes, strict=False)):
        apart = number and classes[number - 1] == unit
        frames += [0] * max(blanks, int(apart)) + [unit] * held
    assert ctc_collapse(frames) == classes[: len(lengths)]


def test_the_blank_is_class_0_and_names_are_in_order():
    tokens = Tokens.characters(["BA", "C"])
    assert tokens.symbols == (BLANK, SPACE, "A", "B", "C")
    assert tokens.tokenise_word("BA") == (1, 3, 2)
    assert tokens.num_classes == 5


def test_a_word_that_cannot_be_spelt_is_named():
    with pytest.raises(ValueError, match="ABX: cannot be spelt"):
        Tokens.characters("AB").encode("AB ABX")


def test_an_inventory_is_what_its_file_says(tmp_path):
    tokens = Tokens((SPACE, "A", SPACE + "A"), frame_shift_s=0.02)
    tokens.save(tmp_path / INVENTORY_FILE)
    assert load_inventory(tmp_path) == tokens and load_inventory(tmp_path).fingerprint == tokens.fingerprint
    assert tokens.fingerprint != Tokens((SPACE, "A", SPACE + "A")).fingerprint
    with pytest.raises(ValueError, match="exp/model: its inventory is of kind tokens; this needs senones"):
        require_senones(tokens, "exp/model")


@pytest.mark.parametrize("units", [[], ["A", "A"], [BLANK], [""], [7]])
def test_units_that_are_none_are_refused(units):
    with pytest.raises(ValueError, match="not an inventory's description"):
        inventory_from_dict({"kind": "tokens", "units": units, "frame_shift_s": 0.03})


@pytest.fixture
def manifest(tmp_path):
    lines = [
        {"id": f"u{i}", "audio_filepath": "a.wav", "duration": 1.0, "text": text}
        for i, text in enumerate(["the cat sat", "The hat, the cat!", None, "that"] * 3)
    ]
    path = tmp_path / "labelled.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_characters_of_a_manifest(manifest, tmp_path, capsys):
    assert main(["tokens", str(manifest), "--type", "characters", "--out", str(tmp_path / "out")]) == 0
    assert load_inventory(tmp_path / "out") == Tokens((SPACE, *"ACEHST"))
    assert "7 characters, 4.1 to a word" in capsys.readouterr().err


def test_pieces_of_a_manifest_spell_every_word_and_known_ones_shortly(manifest, tmp_path, capsys):
    pytest.importorskip("sentencepiece", reason="the extra `pieces` is not installed")
    options = ["--type", "unigram", "--size", "12", "--out"]
    assert main(["tokens", str(manifest), *options, str(tmp_path / "a")]) == 0
    tokens = load_inventory(tmp_path / "a")
    assert {SPACE, *"ACEHST"} < set(tokens.units) and len(tokens.units) <= 13
    assert tokens.decode(tokens.encode("CHEST AT SEA")) == "CHEST AT SEA"
    assert len(tokens.encode("THE CAT SAT")) < len("THE CAT SAT") + 1
    assert main(["tokens", str(manifest), *options, str(tmp_path / "b")]) == 0
    assert load_inventory(tmp_path / "b") == tokens
    assert main(["tokens", str(manifest), "--type", "unigram", "--size", "3", "--out", str(tmp_path / "c")]) == 2
    assert "--size 3: the text has 7 characters" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", [], "holds no text to find characters in"),
        ("a", ["--size", "9"], "--size: only used with --type unigram"),
        ("a", ["--frame-shift", "0"], "--frame-shift 0.0: it must be above 0"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, capsys, text, options, message):
    (tmp_path / "text.txt").write_text(text)
    command = ["tokens", str(tmp_path / "text.txt"), "--type", "characters", "--out", str(tmp_path / "out"), *options]
    assert main(command) == 2
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_pieces_need_an_extra_and_say_so(manifest, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    assert main(["tokens", str(manifest), "--type", "unigram", "--out", str(tmp_path / "out")]) == 2
    assert "sentencepiece is missing. Run `bash tools/setup.sh voices,dev,pieces`" in capsys.readouterr().err
