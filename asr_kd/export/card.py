"""The model card: what is known of an exported model, from its files and from scores, and nothing else."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import yaml

from asr_kd import __version__
from asr_kd.core.commands import CONFIG_FILE, command_line
from asr_kd.core.files import atomic_path, read_json
from asr_kd.core.runtime import device_name
from asr_kd.evaluation.table import percent, span
from asr_kd.export.templates import template
from asr_kd.models.acoustic import AcousticModel
from asr_kd.models.checkpoint import model_file, model_fingerprint
from asr_kd.shards.catalogue import open_catalogue
from asr_kd.teachers.onnx_model import GRAPH_FOLDER, INT8_FILE, MODEL_FILE, OnnxModel, WindowRun

SECONDS_PER_HOUR = 3600
MEASURED_WINDOWS = 50
SCORES_FILE = "scores.json"


@dataclass(frozen=True)
class Corpus:
    """Audio that a model learnt from."""

    what: str
    """Labelled, unlabelled."""
    paths: list[str]
    hours: float | None
    """None where it cannot be read any more."""


@dataclass(frozen=True)
class Figure:
    """Error rate on one test set."""

    manifest: str
    system: str
    utterances: int
    measure: str
    """WER, or CER for languages without spaces between words."""
    rate: str
    interval: str
    command: str


@dataclass(frozen=True)
class ExportedFile:
    """One form of the network."""

    name: str
    megabytes: float


@dataclass(frozen=True)
class Card:
    """All of it but what is measured on the finished folder."""

    model: AcousticModel
    fingerprint: str
    latency_ms: float
    corpora: list[Corpus]
    teachers: list[str]
    figures: list[Figure]
    licence: str | None

    @staticmethod
    def of(path: Path, model: AcousticModel, scores: Sequence[Path], licence: str | None, latency_s: float) -> "Card":
        """Gather what the files say. ValueError for scores that are none, or have nothing of this model."""
        digest = model_fingerprint(path)
        config_file = model_file(path).parent / CONFIG_FILE
        config = yaml.safe_load(config_file.read_text(encoding="utf-8")) if config_file.is_file() else {}
        config = config if isinstance(config, dict) else {}
        return Card(
            model,
            digest,
            1000 * latency_s,
            _corpora(config),
            [str(teacher) for teacher in config.get("teacher") or []],
            [figure for each in scores for figure in _figures(each, digest, str(path))],
            licence,
        )

    def files(self, folder: Path) -> list[ExportedFile]:
        """The network's forms and their sizes."""
        return [ExportedFile(name, (folder / name).stat().st_size / 1e6) for name in (MODEL_FILE, INT8_FILE)]


def write_card(path: Path, card: Card, folder: Path, unfit: str | None) -> None:
    """Write the card of a finished folder. unfit: why there is no form for sherpa-onnx."""
    exported = OnnxModel(folder / MODEL_FILE)
    chunk_ms = 1000 * exported.chunk * card.model.inventory.frame_shift_s
    text = template("card.md.j2").render(
        card=card,
        config=card.model.config,
        frontend=card.model.frontend,
        inventory=card.model.inventory,
        files=[(file, _milliseconds(folder / file.name)) for file in card.files(folder)],
        chunk=exported.chunk,
        chunk_ms=chunk_ms,
        window=(exported.chunk + exported.lookahead) * card.model.frontend.frame_stacking,
        hop=exported.chunk * card.model.frontend.frame_stacking,
        has_graph=(folder / GRAPH_FOLDER).is_dir(),
        unfit=unfit,
        folder=folder,
        processor=device_name(torch.device("cpu")),
        version=__version__,
        command=command_line(),
    )
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _milliseconds(file: Path) -> float:
    """Median time of one window on one thread here."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model = OnnxModel(file)
    finally:
        torch.set_num_threads(threads)
    run = WindowRun(model)
    features = model.frontend.mel_bins * model.frontend.frame_stacking
    x_NTF = np.random.default_rng(0).standard_normal((1, run.window, features)).astype(np.float32)
    times = []
    for _ in range(MEASURED_WINDOWS):
        began = time.perf_counter()
        run.step(x_NTF, np.array([run.window]))
        times.append(time.perf_counter() - began)
    return 1000 * median(times)


def _corpora(config: dict[str, Any]) -> list[Corpus]:
    """What the run's config names."""
    named = (("labelled", config.get("labelled") or config.get("shards")), ("unlabelled", config.get("unlabelled")))
    return [Corpus(what, [str(p) for p in paths], _hours(paths)) for what, paths in named if paths]


def _hours(paths: Sequence[str]) -> float | None:
    try:
        return float(open_catalogue(*map(str, paths)).seconds_N.sum()) / SECONDS_PER_HOUR
    except (ValueError, OSError):  # moved or deleted since
        return None


def _figures(scores: Path, digest: str, model: str) -> list[Figure]:
    file = scores / SCORES_FILE if scores.is_dir() else scores
    data = read_json(file)
    try:
        found = [
            Figure(
                str(data["reference"]["manifest"]),
                name,
                int(data["utterances"]),
                str(data.get("measure", "WER")),
                percent(system["wer"]),
                span(system["ci95"]),
                str(data["command"]),
            )
            for name, system in data["systems"].items()
            if (system.get("decode") or {}).get("model") == digest
        ]
    except (KeyError, TypeError, AttributeError, ValueError):
        raise ValueError(f"{file}: not written by `asr-kd score`") from None
    if not found:
        raise ValueError(
            f"{file}: none of its systems is {model} (its fingerprint {digest[:8]} is compared with decode.json beside "
            "the hypotheses). Decode and score this model, or leave --scores out."
        )
    return found
