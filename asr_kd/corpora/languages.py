"""Languages by their codes, and what an utterance's `lang` says. The rules of their texts are in `text_rules.py`."""

from collections.abc import Iterable, Mapping
from typing import Any

ENGLISH = "en"
"""What is taken where nothing says a language: manifests, shards and models of asr_kd 0.3 and before are English."""
LANG = "lang"
"""The key of an utterance's `meta`, and of a manifest's line, that names its language."""

LANGUAGES: dict[str, str] = {
    code: name
    for line in """
    af Afrikaans, am Amharic, an Aragonese, ar Arabic, as Assamese, ast Asturian, az Azerbaijani, ba Bashkir,
    be Belarusian, bg Bulgarian, bn Bengali, bo Tibetan, bpy Bishnupriya Manipuri, br Breton, bs Bosnian, ca Catalan,
    ceb Cebuano, chr Cherokee, ckb Central Kurdish, co Corsican, cs Czech, cv Chuvash, cy Welsh, da Danish, de German,
    dv Dhivehi, ee Ewe, el Greek, en English, eo Esperanto, es Spanish, et Estonian, eu Basque, fa Persian, ff Fula,
    fi Finnish, fo Faroese, fr French, fy Western Frisian, ga Irish, gd Scottish Gaelic, gl Galician, gn Guarani,
    grc Ancient Greek, gu Gujarati, gv Manx, ha Hausa, hak Hakka Chinese, haw Hawaiian, he Hebrew, hi Hindi,
    hr Croatian, hsb Upper Sorbian, ht Haitian Creole, hu Hungarian, hy Armenian, ia Interlingua, id Indonesian,
    ig Igbo, ilo Ilocano, io Ido, is Icelandic, it Italian, ja Japanese, jbo Lojban, jv Javanese, ka Georgian,
    kab Kabyle, kk Kazakh, kl Greenlandic, km Khmer, kn Kannada, ko Korean, kok Konkani, ku Kurdish, kw Cornish,
    ky Kyrgyz, la Latin, lb Luxembourgish, lg Ganda, ln Lingala, lo Lao, lt Lithuanian, ltg Latgalian, lv Latvian,
    mg Malagasy, mi Maori, mk Macedonian, ml Malayalam, mn Mongolian, mr Marathi, ms Malay, mt Maltese, my Burmese,
    myv Erzya, nan Southern Min, nds Low German, ne Nepali, nl Dutch, nn Norwegian Nynorsk, no Norwegian, nog Nogai,
    ny Chichewa, oc Occitan, om Oromo, or Odia, os Ossetian, pa Punjabi, pap Papiamento, pl Polish, ps Pashto,
    pt Portuguese, qu Quechua, quc K'iche', rm Romansh, ro Romanian, ru Russian, rw Kinyarwanda, sa Sanskrit,
    sah Yakut, sc Sardinian, sd Sindhi, se Northern Sami, shn Shan, si Sinhala, sk Slovak, sl Slovenian, sm Samoan,
    smj Lule Sami, sn Shona, so Somali, sq Albanian, sr Serbian, st Southern Sotho, su Sundanese, sv Swedish,
    sw Swahili, szl Silesian, ta Tamil, te Telugu, tg Tajik, th Thai, ti Tigrinya, tig Tigre, tk Turkmen, tl Tagalog,
    tn Tswana, to Tongan, tok Toki Pona, tr Turkish, ts Tsonga, tt Tatar, ug Uyghur, uk Ukrainian, ur Urdu, uz Uzbek,
    vi Vietnamese, vo Volapük, vot Votic, wo Wolof, wuu Wu Chinese, xh Xhosa, yi Yiddish, yo Yoruba, yue Cantonese,
    zgh Standard Moroccan Tamazight, zh Chinese, zu Zulu
    """.replace("\n", " ").split(",")
    for code, name in [line.strip().split(" ", 1)]
}
"""English name of each language by its code: ISO 639-1, or 639-3 where there is none."""

_CODES_OF_NAMES = {name.lower(): code for code, name in LANGUAGES.items()} | {"mandarin": "zh"}
ALIASES = {
    "cmn": "zh", "fil": "tl", "gug": "gn", "in": "id", "iw": "he", "ji": "yi", "jw": "jv", "mo": "ro", "nb": "no",
    "scr": "hr", "sh": "sr",
}  # fmt: skip
"""Older and narrower codes, as espeak-ng, Whisper and corpora write them."""


def language_code(tag: str, whose: str = "language") -> str:
    """The code of a BCP 47 tag, by its first subtag: `pt` of `pt-BR`, `zh` of `zh_Hant-TW`; or of an English name.

    whose: what is at fault, for the message.  ValueError lists the codes when there is none.
    """
    tag = tag.strip().lower()
    primary = tag.replace("_", "-").split("-")[0]
    code = _CODES_OF_NAMES.get(tag, ALIASES.get(primary, primary))
    if code not in LANGUAGES:
        raise ValueError(f"{whose} {tag!r:.40}: no language known by this code. Known: {', '.join(sorted(LANGUAGES))}.")
    return code


def language_name(code: str) -> str:
    """`German (de)`, for messages."""
    return f"{LANGUAGES.get(code, 'unknown')} ({code})"


def language_of(meta: Mapping[str, Any], whose: str = "lang") -> str:
    """The language that an utterance's `meta` names, English where it names none.

    ValueError when it is no known code; whose: what is at fault.
    """
    tag = meta.get(LANG)
    if tag is None or tag == ENGLISH:
        return ENGLISH
    if not isinstance(tag, str):
        raise ValueError(f"{whose} {tag!r:.40}: a code of a language is needed, such as de")
    return language_code(tag, whose)


def with_language(meta: Mapping[str, Any], language: str) -> dict[str, Any]:
    """`meta` that names the language, unless it names one already; English need not be named."""
    if LANG in meta or language == ENGLISH:
        return dict(meta)
    return {**meta, LANG: language}


def one_language(languages: Iterable[str], where: str) -> str:
    """The language that all of `languages` are; English for none. ValueError names two that differ."""
    found = sorted(set(languages))
    if len(found) > 1:
        raise ValueError(
            f"{where}: holds texts in {' and '.join(map(language_name, found))}; a model has one language. "
            "Prepare them apart, each with its --language."
        )
    return found[0] if found else ENGLISH
