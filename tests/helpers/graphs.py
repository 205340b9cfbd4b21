"""Small decoding graphs for the tests."""

import kaldi_hmm_gmm  # noqa: F401  isort: skip  before kaldifst, see asr_kd.graph
import kaldifst


def word_loop(costs):
    """Word w (from 1) is class w - 1, however long; `costs[w - 1]` is paid for each."""
    fst = kaldifst.StdVectorFst()
    hub = fst.add_state()
    fst.start = hub
    fst.set_final(hub, 0.0)
    for word, cost in enumerate(costs, 1):
        state = fst.add_state()
        fst.add_arc(hub, kaldifst.StdArc(word, word, cost, state))
        fst.add_arc(state, kaldifst.StdArc(word, 0, 0.0, state))
        fst.add_arc(state, kaldifst.StdArc(0, 0, 0.0, hub))
    return fst
