import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_kd.inventory.lexicon import SILENCE, Lexicon, graphemes, strip_stress

PHONES = st.sampled_from(["AH", "B", "K", "_Q", "_7"])
LEXICONS = st.dictionaries(
    st.text(alphabet="ABC'É", min_size=1, max_size=4),
    st.lists(st.lists(PHONES, min_size=1, max_size=4).map(tuple), min_size=1, max_size=3),
    min_size=1,
)


@given(LEXICONS)
def test_what_is_written_is_read_back(tmp_path_factory, pronunciations):
    path = tmp_path_factory.mktemp("lexicon") / "lexicon.txt"
    lexicon = Lexicon(pronunciations)
    lexicon.write(path)
    again = Lexicon.read(path)
    assert again.pronunciations == lexicon.pronunciations
    assert again.words == sorted(pronunciations)
    assert again.phones[0] == SILENCE and again.phones[1:] == sorted(again.phones[1:])


def test_stress_is_dropped_and_repeated_pronunciations_count_once(tmp_path):
    path = tmp_path / "lexicon.txt"
    path.write_text("A AH0\n\nA  EY1\nA AH1\nTHE DH AH0\n")
    assert Lexicon.read(path).pronunciations == {"A": [("AH",), ("EY",)], "THE": [("DH", "AH")]}
    assert [strip_stress(p) for p in ("OW2", "_2", "NG", "SIL")] == ["OW", "_2", "NG", "SIL"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"A AH\nBEE\n", r"lexicon\.txt:2: BEE has no phones"),
        (b"\n  \n", r"lexicon\.txt: holds no pronunciation"),
        (b"\xff\xfe\x00A", r"lexicon\.txt:1: not UTF-8 text"),
        (None, r"lexicon\.txt: no such file"),
    ],
)
def test_a_broken_lexicon_is_named_with_its_line(tmp_path, content, message):
    if content is not None:
        (tmp_path / "lexicon.txt").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        Lexicon.read(tmp_path / "lexicon.txt")


def test_a_folder_is_no_lexicon(tmp_path):
    with pytest.raises(ValueError, match="a folder, not a file"):
        Lexicon.read(tmp_path)


def test_unknown_words_come_from_cmudict_and_else_letter_by_letter():
    lexicon = Lexicon({"GO": [("G", "UH")]})
    extended, sources = lexicon.extended(["GO", "READ", "XQZ'S"])
    assert sources == {"READ": "cmudict", "XQZ'S": "graphemes"}
    assert extended.pronunciations["GO"] == [("G", "UH")], "the corpus's own pronunciation stays"
    assert set(extended.pronunciations["READ"]) == {("R", "EH", "D"), ("R", "IY", "D")}
    assert extended.pronunciations["XQZ'S"] == [("_X", "_Q", "_Z", "_S")]
    assert "READ" not in lexicon
    assert extended.extended(["GO", "READ"]) == (extended, {})


def test_a_word_without_letters_cannot_be_pronounced():
    with pytest.raises(ValueError, match="without a letter or digit"):
        graphemes("''")
