"""How words are pronounced that no lexicon has, by language: a dictionary, espeak-ng's phonemes, or their letters."""

from collections.abc import Callable, Sequence
from typing import Literal

from asr_kd.corpora.languages import ENGLISH, language_name
from asr_kd.corpora.phonemes import phonemes, voices
from asr_kd.inventory.lexicon import Found, by_cmudict, graphemes
from asr_kd.inventory.senones import Senones

Kind = Literal["auto", "cmudict", "espeak", "graphemes"]


PRONUNCIATIONS_HELP = (
    "pronunciations of words that --lexicon lacks: cmudict (English), espeak (phonemes of espeak-ng, about 100 "
    "languages, extra `voices`) or graphemes (letters); auto: "
)
"""What the field `pronunciations` of a command does; behind it, what `auto` means there."""


def pronouncer(kind: Kind, language: str) -> Callable[[Sequence[str]], Found]:
    """What pronounces the words of a language. auto: cmudict for English, graphemes for others.

    Words that cmudict or espeak-ng do not have are pronounced by their letters.
    ValueError when the language has none of the kind, or espeakng-loader is missing.
    """
    if kind == "cmudict" or (kind == "auto" and language == ENGLISH):
        if language != ENGLISH:
            raise ValueError(
                f"--pronunciations cmudict: the texts are {language_name(language)}, cmudict is English. "
                "Take espeak or graphemes."
            )
        return by_cmudict
    if kind == "espeak":
        if language not in voices():
            phonemes([], language)
        return lambda words: _by_espeak(words, language)
    return lambda words: {word: ([_letters(word, language)], "graphemes") for word in words}


def kind_of(inventory: Senones) -> Kind:
    """The kind that the phones of an inventory came from, as far as they show it: for words that are met later."""
    if any(not phone.startswith("_") and not phone.isascii() for phone in inventory.phones):
        return "espeak"
    return "cmudict" if inventory.language == ENGLISH else "graphemes"


def _by_espeak(words: Sequence[str], language: str) -> Found:
    said = phonemes(words, language)
    return {
        word: ([said[word]], "espeak") if word in said else ([_letters(word, language)], "graphemes") for word in words
    }


def _letters(word: str, language: str) -> tuple[str, ...]:
    return graphemes(word, marks=language != ENGLISH)
