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
        ("'hello there'", "HELLO THERE"),
        ("\u2018Hello there,\u2019 he said", "HELLO THERE HE SAID"),
        (
            '\u201chello there\u201d "and then" \u00abbonjour \u00e0 tous\u00bb',
            "HELLO THERE AND THEN BONJOUR \u00c0 TOUS",
        ),
        ("``hello there'' \u2039oui madame\u203a", "HELLO THERE OUI MADAME"),
        ("\u201ahallo welt\u2018, sagte er\u201a ja", "HALLO WELT SAGTE ER JA"),
        ("it was 'don't stop now' again", "IT WAS DON'T STOP NOW AGAIN"),
        ("'the dogs' dinner was cold'", "THE DOGS' DINNER WAS COLD"),
        ("'he said 'the dogs' food' and left.'", "HE SAID THE DOGS' FOOD AND LEFT"),
        ("'all the big dogs,' she said", "ALL THE BIG DOGS SHE SAID"),
        ("'all the big dogs'", "ALL THE BIG DOGS"),
        ("'ello, 'tis the dogs' day in the '90s", "'ELLO 'TIS THE DOGS' DAY IN THE '90S"),
        ("goin' home in ol' boots", "GOIN' HOME IN OL' BOOTS"),
        ("rock 'n' roll o'clock", "ROCK N ROLL O'CLOCK"),
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


@given(st.one_of(st.text(), st.text(alphabet="'asnot9 .,-\u2018\u2019\u201a\u0149\u0301\u00ad")))
def test_normalising_twice_changes_nothing(text):
    once = normalise(text)
    assert normalise(once) == once
    assert once == " ".join(once.split())


@given(st.text(alphabet="ABCXYZ' 019"))
def test_words_of_plain_letters_and_digits_are_kept(text):
    kept = [c for c in text if c not in "' "]
    assert [c for c in normalise(text) if c not in "' "] == kept
