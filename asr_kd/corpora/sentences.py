"""Sentences to learn a language from: the text of manifests, hypotheses and plain text files, normalised."""

from collections.abc import Iterator
from pathlib import Path

from asr_kd.core.text_files import read_lines, read_rows
from asr_kd.corpora.text import normalise

ADVICE = "Give a manifest or a text file."


def read_sentences(path: Path) -> Iterator[list[str]]:
    """Normalised sentences of a text file, a manifest or hypotheses (`text` of each line), empty ones left out.

    ValueError names the file, and the line that is not JSON.
    """
    for line in _texts(path):
        words = normalise(line).split()
        if words:
            yield words


def _texts(path: Path) -> Iterator[str]:
    if path.suffix != ".jsonl":
        yield from read_lines(path, advice=ADVICE)
        return
    for place, row in read_rows(path, advice=ADVICE):
        text = row.get("text")
        if text is not None and not isinstance(text, str):
            raise ValueError(f"{place}: text is {repr(text)[:40]}; text or null is needed")
        yield text or ""
