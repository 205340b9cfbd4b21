"""Sentences to learn a language from: the text of manifests, hypotheses and plain text files, normalised."""

from collections.abc import Iterator
from pathlib import Path

from asr_kd.core.text_files import parse_json
from asr_kd.corpora.text import normalise

MAX_LETTERS = 200
"""Of a word; graphs of longer ones take all memory."""


def read_lines(path: Path) -> list[str]:
    """The lines of a text file. ValueError names it when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise ValueError(f"{path}: not readable as text ({e}). Give a manifest or a text file.") from None


def read_sentences(path: Path) -> Iterator[list[str]]:
    """Normalised sentences of a text file, a manifest or hypotheses (`text` of each line), empty ones left out.

    ValueError names the file, and the line that is not JSON.
    """
    for number, line in enumerate(read_lines(path), 1):
        if path.suffix == ".jsonl" and line.strip():
            row = parse_json(line, f"{path}:{number}")
            if not isinstance(row, dict):
                raise ValueError(f"{path}: line {number}: not a JSON object. Give a manifest or a text file.")
            line = row.get("text") or ""
            if not isinstance(line, str):
                raise ValueError(f"{path}: line {number}: text is {line!r}; text or null is needed")
        words = normalise(line).split()
        if (long := max(map(len, words), default=0)) > MAX_LETTERS:
            raise ValueError(f"{path}: line {number}: a word of {long} characters; at most {MAX_LETTERS} are read")
        if words:
            yield words
