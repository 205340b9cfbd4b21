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
    "shards.shard": ("ShardRun", "make_shards"),
    "inventory.make_tokens": ("TokensRun", "make_tokens"),
    "align.align": ("AlignRun", "align_shards"),
    "train.train": ("TrainRun", "train_model"),
    "label.label": ("LabelRun", "label_shards"),
    "transcripts.filter": ("FilterRun", "filter_transcripts"),
    "distill.distill": ("DistillRun", "distill_student"),
    "models.quantise": ("QuantiseRun", "quantise"),
    "graph.graph": ("GraphRun", "build_graph"),
    "decode.tune": ("TuneRun", "tune_scales"),
    "decode.decode": ("DecodeRun", "decode_shards"),
    "evaluation.score": ("ScoreRun", "score_hypotheses"),
    "core.config": ("load_config", "to_dict"),
}
_PLACE_OF = {name: place for place, names in _PLACES.items() for name in names}

if TYPE_CHECKING:
    from asr_kd.align.align import AlignRun, align_shards
    from asr_kd.core.config import load_config, to_dict
    from asr_kd.corpora.folder import FolderRun, prepare_folder
    from asr_kd.decode.decode import DecodeRun, decode_shards
    from asr_kd.decode.transcriber import Transcriber, load
    from asr_kd.decode.tune import TuneRun, tune_scales
    from asr_kd.distill.distill import DistillRun, distill_student
    from asr_kd.evaluation.score import ScoreRun, score_hypotheses
    from asr_kd.graph.graph import GraphRun, build_graph
    from asr_kd.inventory.make_tokens import TokensRun, make_tokens
    from asr_kd.label.label import LabelRun, label_shards
    from asr_kd.models.quantise import QuantiseRun, quantise
    from asr_kd.shards.shard import ShardRun, make_shards
    from asr_kd.train.train import TrainRun, train_model
    from asr_kd.transcripts.filter import FilterRun, filter_transcripts
    from asr_kd.transcripts.recognised import Transcript, Word

__all__ = ["__version__", *_PLACE_OF]


def __getattr__(name: str) -> Any:
    """Modules are imported when something of them is used: torch takes seconds."""
    if name not in _PLACE_OF:
        raise AttributeError(f"module 'asr_kd' has no attribute '{name}'")
    return getattr(importlib.import_module(f"asr_kd.{_PLACE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACE_OF})
