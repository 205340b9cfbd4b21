import json

import pytest

from asr_kd.corpora.spoken_numbers import spell_numbers
from asr_kd.corpora.text import normalise

pytest.importorskip("num2words", reason="needs the extra languages")


@pytest.mark.parametrize(
    ("language", "text", "words"),
    [
        ("de", "3,5 Grad, 1.250 Euro", "DREI KOMMA FÜNF GRAD EINTAUSENDZWEIHUNDERTFÜNFZIG EURO"),
        ("de", "007 B2", "NULL NULL SIEBEN B ZWEI"),
        ("en", "1,250.5", "ONE THOUSAND TWO HUNDRED AND FIFTY POINT FIVE"),
        ("fr", "80 et 1\u202f000", "QUATRE VINGTS ET MILLE"),
        ("uk", "3,14", "ТРИ КОМА ЧОТИРНАДЦЯТЬ"),
        ("ar", "١٢", "اثنا عشر"),
        ("ja", "42", "四 十 二"),
        ("kk", "5", "БЕС"),
        ("es", "no hay", "NO HAY"),
    ],
)
def test_numbers_are_read_as_the_language_writes_them(language: str, text: str, words: str):
    assert normalise(spell_numbers(text, language), language) == words


@pytest.mark.parametrize("language", ["am", "de", "it", "th"])
def test_long_numbers_are_read_digit_by_digit_at_once(language: str):
    assert not any(c.isdigit() for c in spell_numbers("9" * 400 + " 999999999", language))


def test_a_language_without_number_words_is_refused_with_those_that_have_them():
    with pytest.raises(ValueError, match=r"num2words has no Chinese \(zh\)\. It knows am, ar"):
        spell_numbers("5", "zh")


def test_prepare_spells_numbers_where_it_is_asked(tmp_path):
    import numpy as np
    import soundfile

    from asr_kd.cli import main

    soundfile.write(tmp_path / "a.wav", np.zeros(16000) + 0.1, 16000)
    (tmp_path / "a.txt").write_text("um 21 Uhr")
    for option, text in (([], "UM 21 UHR"), (["--spell-numbers"], "UM EINUNDZWANZIG UHR")):
        command = ["prepare", "folder", str(tmp_path), "--language", "de", "--dev-fraction", "0", *option]
        assert main([*command, "--out", str(tmp_path / "out")]) == 0
        line = json.loads((tmp_path / "out/labelled.jsonl").read_text())
        assert (line["text"], line["lang"]) == (text, "de")
