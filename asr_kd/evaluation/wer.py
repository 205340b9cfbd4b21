"""Word and character errors of each utterance, with the alignment that they were counted on.

Edge cases, decided:

- Both texts are normalised by `corpora.text.normalise` first; nothing else is forgiven.
- An empty reference adds no words to the denominator; every hypothesised word counts as an insertion.
- An empty hypothesis is an answer: every reference word counts as a deletion.
- An utterance that decoding skipped counts as an empty hypothesis, and `scores.json` and the table say so.
- A missing hypothesis is not an answer: it is refused (see `hypotheses.match`), never counted as empty.
- WER is errors / reference words over the whole set (not a mean over utterances) and may exceed 1.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import jiwer

from asr_kd.corpora.languages import ENGLISH
from asr_kd.corpora.text import has_spaces, normalise

SYMBOLS = {"equal": "=", "substitute": "S", "delete": "D", "insert": "I"}
"""jiwer's alignment chunks -> one letter for each aligned column."""


@dataclass(frozen=True)
class UtteranceErrors:
    """One hypothesis against its reference."""

    reference: str
    """Normalised reference text."""
    hypothesis: str
    """Normalised hypothesis text."""
    path: str
    """The word alignment, one letter a column: = right, S substituted, D deleted, I inserted."""
    char_errors: int
    """Character edits between the two texts, spaces included where words have them between."""
    chars: int
    """Characters of the reference, counted likewise."""

    @property
    def errors(self) -> int:
        """Word substitutions + deletions + insertions."""
        return _edits(self.path)

    @property
    def words(self) -> int:
        """Words of the reference."""
        return len(self.reference.split())


def utterance_errors(
    references: Sequence[str], hypotheses: Sequence[str], language: str = ENGLISH
) -> list[UtteranceErrors]:
    """Normalise and align each reference with the hypothesis at the same place.

    In a language without spaces between words every character (code point) counts as a word: the WER is the CER.
    """
    assert len(references) == len(hypotheses)
    if not references:
        return []
    refs = [normalise(text, language) for text in references]
    hyps = [normalise(text, language) for text in hypotheses]
    if not has_spaces(language):
        refs, hyps = ([" ".join(text.replace(" ", "")) for text in texts] for texts in (refs, hyps))
    words = jiwer.process_words(refs, hyps)
    if not has_spaces(language):
        return [
            UtteranceErrors(ref, hyp, path := _path(chunks), _edits(path), len(ref.split()))
            for ref, hyp, chunks in zip(refs, hyps, words.alignments, strict=True)
        ]
    chars = jiwer.process_characters(refs, hyps)
    return [
        UtteranceErrors(ref, hyp, _path(word_chunks), _edits(_path(char_chunks)), len(ref))
        for ref, hyp, word_chunks, char_chunks in zip(refs, hyps, words.alignments, chars.alignments, strict=True)
    ]


def columns(reference: str, hypothesis: str, path: str) -> Iterator[tuple[str, str | None, str | None]]:
    """The alignment as (symbol, reference word or None, hypothesis word or None), one tuple a column."""
    refs, hyps = iter(reference.split()), iter(hypothesis.split())
    for symbol in path:
        yield symbol, None if symbol == "I" else next(refs), None if symbol == "D" else next(hyps)


def _path(chunks: Sequence[jiwer.AlignmentChunk]) -> str:
    return "".join(
        SYMBOLS[c.type] * max(c.ref_end_idx - c.ref_start_idx, c.hyp_end_idx - c.hyp_start_idx) for c in chunks
    )


def _edits(path: str) -> int:
    return len(path) - path.count("=")
