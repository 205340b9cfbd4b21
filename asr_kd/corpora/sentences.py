"""Sentences to learn a language from: the text of manifests, hypotheses and plain text files, normalised."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from asr_kd.core.text_files import parse_json, read_lines, read_rows
from asr_kd.corpora.languages import ENGLISH, LANG, language_name, language_of
from asr_kd.corpora.text import normalise

ADVICE = "Give a manifest or a text file."
MAX_LETTERS = 200
"""Of a word; graphs of longer ones take all memory."""


def read_sentences(path: Path, language: str = ENGLISH) -> Iterator[list[str]]:
    """Normalised sentences of a text file, a manifest or hypotheses (`text` of each line), empty ones left out.

    ValueError names the file, and the line that is not JSON, or says that it is in another language.
    """
    for place, text, said in _texts(path):
        if said not in (None, language):
            raise ValueError(
                f"{place}: in {language_name(said)}, {language_name(language)} is needed. "
                "Give text of the language, or an inventory of the text's."
            )
        words = normalise(text, language).split()
        if (long := max(map(len, words), default=0)) > MAX_LETTERS:
            raise ValueError(f"{place}: a word of {long} characters; at most {MAX_LETTERS} are read")
        if words:
            yield words


def text_language(paths: Iterable[Path]) -> str | None:
    """The language that manifests or hypotheses name in a line, None where none does. ValueError when two differ."""
    found: dict[str, str] = {}
    for path in paths:
        for place, _, language in _texts(path):
            if language is not None:
                found.setdefault(language, place)
    if len(found) > 1:
        (first, here), (second, there) = list(found.items())[:2]
        raise ValueError(
            f"{here}: in {language_name(first)}, {there} in {language_name(second)}. Give texts of one language."
        )
    return next(iter(found), None)


def _texts(path: Path) -> Iterator[tuple[str, str, str | None]]:
    """`FILE:LINE`, the text of each line and the language that it names."""
    if not _has_rows(path):
        for number, line in enumerate(read_lines(path, advice=ADVICE), 1):
            yield f"{path}:{number}", line, None
        return
    for place, row in read_rows(path, advice=ADVICE):
        text = row.get("text")
        if text is not None and not isinstance(text, str):
            raise ValueError(f"{place}: text is {repr(text)[:40]}; text or null is needed")
        meta = row["meta"] if isinstance(row.get("meta"), dict) else {}
        named = LANG in row or LANG in meta or is_manifest(row)
        yield place, text or "", language_of({**row, **meta}, f"{place}: lang") if named and text else None


def _has_rows(path: Path) -> bool:
    """Whether its lines are JSON objects: by the name, or by the first line that is not blank."""
    if ".jsonl" in path.suffixes[-2:]:
        return True
    first = next((line for line in read_lines(path, advice=ADVICE) if line.strip()), "")
    if not first.lstrip().startswith("{"):
        return False
    try:
        return isinstance(parse_json(first, path), dict)
    except ValueError:
        return False


def is_manifest(row: dict[str, Any]) -> bool:
    """Whether a line is of a manifest, where no `lang` means English."""
    return "audio_filepath" in row
