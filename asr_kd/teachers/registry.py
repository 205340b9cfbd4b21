"""Teachers by the prefix of their name: how each is loaded and what it gives."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch

from asr_kd.core.files import fingerprint
from asr_kd.models.acoustic import AcousticModel
from asr_kd.models.checkpoint import load_model, model_fingerprint
from asr_kd.teachers.ensemble import Ensemble
from asr_kd.teachers.onnx_model import OnnxModel, is_onnx, onnx_fingerprint
from asr_kd.teachers.wav2vec2 import Wav2Vec2Teacher
from asr_kd.teachers.wav2vec2_files import load_bundle
from asr_kd.teachers.whisper import Whisper
from asr_kd.transcripts.recognised import Transcript

Gives = Literal["posteriors", "features", "transcripts"]


class TranscriptTeacher(Protocol):
    """A teacher that only gives words."""

    precision: str
    """Of its forward pass."""

    def __call__(self, wave_N: np.ndarray) -> Transcript | str:
        """What was said in one utterance, or why nothing can be made of it. wave_N: 16 kHz in [-1, 1)."""

    def fingerprint(self) -> str:
        """Digest of its weights, 64 hex digits."""

    def describe(self) -> dict[str, Any]:
        """JSON values: what else decides the words."""


@dataclass(frozen=True)
class PosteriorKind:
    """Teachers with posteriors, which can be averaged."""

    argument: str
    """What follows the prefix, for messages."""
    load: Callable[[str], AcousticModel | Wav2Vec2Teacher | OnnxModel]
    """The model of a whole name, prefix included. ValueError says what is missing or damaged."""
    fingerprint: Callable[[str], str]
    """Digest of its weights, 64 hex digits."""
    gives: tuple[Gives, ...] = ("posteriors",)
    """`features`: it takes a student's features and shows its hidden layers, so it can be run on training batches."""


@dataclass(frozen=True)
class TranscriptKind:
    """Teachers that only give words."""

    argument: str
    load: Callable[[str, torch.device, str, str | None], TranscriptTeacher]
    """The teacher of a whole name; device, precision, and language (a code such as `en`; None: detect)."""
    gives: tuple[Gives, ...] = ("transcripts",)


TEACHERS: dict[str, PosteriorKind | TranscriptKind] = {
    "": PosteriorKind("MODEL (its folder or .safetensors)", load_model, model_fingerprint, ("posteriors", "features")),
    "bundle:": PosteriorKind("NAME_OR_FILE", load_bundle, lambda name: load_bundle(name).fingerprint),
    "whisper:": TranscriptKind("NAME_OR_FOLDER", Whisper),
}
"""By prefix; none is a model of asr_kd."""
_EXPORTED = PosteriorKind("EXPORT (a folder of `asr-kd export` or its .onnx)", OnnxModel, onnx_fingerprint)

_LACKS = {
    "posteriors": "gives transcripts, no posteriors. Label with it, then use the transcripts",
    "features": "does not take a student's features in training. Label with it by `asr-kd label`",
}


def teacher_kind(name: str | Path) -> PosteriorKind | TranscriptKind:
    """The kind of a teacher. ValueError lists the known prefixes when its prefix is none of them."""
    text = str(name)
    for prefix, kind in TEACHERS.items():
        if prefix and text.startswith(prefix):
            return kind
    unknown = re.match(r"\w+:(?!/)", text)
    if unknown and not Path(text).exists():
        raise ValueError(f"{name}: no teacher has the prefix {unknown[0]} Known: {known_teachers()}.")
    return _EXPORTED if is_onnx(text) else TEACHERS[""]


def known_teachers(what: Gives | None = None) -> str:
    """The names that teachers have, of all or of those that give `what`."""
    kinds = TEACHERS.items()
    return ", ".join(prefix + kind.argument for prefix, kind in kinds if what is None or what in kind.gives)


def posterior_kind(name: str | Path, what: Literal["posteriors", "features"] = "posteriors") -> PosteriorKind:
    """The kind of a teacher that gives `what`. ValueError lists those that do when this one does not."""
    kind = teacher_kind(name)
    if what not in kind.gives:
        raise ValueError(f"{name}: {_LACKS[what]}. Others: {known_teachers(what)}.")
    assert isinstance(kind, PosteriorKind)
    return kind


def load_models(names: Sequence[str | Path]) -> AcousticModel | Wav2Vec2Teacher | OnnxModel | Ensemble:
    """The only teacher, or the ensemble of all. ValueError as for `posterior_kind`, its `load` and `Ensemble`."""
    models = [posterior_kind(name).load(str(name)) for name in names]
    return models[0] if len(models) == 1 else Ensemble(models).eval()


def models_fingerprint(names: Sequence[str | Path]) -> str:
    """Digest of the only teacher, or of all in whatever order."""
    digests = sorted(posterior_kind(name).fingerprint(str(name)) for name in names)
    return digests[0] if len(digests) == 1 else fingerprint(digests)
