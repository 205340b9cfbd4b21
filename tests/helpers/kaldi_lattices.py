"""The lattices of Kaldi's own decoder, as the reference for ours."""

import kaldi_hmm_gmm  # noqa: F401  isort: skip  before kaldifst, see asr_kd.graph
import kaldi_decoder
import numpy as np

from asr_kd.graph.lattice import sorted_arcs


def kaldi_lattice(graph, config, score_TC):
    """What `Decoder(graph, config).lattice(score_TC)` promises, by kaldi-decoder's LatticeSimpleDecoder."""
    options = kaldi_decoder.LatticeSimpleDecoderConfig(beam=config.beam, lattice_beam=config.lattice_beam)
    decoder = kaldi_decoder.LatticeSimpleDecoder(graph, options)
    complete = decoder.decode(kaldi_decoder.DecodableCtc(np.ascontiguousarray(score_TC, dtype=np.float32)))
    found, lattice = decoder.get_raw_lattice()
    if not found or not complete:
        return None
    arcs, final_S = [], np.full(lattice.num_states, np.inf)
    for line in lattice.to_str(show_weight_one=True).replace(",", " ").splitlines():
        numbers = [float(x) for x in line.split()]
        if len(numbers) == 6:
            arcs.append(numbers)
        else:
            final_S[int(numbers[0])] = numbers[1] + numbers[2]
    table_6A = np.array(arcs).reshape(-1, 6).T
    source_A, target_A, label_A, word_A = table_6A[:4].astype(np.int64)
    return sorted_arcs(source_A, target_A, label_A, word_A, table_6A[4] + table_6A[5], final_S, lattice.start)
