"""How words are pronounced: espeak-ng's phonemes in the International Phonetic Alphabet, of about 100 languages."""

import ctypes
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from asr_kd.core.text_files import read_lines
from asr_kd.corpora.languages import LANGUAGES, language_code, language_name
from asr_kd.corpora.text import has_spaces, lower_case
from asr_kd.corpora.tts import espeak_data, loaded, start

_CHARS_UTF8 = 1
_BETWEEN = "|"
_IPA_WITH_SEPARATOR = 0x02 | ord(_BETWEEN) << 8
_STRESS = re.compile("[ˈˌ']")
_LANGUAGE_SWITCH = re.compile(r"\([^)]*\)")
_LENGTH_AND_MARKS = re.compile("[ːˑ\u02b0-\u02b8\u02bc\u02c8-\u02d1\u02e0-\u02e4\u0300-\u036f]+")
_LETTERS_HAVE_READINGS = frozenset({"hak", "yue", "zh"})
"""Languages without spaces whose single characters espeak-ng pronounces."""
_OTHER_NAMES = {"en": "en-us", "no": "nb", "zh": "cmn"}
_PUNCTUATION = "-.,;:!?_‿͡"


@lru_cache(maxsize=1)
def voices() -> dict[str, str]:
    """The voice of each language that espeak-ng has one for, by code. ValueError when espeakng-loader is missing."""
    data = Path(espeak_data())
    found = set()
    for file in data.glob("lang/**/*"):
        if file.is_file():
            lines = [line.split("//")[0].split() for line in read_lines(file)]
            keys: dict[str, str] = {fields[0]: fields[1] for fields in reversed(lines) if len(fields) > 1}
            dictionary = keys.get("dictionary", file.name.split("-")[0])
            if (data / f"{dictionary}_dict").is_file():
                found |= {fields[1] for fields in lines if len(fields) > 1 and fields[0] == "language"}
    with_readings = [c for c in LANGUAGES if has_spaces(c) or c in _LETTERS_HAVE_READINGS]
    return {code: voice for code in with_readings if (voice := _OTHER_NAMES.get(code, code)) in found}


def phonemes(words: Sequence[str], language: str) -> dict[str, tuple[str, ...]]:
    """The phones of normalised words; a word that espeak-ng has no sound for is left out. Same words, same phones.

    A phone has its length and diacritics (`øː`, `ts`, `ɔ̃`), and no stress. The library is loaded for the call alone, in
    its first state, so languages do not disturb each other. ValueError lists the languages when it has no voice.
    """
    code = language_code(language)
    if code not in voices():
        raise ValueError(
            f"espeak-ng has no pronunciations of {language_name(code)}. It has {', '.join(sorted(voices()))}. "
            "Take --pronunciations graphemes, or tokens (`asr-kd tokens`)."
        )
    missing = [word for word in dict.fromkeys(words) if (code, word) not in _KNOWN]
    if missing:
        with loaded() as (library, data_path):
            start(library, data_path)
            try:
                if library.espeak_SetVoiceByName(voices()[code].encode()) != 0:
                    raise ValueError(f"espeak-ng has no voice {voices()[code]}. Install espeakng-loader>=0.2.4.")
                library.espeak_TextToPhonemes.restype = ctypes.c_char_p
                for word in missing:
                    _KNOWN[code, word] = _split(_raw(library, lower_case(word, code)))
            finally:
                library.espeak_Terminate()
    return {word: _KNOWN[code, word] for word in words if _KNOWN[code, word]}


_KNOWN: dict[tuple[str, str], tuple[str, ...]] = {}
"""What was asked for before, by language and word."""


def _raw(library: ctypes.CDLL, word: str) -> str:
    text = ctypes.c_char_p(word.encode())
    rest = ctypes.pointer(text)
    parts = []
    while rest.contents.value:
        parts.append(library.espeak_TextToPhonemes(rest, _CHARS_UTF8, _IPA_WITH_SEPARATOR).decode())
    return _BETWEEN.join(parts)


def _split(raw: str) -> tuple[str, ...]:
    """Phones between separators; length marks and diacritics that stand alone belong to the phone before."""
    phones: list[str] = []
    for phone in re.split(rf"[{re.escape(_BETWEEN)}\s]+", _STRESS.sub("", _LANGUAGE_SWITCH.sub("", raw))):
        phone = phone.strip(_PUNCTUATION)
        if not phone:
            continue
        if phones and _LENGTH_AND_MARKS.fullmatch(phone):
            phones[-1] += phone
        else:
            phones.append(phone)
    return tuple(phones)
