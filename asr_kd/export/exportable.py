"""What can be exported, and what to train instead of what cannot."""

from asr_kd.frontend.fbank import PRESETS, FrontEnd, FrontEndConfig
from asr_kd.inventory.tokens import Tokens
from asr_kd.models.acoustic import AcousticModel
from asr_kd.models.streaming import streams

SHERPA = PRESETS["sherpa-onnx"]
LATENCY_BAR_S = 0.3
"""Algorithmic latency beyond which people notice that words come late."""


def check_exportable(model: AcousticModel, path: str) -> None:
    """ValueError for a model that needs whole utterances."""
    if not streams(model):
        what = "bidirectional" if model.config.bidirectional else f"of encoder {model.config.encoder}"
        if model.frontend.cmn == "utterance":
            what += ", with the mean of the whole utterance taken off"
        raise ValueError(
            f"{path}: is {what}; streaming models are exported. Train a student with model.encoder=lstm, "
            "model.bidirectional=false and frontend.cmn=causal, exponential or none "
            "(frontend.preset=sherpa-onnx for sherpa-onnx)."
        )


def why_not_sherpa(model: AcousticModel) -> str | None:
    """What keeps a model from running in sherpa-onnx; None where nothing does."""
    ours, theirs = model.frontend, SHERPA
    if not isinstance(model.inventory, Tokens):
        return f"its classes are {model.inventory.kind}, sherpa-onnx decodes CTC tokens"
    if ours.cmn not in ("exponential", "none"):
        return f"its front end takes off a {ours.cmn} mean, whose memory is too large for sherpa-onnx's caches"
    fixed = (
        "sample_rate",
        "frame_length_s",
        "frame_shift_s",
        "frame_stacking",
        "low_hz",
        "high_hz",
        "preemphasis",
        "snip_edges",
        "sample_scale",
    )
    for name in fixed:
        if getattr(ours, name) != getattr(theirs, name):
            return f"its frontend.{name} is {getattr(ours, name)}, sherpa-onnx computes {getattr(theirs, name)}"
    return None


def algorithmic_latency_s(frontend: FrontEndConfig, chunk: int, lookahead: int) -> float:
    """Seconds from the begin of a chunk's first frame until its answer can be computed: chunk, look-ahead, and what
    the last analysis window reaches beyond its frame."""
    f = FrontEnd(frontend)
    samples = (chunk + lookahead) * f.config.frame_stacking * f.shift + f.window - f.shift - f.mirrored
    return samples / frontend.sample_rate
