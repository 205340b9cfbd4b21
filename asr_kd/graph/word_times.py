"""When each word of a best path was said.

A decoding graph tells which words a path has, not where they begin: determinising moves a word to where it can be told
from those that begin alike, and phones in context to a phone before.  But every phone's end shows in a path, and with
the pronunciations only one way remains to share the phones out among the words.  In a path of tokens, those that begin
a word say so themselves.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

import numpy as np

from asr_kd.inventory.inventory import Inventory
from asr_kd.inventory.lexicon import Lexicon
from asr_kd.inventory.senones import Senones
from asr_kd.inventory.tokens import SPACE, Tokens


class WordTimes(Protocol):
    """Shares the sounds of paths, phones or tokens, out among their words."""

    def phones(self, classes_T: np.ndarray, cuts: Sequence[int]) -> list[tuple[int, int]]:
        """First frame and frame behind the last of each sound that is not silence or blank."""
        ...

    def __call__(self, words: Sequence[str], classes_T: np.ndarray, cuts: Sequence[int]) -> list[tuple[int, int]]:
        """First frame and frame behind the last of each word.

        classes_T and cuts: of `BestPath`.  ValueError when the path's sounds are not those of its words.
        """
        ...


def word_timestamps(inventory: Inventory, lexicon: Lexicon | None) -> WordTimes:
    """By the kind of the inventory. ValueError when a graph of senones did not keep its lexicon."""
    if isinstance(inventory, Tokens):
        return TokenTimes(inventory)
    assert isinstance(inventory, Senones)
    if lexicon is None:
        raise ValueError(
            "--write-transcripts: the graph's folder has no lexicon.txt, which the words' times are found with. "
            "Run `asr-kd graph` again."
        )
    return SenoneTimes(inventory, lexicon)


class TokenTimes:
    """Words of tokens: from the first frame of the token that begins one to the last frame of its last token.

    CTC says a token at some frame of its sound, often the first: times are less exact than those of senones.
    """

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def phones(self, classes_T: np.ndarray, cuts: Sequence[int]) -> list[tuple[int, int]]:
        """First frame and frame behind the last of each token."""
        changes = np.flatnonzero(np.diff(classes_T)) + 1
        edges = [0, *changes.tolist(), len(classes_T)]
        return [(start, end) for start, end in pairwise(edges) if start < end and classes_T[start]]

    def __call__(self, words: Sequence[str], classes_T: np.ndarray, cuts: Sequence[int]) -> list[tuple[int, int]]:
        """ValueError when the path's tokens spell other words: the graph is another than the one that was searched.

        A space that no letters follow is no word.
        """
        spans: list[tuple[int, int]] = []
        spelt: list[str] = []
        said = self.phones(classes_T, cuts)
        for start, end in said:
            symbol = self._tokens.symbols[classes_T[start]]
            if not spans or symbol.startswith(SPACE):
                spans.append((start, end))
                spelt.append(symbol)
            else:
                spans[-1] = spans[-1][0], end
                spelt[-1] += symbol
        if self._tokens.decode(int(classes_T[start]) for start, _ in said) != " ".join(words):
            raise ValueError(f"{' '.join(words)}: its tokens are not those of the path. Run `asr-kd graph` again.")
        return [span for span, text in zip(spans, spelt, strict=True) if text.replace(SPACE, "")]


class SenoneTimes:
    """Words of senones, by their pronunciations."""

    def __init__(self, inventory: Senones, lexicon: Lexicon) -> None:
        self.inventory = inventory
        number = {phone: i for i, phone in enumerate(inventory.phones)}
        self._pronunciations = {
            word: [tuple(number[p] for p in pron) for pron in prons] for word, prons in lexicon.pronunciations.items()
        }

    def phones(self, classes_T: np.ndarray, cuts: Sequence[int]) -> list[tuple[int, int]]:
        """First frame and frame behind the last of each phone that is not silence."""
        silence = self.inventory.silence_classes
        return [(start, end) for start, end in pairwise(cuts) if classes_T[start] not in silence]

    def __call__(self, words: Sequence[str], classes_T: np.ndarray, cuts: Sequence[int]) -> list[tuple[int, int]]:
        """First frame and frame behind the last of each word.

        classes_T and cuts: of `BestPath`.  ValueError when the path's phones are not those of its words: the lexicon is
        another than that of the graph.
        """
        phones = self.phones(classes_T, cuts)
        possible_NP = np.array(
            [self.inventory.phones_of_class_CP[classes_T[start:end]].all(0) for start, end in phones], dtype=bool
        ).reshape(len(phones), len(self.inventory.phones))
        # Of each word, where it may begin (as a number of phones passed), and where it began to end there.
        began: list[dict[int, int]] = []
        at = {0}
        for word in words:
            ends: dict[int, int] = {}
            for start in sorted(at):
                for pron in self._pronunciations[word]:
                    end = start + len(pron)
                    if end <= len(phones) and possible_NP[range(start, end), pron].all():
                        ends.setdefault(end, start)
            began.append(ends)
            at = set(ends)
        if len(phones) not in at:
            raise ValueError(f"{' '.join(words)}: its phones are not those of the path. Run `asr-kd graph` again.")
        spans, end = [], len(phones)
        for ends in reversed(began):
            start = ends[end]
            spans.append((phones[start][0], phones[end - 1][1]))
            end = start
        return spans[::-1]
