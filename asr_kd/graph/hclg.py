"""HCLG: what may be said (G), how it is pronounced (L), in context (C), in senones (H).

The same steps make the graph of one utterance's text, for alignment, and the graph of a language model, for
recognition. Source: Mohri, Pereira and Riley, "Speech recognition with weighted finite-state transducers" (2008).
Input labels are class number + 1. Self-loops are free: durations are left to the acoustic model.
"""

from collections.abc import Sequence
from pathlib import Path

import kaldifst

from asr_kd.graph.lexicon_fst import Symbols, lexicon_fst
from asr_kd.graph.lg import build_lg, relabel_inputs
from asr_kd.inventory.lexicon import Lexicon
from asr_kd.inventory.senones import Senones

CONTEXT_WIDTH, CENTRE = 3, 1


class TextGraphs:
    """Graphs of known word sequences, for forced alignment: all pronunciations, optional pauses."""

    def __init__(self, inventory: Senones, lexicon: Lexicon) -> None:
        self.inventory = inventory
        self.symbols = Symbols(inventory.phones, lexicon)
        self._lexicon, _ = lexicon_fst(lexicon, self.symbols, disambiguate=False)
        kaldifst.arcsort(self._lexicon, sort_type="olabel")

    def compile(self, words: Sequence[str]) -> kaldifst.StdVectorFst:
        """HCLG of one utterance. ValueError when a word is not in the lexicon or there is none."""
        unknown = [w for w in words if w not in self.symbols.word]
        if unknown:
            raise ValueError(f"{unknown[0]}: not in the lexicon")
        if not words:
            raise ValueError("the text is empty")
        text = kaldifst.make_linear_acceptor([self.symbols.word[w] for w in words])
        phones = kaldifst.compose(self._lexicon, text)
        kaldifst.connect(phones)
        return _senone_graph(phones, self.inventory, [], minimise=False)


def decoding_graph(inventory: Senones, lexicon: Lexicon, arpa: str | Path) -> tuple[kaldifst.StdVectorFst, list[str]]:
    """HCLG of an n-gram language model in ARPA form, and the words by number (0 is epsilon)."""
    symbols = Symbols(inventory.phones, lexicon)
    lg, disambiguation = build_lg(symbols, lexicon, arpa)
    return _senone_graph(lg, inventory, disambiguation, minimise=True), symbols.words


def _senone_graph(
    phones: kaldifst.StdVectorFst, inventory: Senones, disambiguation: list[int], minimise: bool
) -> kaldifst.StdVectorFst:
    """Put phones in context and replace each by its HMM; `disambiguation` symbols become epsilon."""
    clg, windows = kaldifst.compose_context(disambiguation, CONTEXT_WIDTH, CENTRE, phones)
    hmms: dict[tuple[int, ...], int] = {}  # distinct state sequences, numbered from 1
    label_of_window = [0] * len(windows)
    for number, window in enumerate(windows):
        if len(window) == CONTEXT_WIDTH:
            left, centre, right = (p - 1 for p in window)
            states = inventory.senones(left, centre, right)
            label_of_window[number] = hmms.setdefault(states, len(hmms) + 1)
    passing: dict[int, int] = {}  # disambiguation symbols, numbered behind the HMMs
    for number, window in enumerate(windows):
        if len(window) == 1 and window[0] < 0:
            label_of_window[number] = passing.setdefault(window[0], len(hmms) + 1 + len(passing))
    relabel_inputs(clg, label_of_window)
    if minimise:  # no determinisation here: words whose phones share all states are no longer told apart on this side
        kaldifst.minimize_encoded(clg)
    kaldifst.arcsort(clg, sort_type="ilabel")
    hclg = kaldifst.compose(_hmm_fst(list(hmms), list(passing.values()), inventory.skip), clg)
    kaldifst.connect(hclg)
    return hclg


def _hmm_fst(hmms: Sequence[tuple[int, ...]], passing: Sequence[int], skip: bool) -> kaldifst.StdVectorFst:
    """H: state sequences with self-loops -> their number; `passing` labels are taken without a frame."""
    fst = kaldifst.StdVectorFst()
    hub = fst.add_state()
    fst.start = hub
    fst.set_final(hub, 0.0)
    for number, classes in enumerate(hmms, 1):
        state, olabel = hub, number
        for position, cls in enumerate(classes):
            following = fst.add_state()
            fst.add_arc(state, kaldifst.StdArc(cls + 1, olabel, 0.0, following))
            fst.add_arc(following, kaldifst.StdArc(cls + 1, 0, 0.0, following))
            if skip or position == len(classes) - 1:
                fst.add_arc(following, kaldifst.StdArc(0, 0, 0.0, hub))
            state, olabel = following, 0
    for label in passing:
        fst.add_arc(hub, kaldifst.StdArc(0, label, 0.0, hub))
    return fst
