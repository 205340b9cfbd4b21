"""LG: what may be said (G), word by word, and how each word is pronounced or spelt (L)."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import kaldifst
import kaldilm

from asr_kd.core.quiet import quiet_stderr
from asr_kd.graph.lexicon_fst import Symbols, lexicon_fst
from asr_kd.inventory.lexicon import Lexicon


def build_lg(
    symbols: Symbols, lexicon: Lexicon, arpa: str | Path, pauses: bool = True
) -> tuple[kaldifst.StdVectorFst, list[int]]:
    """LG of an n-gram language model in ARPA form, determinised, and the numbers of its disambiguation symbols."""
    grammar = _grammar(arpa, symbols)
    lexicon_transducer, disambiguation = lexicon_fst(lexicon, symbols, disambiguate=True, pauses=pauses)
    kaldifst.arcsort(lexicon_transducer, sort_type="olabel")
    lg = kaldifst.compose(lexicon_transducer, grammar)
    kaldifst.determinize_star(lg)
    kaldifst.minimize_encoded(lg)
    return lg, disambiguation


def relabel_inputs(fst: kaldifst.StdVectorFst, labels: Sequence[int]) -> None:
    """Replace every input label i by labels[i], in place."""
    for state in range(fst.num_states):
        arcs = kaldifst.ArcIterator(fst, state)
        relabelled = []
        while not arcs.done:
            a = arcs.value
            relabelled.append(kaldifst.StdArc(labels[a.ilabel], a.olabel, a.weight, a.nextstate))
            arcs.next()
        fst.delete_arcs(state, fst.num_arcs(state))
        for a in relabelled:
            fst.add_arc(state, a)


def _grammar(arpa: str | Path, symbols: Symbols) -> kaldifst.StdVectorFst:
    """G with the lexicon's word numbers; #0 on the input side of back-off arcs keeps it determinisable."""
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "words.txt"
        table.write_text("".join(f"{w} {i}\n" for i, w in enumerate(symbols.words)), encoding="utf-8")
        with quiet_stderr():
            text = kaldilm.arpa2fst(
                input_arpa=str(arpa), disambig_symbol="#0", read_symbol_table=str(table), max_arpa_warnings=0
            )
    grammar = kaldifst.compile(s=text, acceptor=False)
    kaldifst.arcsort(grammar, sort_type="ilabel")
    return grammar
