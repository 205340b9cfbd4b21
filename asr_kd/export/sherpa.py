"""The folder for sherpa-onnx: network, tokens, decoding graph and a README with commands."""

from pathlib import Path

import kaldifst
import numpy as np

from asr_kd.core.files import atomic_path
from asr_kd.export.forms import sherpa_form
from asr_kd.export.int8 import int8_form
from asr_kd.export.network import StreamingNetwork
from asr_kd.export.templates import template
from asr_kd.graph.graph import load_graph
from asr_kd.graph.scales import DecodingScales
from asr_kd.inventory.tokens import Tokens
from asr_kd.teachers.onnx_model import INT8_FILE, MODEL_FILE

TOKENS_FILE = "tokens.txt"
SHERPA_GRAPH_FILE = "TLG.fst"
BLANK = "<blk>"
"""What sherpa-onnx calls it."""


def write_sherpa(folder: Path, network: StreamingNetwork, graph: Path | None, scales: DecodingScales | None) -> None:
    """Write everything for a model that `why_not_sherpa` has nothing against.

    sherpa-onnx adds a graph's costs to log-posteriors as they are. So the prior is taken off in the network, and the
    acoustic scale divides the costs.
    """
    tokens = network.model.inventory
    assert isinstance(tokens, Tokens)
    folder.mkdir(parents=True, exist_ok=True)
    offset_C = None
    if graph is not None:
        scales = scales or DecodingScales(prior=tokens.default_prior_scale)
        if scales.prior:
            offset_C = (scales.prior * network.model.log_prior_C).numpy().astype(np.float32)
        fst = load_graph(graph).with_word_insertion_penalty(scales.word_insertion_penalty).fst
        scale_costs(fst, 1 / scales.acoustic)
        with atomic_path(folder / SHERPA_GRAPH_FILE) as temporary:
            fst.write(str(temporary))
    form = sherpa_form(network, offset_C)
    for name, model in ((MODEL_FILE, form), (INT8_FILE, int8_form(form))):
        with atomic_path(folder / name) as temporary:
            temporary.write_bytes(model.SerializeToString())
    lines = [f"{symbol} {number}\n" for number, symbol in enumerate((BLANK, *tokens.units))]
    text = template("sherpa.md.j2").render(mel_bins=network.mel_bins, has_graph=graph is not None)
    for name, content in ((TOKENS_FILE, "".join(lines)), ("README.md", text)):
        with atomic_path(folder / name) as temporary:
            temporary.write_text(content, encoding="utf-8")


def scale_costs(fst: kaldifst.StdVectorFst, factor: float) -> None:
    """Multiply all costs of a graph, in place."""
    if factor == 1:
        return
    for state in range(fst.num_states):
        arcs, scaled = kaldifst.ArcIterator(fst, state), []
        while not arcs.done:
            a = arcs.value
            scaled.append(kaldifst.StdArc(a.ilabel, a.olabel, a.weight.value * factor, a.nextstate))
            arcs.next()
        fst.delete_arcs(state, fst.num_arcs(state))
        for a in scaled:
            fst.add_arc(state, a)
        final = fst.final(state).value
        if np.isfinite(final):
            fst.set_final(state, final * factor)
