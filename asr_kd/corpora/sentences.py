"""Sentences to learn a language from: the text of manifests, hypotheses and plain text files, normalised."""

from collections.abc import Iterator
from pathlib import Path

from asr_kd.core.text_files import read_lines, read_rows
from asr_kd.corpora.text import normalise

ADVICE = "Give a manifest or a text file."
MAX_LETTERS = 200
"""Of a word; graphs of longer ones take all memory."""


def read_sentences(path: Path) -> Iterator[list[str]]:
    """Normalised sentences of a text file, a manifest or hypotheses (`text` of each line), empty ones left out.

    ValueError names the file, and the line that is not JSON.
    """
    for place, text in _texts(path):
        words = normalise(text).split()
        if (long := max(map(len, words), default=0)) > MAX_LETTERS:
            raise ValueError(f"{place}: a word of {long} characters; at most {MAX_LETTERS} are read")
        if words:
            yield words


def _texts(path: Path) -> Iterator[tuple[str, str]]:
    """`FILE:LINE` and the text of each line."""
    if path.suffix != ".jsonl":
        for number, line in enumerate(read_lines(path, advice=ADVICE), 1):
            yield f"{path}:{number}", line
        return
    for place, row in read_rows(path, advice=ADVICE):
        text = row.get("text")
        if text is not None and not isinstance(text, str):
            raise ValueError(f"{place}: text is {repr(text)[:40]}; text or null is needed")
        yield place, text or ""
