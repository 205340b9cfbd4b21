"""The normaliser's decisions, one a line, and its invariants."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_kd.corpora.text import normalise


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("Hello, world!", "HELLO WORLD"),
        ("don\u2019t", "DON'T"),
        ("'tis the dogs' day", "'TIS THE DOGS' DAY"),
        ("he said 'stop' twice", "HE SAID STOP TWICE"),
        ("twenty-one  U.S. dollars", "TWENTY ONE U S DOLLARS"),
        ("room 42", "ROOM 42"),
        ("caf\u00e9", "CAF\u00c9"),
        ("cafe\u0301", "CAF\u00c9"),
        ("\uff28\uff29", "HI"),
        ("stra\u00dfe", "STRASSE"),
        (" \t\n- ' -- ", ""),
        ("", ""),
    ],
)
def test_decisions(text, normal):
    assert normalise(text) == normal


@given(st.text())
def test_normalising_twice_changes_nothing(text):
    once = normalise(text)
    assert normalise(once) == once
    assert once == " ".join(once.split())


@given(st.text(alphabet="ABCXYZ' 019"))
def test_words_of_plain_letters_and_digits_are_kept(text):
    kept = [c for c in text if c not in "' "]
    assert [c for c in normalise(text) if c not in "' "] == kept
