"""TLG: a decoding graph of tokens. What frames say (T) is spelt into words (L), which a language model weighs (G).

Source: Miao, Gowayyed and Metze, "EESEN: End-to-end speech recognition using deep RNN models and WFST-based decoding"
(2015). Input labels are class number + 1, so that of the blank is 1.
"""

from collections.abc import Sequence
from pathlib import Path

import kaldifst

from asr_kd.graph.lexicon_fst import Symbols
from asr_kd.graph.lg import build_lg, relabel_inputs
from asr_kd.inventory.lexicon import Lexicon
from asr_kd.inventory.tokens import Tokens

BLANK_LABEL = 1


def token_graph(tokens: Tokens, words: Sequence[str], arpa: str | Path) -> tuple[kaldifst.StdVectorFst, list[str]]:
    """TLG of an n-gram language model in ARPA form, and the words by number (0 is epsilon).

    ValueError when the tokens cannot spell one of the words.
    """
    lexicon = Lexicon({word: [tuple(tokens.symbols[c] for c in tokens.tokenise_word(word))] for word in words})
    symbols = Symbols(tokens.units, lexicon)
    lg, disambiguation = build_lg(symbols, lexicon, arpa, pauses=False)
    silent = set(disambiguation)
    relabel_inputs(lg, [0 if label in silent else label for label in range(max(disambiguation) + 1)])
    tlg = kaldifst.compose(_topology(tokens), lg)
    kaldifst.connect(tlg)
    return tlg, symbols.words


def _topology(tokens: Tokens) -> kaldifst.StdVectorFst:
    """T: a unit said in one frame or held in several, blanks anywhere, one at least between two that are the same."""
    fst = kaldifst.StdVectorFst()
    states = [fst.add_state() for _ in tokens.symbols]  # by the class of the last frame
    fst.start = states[0]
    for last, state in enumerate(states):
        fst.set_final(state, 0.0)
        fst.add_arc(state, kaldifst.StdArc(BLANK_LABEL, 0, 0.0, states[0]))
        for cls in range(1, tokens.num_classes):
            said = 0 if cls == last else cls
            fst.add_arc(state, kaldifst.StdArc(cls + 1, said, 0.0, states[cls]))
    kaldifst.arcsort(fst, sort_type="olabel")  # composition finds its partners here
    return fst
