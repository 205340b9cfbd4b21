"""When each word of a best path was said.

A decoding graph tells which words a path has, not where they begin: determinising moves a word to where it can be told
from those that begin alike, and phones in context to a phone before.  But every phone's end shows in a path, and with
the pronunciations only one way remains to share the phones out among the words.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from asr_kd.inventory.lexicon import Lexicon
from asr_kd.inventory.senones import Senones


class WordTimes:
    """Shares the phones of paths out among their words."""

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
