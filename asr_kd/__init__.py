"""asr_kd: semi-supervised speech recognition by a teacher that labels and a student that learns from it.

    import asr_kd
    student = asr_kd.load("exp/student", graph="exp/graph", scales="exp/student/tune")
    print(student.transcribe("hello.wav").text)

Every command of the shell is a function of a config here: `asr_kd.distill_student(asr_kd.DistillRun(...))`.
docs/python.md has all of it.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.3.0"

_PLACES = {
    "decode.transcriber": ("Transcriber", "load"),
    "transcripts.recognised": ("Transcript", "Word"),
    "corpora.folder": ("FolderRun", "prepare_folder"),
    "cleaning.annotate": ("AnnotateRun", "annotate_manifests"),
    "shards.shard": ("ShardRun", "make_shards"),
    "jobs.make_catalogue": ("CatalogueRun", "make_catalogue"),
    "inventory.make_tokens": ("TokensRun", "make_tokens"),
    "align.align": ("AlignRun", "align_shards"),
    "train.train": ("TrainRun", "train_model"),
    "label.label": ("LabelRun", "label_shards"),
    "transcripts.filter": ("FilterRun", "filter_transcripts"),
    "distill.distill": ("DistillRun", "distill_student"),
    "distill.losses.spec": ("LossSpec",),
    "models.quantise": ("QuantiseRun", "quantise"),
    "graph.graph": ("GraphRun", "build_graph"),
    "decode.tune": ("TuneRun", "tune_scales"),
    "decode.decode": ("DecodeRun", "decode_shards"),
    "decode.transcribe": ("TranscribeRun", "transcribe_files"),
    "export.export": ("ExportRun", "export_model"),
    "evaluation.score": ("ScoreRun", "score_hypotheses"),
    "core.config": ("load_config", "to_dict"),
}
_PLACE_OF = {name: place for place, names in _PLACES.items() for name in names}

if TYPE_CHECKING:  # `as`: exported, also for mypy --strict
    from asr_kd.align.align import AlignRun as AlignRun
    from asr_kd.align.align import align_shards as align_shards
    from asr_kd.cleaning.annotate import AnnotateRun as AnnotateRun
    from asr_kd.cleaning.annotate import annotate_manifests as annotate_manifests
    from asr_kd.core.config import load_config as load_config
    from asr_kd.core.config import to_dict as to_dict
    from asr_kd.corpora.folder import FolderRun as FolderRun
    from asr_kd.corpora.folder import prepare_folder as prepare_folder
    from asr_kd.decode.decode import DecodeRun as DecodeRun
    from asr_kd.decode.decode import decode_shards as decode_shards
    from asr_kd.decode.transcribe import TranscribeRun as TranscribeRun
    from asr_kd.decode.transcribe import transcribe_files as transcribe_files
    from asr_kd.decode.transcriber import Transcriber as Transcriber
    from asr_kd.decode.transcriber import load as load
    from asr_kd.decode.tune import TuneRun as TuneRun
    from asr_kd.decode.tune import tune_scales as tune_scales
    from asr_kd.distill.distill import DistillRun as DistillRun
    from asr_kd.distill.distill import distill_student as distill_student
    from asr_kd.distill.losses.spec import LossSpec as LossSpec
    from asr_kd.evaluation.score import ScoreRun as ScoreRun
    from asr_kd.evaluation.score import score_hypotheses as score_hypotheses
    from asr_kd.export.export import ExportRun as ExportRun
    from asr_kd.export.export import export_model as export_model
    from asr_kd.graph.graph import GraphRun as GraphRun
    from asr_kd.graph.graph import build_graph as build_graph
    from asr_kd.inventory.make_tokens import TokensRun as TokensRun
    from asr_kd.inventory.make_tokens import make_tokens as make_tokens
    from asr_kd.jobs.make_catalogue import CatalogueRun as CatalogueRun
    from asr_kd.jobs.make_catalogue import make_catalogue as make_catalogue
    from asr_kd.label.label import LabelRun as LabelRun
    from asr_kd.label.label import label_shards as label_shards
    from asr_kd.models.quantise import QuantiseRun as QuantiseRun
    from asr_kd.models.quantise import quantise as quantise
    from asr_kd.shards.shard import ShardRun as ShardRun
    from asr_kd.shards.shard import make_shards as make_shards
    from asr_kd.train.train import TrainRun as TrainRun
    from asr_kd.train.train import train_model as train_model
    from asr_kd.transcripts.filter import FilterRun as FilterRun
    from asr_kd.transcripts.filter import filter_transcripts as filter_transcripts
    from asr_kd.transcripts.recognised import Transcript as Transcript
    from asr_kd.transcripts.recognised import Word as Word

__all__ = ["__version__", *_PLACE_OF]


def __getattr__(name: str) -> Any:
    """Modules are imported when something of them is used: torch takes seconds."""
    if name not in _PLACE_OF:
        raise AttributeError(f"module 'asr_kd' has no attribute '{name}'")
    return getattr(importlib.import_module(f"asr_kd.{_PLACE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACE_OF})
