import pytest

pytest.importorskip("espeakng_loader", reason="needs the extra voices")

from asr_kd.corpora.phonemes import _KNOWN, phonemes, voices


def test_about_a_hundred_languages_have_voices():
    assert len(voices()) >= 100 and {"de", "fr", "zh", "ar", "hi", "uk", "sw"} <= set(voices())


def test_phones_keep_length_and_diacritics_and_lose_stress():
    assert phonemes(["GRÖẞE", "STRAẞE", "HEIZUNG"], "de") == {
        "GRÖẞE": ("ɡ", "ɾ", "øː", "s", "ə"),
        "STRAẞE": ("ʃ", "t", "ɾ", "ɑː", "s", "ə"),
        "HEIZUNG": ("h", "aɪ", "ts", "ʊ", "ŋ"),
    }
    assert phonemes(["BON", "L'HOMME"], "fr") == {"BON": ("b", "ɔ̃"), "L'HOMME": ("l", "ɔ", "m")}
    assert phonemes(["ILIK"], "tr") == {"ILIK": ("ɯ", "ɫ", "ɯ", "k")}


def test_languages_do_not_disturb_each_other():
    words = {"de": ["GEHEN", "JA"], "es": ["JAMÓN", "VOSOTROS"], "en": ["JAM", "THE"], "ru": ["ПРИВЕТ"]}
    first = {language: phonemes(said, language) for language, said in words.items()}
    _KNOWN.clear()
    again = {language: phonemes(said, language) for language, said in reversed(words.items())}
    assert first == again
    _KNOWN.clear()
    assert phonemes(["JA"], "de")["JA"] == first["de"]["JA"]  # a word is pronounced alone as among others


@pytest.mark.parametrize("language", ["ja", "th", "bo"])
def test_a_language_without_a_voice_is_refused_with_those_that_have_one(language: str):
    with pytest.raises(ValueError, match=r"espeak-ng has no pronunciations of .*It has af, am, .* zh\."):
        phonemes(["A"], language)


def test_a_word_without_sound_is_left_out():
    assert phonemes(["''"], "de") == {}
