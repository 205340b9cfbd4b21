"""The lexicon as a transducer from phones, or tokens, to words; between words of phones, silence is optional."""

import math
from collections import Counter
from collections.abc import Sequence

import kaldifst

from asr_kd.graph.ngram import RESERVED
from asr_kd.inventory.lexicon import SILENCE, Lexicon

SILENCE_PROBABILITY = 0.5
"""Chance of a pause before, between and after words (Kaldi's default)."""


class Symbols:
    """Numbers of phones, words and disambiguation symbols in transducers; 0 is epsilon everywhere."""

    def __init__(self, phones: Sequence[str], lexicon: Lexicon) -> None:
        """phones: of the inventory, or whatever else words are spelt with; the first is number 1."""
        reserved = sorted(RESERVED & set(lexicon.words))
        if reserved:
            raise ValueError(f"lexicon: {reserved[0]} is a symbol of graphs and cannot be a word. Take it out.")
        known = set(phones)
        for word, prons in lexicon.pronunciations.items():
            for pron in prons:
                foreign = [p for p in pron if p not in known]
                if foreign:
                    raise ValueError(
                        f"lexicon: {word} has phone {foreign[0]}, which the inventory lacks. "
                        "Align again with a lexicon that holds all words to be recognised (`asr-kd align --lexicon`)."
                    )
        self.phone = {name: i + 1 for i, name in enumerate(phones)}
        self.words = ["<eps>", *lexicon.words, "#0", "<s>", "</s>"]
        self.word = {name: i for i, name in enumerate(self.words)}
        self.first_disambig = len(self.phone) + 1
        """Phone-side number of #0; #1, #2, ... follow."""


def lexicon_fst(
    lexicon: Lexicon, symbols: Symbols, disambiguate: bool, pauses: bool = True
) -> tuple[kaldifst.StdVectorFst, list[int]]:
    """L, and the phone-side numbers of its disambiguation symbols (none without `disambiguate`).

    With `disambiguate`, homophones and prefixes get symbols #1, #2, ... so that L composed with a grammar can be
    determinised, and #0 passes through for the grammar's back-off arcs.  pauses: silence may stand before, between and
    after words; without it they follow each other at no cost.
    """
    fst = kaldifst.StdVectorFst()
    loop = fst.add_state()
    fst.start = loop
    fst.set_final(loop, 0.0)
    cost_pause, cost_none = -math.log(SILENCE_PROBABILITY), -math.log(1 - SILENCE_PROBABILITY)
    marks = _disambiguation(lexicon) if disambiguate else {}
    used = max(marks.values(), default=0) + 1 if disambiguate else 0

    def arc(source: int, ilabel: int, olabel: int, cost: float, target: int) -> None:
        fst.add_arc(source, kaldifst.StdArc(ilabel=ilabel, olabel=olabel, weight=cost, nextstate=target))

    onwards = [(loop, 0.0)]  # where a word's end leads, and at what cost
    if disambiguate:
        arc(loop, symbols.first_disambig, symbols.word["#0"], 0.0, loop)
    if pauses:
        start, pause = fst.add_state(), fst.add_state()
        fst.start = start
        onwards = [(loop, cost_none), (pause, cost_pause)]
        for target, cost in onwards:
            arc(start, 0, 0, cost, target)
        silent = loop
        if disambiguate:
            silent = fst.add_state()
            arc(silent, symbols.first_disambig + used, 0, 0.0, loop)
            used += 1
        arc(pause, symbols.phone[SILENCE], 0, 0.0, silent)
    for word, prons in lexicon.pronunciations.items():
        for pron in prons:
            labels = [symbols.phone[p] for p in pron]
            mark = marks.get((word, pron), 0)
            if mark:
                labels.append(symbols.first_disambig + mark)
            state = loop
            for i, label in enumerate(labels):
                olabel = symbols.word[word] if i == 0 else 0
                if i < len(labels) - 1:
                    following = fst.add_state()
                    arc(state, label, olabel, 0.0, following)
                    state = following
                else:
                    for target, cost in onwards:
                        arc(state, label, olabel, cost, target)
    return fst, [symbols.first_disambig + i for i in range(used)]


def _disambiguation(lexicon: Lexicon) -> dict[tuple[str, tuple[str, ...]], int]:
    """1, 2, ... for pronunciations that are shared by words or begin a longer one; the others need none."""
    count: Counter[tuple[str, ...]] = Counter()
    prefixes: set[tuple[str, ...]] = set()
    for prons in lexicon.pronunciations.values():
        for pron in prons:
            count[pron] += 1
            prefixes.update(pron[:n] for n in range(1, len(pron)))
    seen: Counter[tuple[str, ...]] = Counter()
    marks = {}
    for word, prons in lexicon.pronunciations.items():
        for pron in prons:
            if count[pron] > 1 or pron in prefixes:
                seen[pron] += 1
                marks[word, pron] = seen[pron]
    return marks
