"""What can be recognised: n-gram language models, graphs of weighted transducers, and the search through them."""

import kaldi_hmm_gmm  # noqa: F401  before kaldifst: imported in the other order, kaldi-hmm-gmm 1.1.4 hangs for ever
