"""Text, lexicons and language models in the forms that people have them."""

import json
from pathlib import Path

import pytest

from asr_kd.cli import main
from asr_kd.corpora.text import normalise
from asr_kd.graph.ngram import read_arpa, without_context
from asr_kd.inventory.lexicon import Lexicon

ARPA = """\\data\\
ngram 1=5
ngram 2=2

\\1-grams:
-99\t<s>\t-0.3
-0.7\t</s>
-0.7\tENTER\t-0.3
-0.7\tSIX\t-0.3
-0.7\tTWO\t-0.3

\\2-grams:
-0.4\t<s> ENTER
-0.4\tENTER SIX

\\end\\
"""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("co\u00adoperate", "COOPERATE"),
        ("data\u2060base", "DATABASE"),
        ("\ufeffhello", "HELLO"),
        ("one \u2764\ufe0f two", "ONE TWO"),
        ("left\u200eto\u200fright", "LEFTTORIGHT"),
        ("nice \U0001f44d\U000e0101", "NICE"),
        ("\u0301 \u0301alone", "\u0301ALONE"),
    ],
)
def test_characters_that_nobody_sees_neither_split_nor_make_words(text: str, words: str):
    assert normalise(text).split() == words.split()
    assert normalise(normalise(text)) == normalise(text)


def _lexicon(tmp_path: Path, text: str) -> Lexicon:
    path = tmp_path / "lexicon.txt"
    path.write_bytes(text.encode())
    return Lexicon.read(path)


PLAIN = {"ENTER": [("EH", "N", "T", "ER")], "SIX": [("S", "IH", "K", "S"), ("S", "IH", "S")]}


@pytest.mark.parametrize(
    "text",
    [
        "ENTER EH N T ER\nSIX S IH K S\nSIX S IH S\n",
        "ENTER\t1.0\tEH N T ER\nSIX\t1.0\tS IH K S\nSIX\t0.2\tS IH S\n",
        "ENTER 1 EH N T ER\nSIX 1 S IH K S\nSIX 1e-3 S IH S\n".replace("1e-3", "1.0e-3"),
        "ENTER 1.0 0.2 1.1 0.9 EH N T ER\nSIX 1.0 0.2 1.1 0.9 S IH K S\nSIX 0.2 0.2 1.1 0.9 S IH S\n",
        ";;; CMU\nENTER  EH1 N T ER0 # a note\nSIX  S IH1 K S\nSIX(2)  S IH1 S\n",
        "\ufeffENTER EH N T ER\r\nSIX S IH K S\r\nSIX S IH S\r\n",
    ],
)
def test_every_common_form_of_a_lexicon_gives_the_same_pronunciations(text: str, tmp_path: Path):
    assert _lexicon(tmp_path, text).pronunciations == PLAIN


def test_a_phone_that_is_a_number_stays_where_not_every_word_has_one(tmp_path: Path):
    assert _lexicon(tmp_path, "A 1 B\nC D E\n").pronunciations == {"A": [("1", "B")], "C": [("D", "E")]}


def test_a_lower_case_lexicon_is_used_for_upper_case_text(tmp_path: Path, capsys):
    lexicon, added = _lexicon(tmp_path, "enter EH N T ER\nsix S IH S\n").extended(["ENTER", "SIX"])
    assert lexicon.pronunciations == {"ENTER": [("EH", "N", "T", "ER")], "SIX": [("S", "IH", "S")]} and not added
    assert "upper case" in capsys.readouterr().err


def test_a_word_of_endless_phones_is_refused_with_its_line(tmp_path: Path):
    with pytest.raises(ValueError, match=r"lexicon.txt:2: LONG has 100000 phones"):
        _lexicon(tmp_path, "A B\nLONG" + " X" * 100_000 + "\n")


def _graph(tmp_path: Path, arpa: bytes, name: str) -> int:
    (tmp_path / "text.txt").write_text("enter six two four yes\n")
    (tmp_path / f"{name}.arpa").write_bytes(arpa)
    if not (tmp_path / "tokens").exists():
        assert (
            main(["tokens", str(tmp_path / "text.txt"), "--type", "characters", "--out", str(tmp_path / "tokens")]) == 0
        )
    command = ["graph", "--arpa", str(tmp_path / f"{name}.arpa"), "--inventory", str(tmp_path / "tokens")]
    return main([*command, "--out", str(tmp_path / name)])


def test_line_ends_and_byte_order_marks_of_an_arpa_file_change_no_graph(tmp_path: Path):
    forms = {"plain": ARPA, "crlf": ARPA.replace("\n", "\r\n"), "bom": "\ufeff" + ARPA}
    digests = set()
    for name, text in forms.items():
        assert _graph(tmp_path, text.encode(), name) == 0
        digests.add(json.loads((tmp_path / name / "graph.json").read_text())["sha256"])
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("-0.7\tTWO", "-inf\tTWO"),
        ("-0.7\tTWO", "nan\tTWO"),
        ("-0.7\tTWO", "-1e400\tTWO"),
        ("TWO\t-0.3", "TWO\tinf"),
        ("TWO", "<eps>"),
        ("TWO", "#0"),
        ("TWO", "#17"),
        ("TWO", "T\0O"),
        ("TWO", "SIX"),
    ],
)
def test_what_would_end_the_process_in_an_arpa_file_is_one_line(old: str, new: str, tmp_path: Path, capsys):
    assert _graph(tmp_path, ARPA.replace(old, new).encode(), "bad") == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "bad.arpa:10" in last


def test_n_grams_without_their_context_are_counted(tmp_path: Path):
    (tmp_path / "x.arpa").write_text(ARPA.replace("ENTER SIX", "FOUR SIX"))
    assert without_context(read_arpa(tmp_path / "x.arpa")) == [("FOUR", "SIX")]
