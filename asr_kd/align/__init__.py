"""From text and audio to senones and frame alignments."""

import asr_kd.graph  # noqa: F401  loads the Kaldi libraries in the one order that works
