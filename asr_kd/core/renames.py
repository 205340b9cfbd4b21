"""Names of version 0.2 that 0.3 changed. An old name is answered by one line with the new one; nothing is an alias.

Files that 0.2 wrote (models, sidecars, transcripts) are read: `current_keys` translates their configs.
"""

from collections.abc import Mapping
from typing import Any

COMMANDS = {"select": "filter", "compare": "experiment"}

_TRAINING = {"--init-layers": "--init-from-layers", "--workers": "--num-workers"}
_TRANSCRIPTS = {"--least-confidence": "--min-confidence"}
_BENCH = {"--rounds": "--repeats", "--try": "--batch-frames", "--frames-per-batch": "--max-frames-per-batch"}

FLAGS: dict[str, dict[str, str]] = {
    "prepare": {
        "--dev-share": "--dev-fraction",
        "--test-share": "--test-fraction",
        "--labelled-share": "--labelled-fraction",
    },
    "tokens": {"--kind": "--type"},
    "align": {"--also": "--align-only", **_TRANSCRIPTS},
    "train": {**_TRAINING, **_TRANSCRIPTS},
    "label": {
        "--k": "--top-k",
        "--mass": "--top-p",
        "--floor": "--min-prob",
        "--levels": "--quant-levels",
        "--tries": "--max-attempts",
        "--engine": "--backend",
        "--address": "--ray-address",
        "--graph-weight": "--lattice-weight",
        "--decode": "--write-transcripts",
        "--scales": "--decoding-scales",
        "--frames-per-batch": "--max-frames-per-batch",
    },
    "distill": {
        "--listener": "--online-teacher",
        "--hard": "--hard-labels",
        "--k": "--top-k",
        "--tail": "--residual",
        "--only": "--utterances",
        **_TRAINING,
        **_TRANSCRIPTS,
    },
    "graph": {"--classes": "--word-classes"},
    "tune": {"--acoustic": "--acoustic-scales", "--prior": "--prior-scales"},
    "decode": {"--scales": "--decoding-scales"},
    "score": {"--resample": "--bootstrap-unit", "--resamples": "--bootstrap-samples"},
    "report": {"--worst": "--num-examples"},
    "results": {"--keep": "--merge"},
    "bench": _BENCH,
    "experiment": {"--let": "--var", "--join": "--merge-results"},
}
"""Options by command."""

KEYS: dict[str, dict[str, str]] = {
    "ModelConfig": {
        "kind": "encoder",
        "layers": "num_layers",
        "hidden": "hidden_size",
        "projection": "proj_size",
        "heads": "num_heads",
        "kernel": "conv_kernel_size",
        "weights": "weight_dtype",
    },
    "FrontEndConfig": {
        "stack": "frame_stacking",
        "mean": "cmn",
        "mean_window_s": "cmn_window_s",
        "mean_prior_s": "cmn_init_s",
        "mean_prior": "cmn_init",
    },
    "AugmentConfig": {
        "speeds": "speed_perturb",
        "room_probability": "reverb_prob",
        "t60_s": "rt60_s",
        "noise_probability": "noise_prob",
        "gain_db": "volume_db",
        "spec_time_masks": "num_time_masks",
        "spec_time_width": "max_time_width",
        "spec_time_fraction": "max_time_ratio",
        "spec_mel_masks": "num_freq_masks",
        "spec_mel_width": "max_freq_width",
    },
    "OptimConfig": {"warmup": "warmup_fraction", "floor": "min_lr_ratio", "clip": "max_grad_norm"},
    "TrainConfig": {
        "frames_per_batch": "max_frames_per_batch",
        "best_by": "select_checkpoint_by",
        "save_minutes": "checkpoint_every_minutes",
        "workers": "num_workers",
    },
    "FlatStartConfig": {
        "mono_rounds": "mono_iterations",
        "mono_components": "mono_gaussians",
        "triphone_rounds": "triphone_iterations",
        "triphone_components": "triphone_gaussians",
    },
    "DistillRun": {"knowledge": "losses", "truth": "label_weight", "companion": "online_teacher_options"},
    "KDConfig": {
        "match": "frame_matching",
        "blank_most": "max_blank_prob",
        "delays": "max_shift_frames",
        "tail": "residual",
    },
    "FeatureLossConfig": {"measure": "distance"},
    "SPKDConfig": {"of": "level", "most": "max_items"},
    "RKDConfig": {"of": "level", "most": "max_items", "distances": "distance_weight", "angles": "angle_weight"},
    "SelfDistillationConfig": {"targets": "label_weight", "hidden": "feature_weight"},
    "PeerTeacherConfig": {"feedback": "peer_kd_weight"},
    "MeanTeacherConfig": {"begin": "start_after_sub_epochs"},
    "SnapshotTeacherConfig": {"every": "interval_sub_epochs", "begin": "start_after_sub_epochs"},
    "Suite": {"let": "vars", "rows": "systems"},
}
"""Keys of configs by their dataclass."""

VALUES: dict[str, dict[str, str]] = {
    "kind": {
        "response": "kd",
        "hidden": "hidden_states",
        "similarity": "spkd",
        "relations": "rkd",
        "flow": "fsp",
        "deeper": "self_distillation",
    },
    "mode": {"online": "mutual", "average": "mean_teacher"},
    "source": {"companion": "online"},
    "frame_matching": {"frames": "aligned", "selected": "non_blank", "delayed": "shifted"},
    "residual": {"tail": "keep"},
    "type": {"pieces": "unigram"},
    "corpus": {"voices": "synthetic"},
}
"""Values by their key."""


OLD_FILES = {
    "hidden.jsonl": "unlabelled_references.jsonl",
    "set_aside.jsonl": "rejected.jsonl",
    "measured.jsonl": "results.jsonl",
}
"""Files that commands write, by their name."""


def renamed_file(name: str) -> str:
    """A sentence for a message when a file of this name is called otherwise since 0.3, else nothing."""
    return f" Since version 0.3 {name} is called {OLD_FILES[name]}." if name in OLD_FILES else ""


def renamed_value(key: str, value: object) -> str:
    """A sentence for a message when `value` is the old name of a value of `key`, else nothing."""
    new = VALUES.get(key, {}).get(value) if isinstance(value, str) else None
    return "" if new is None else f". Since version 0.3 {value} is called {new}"


def current_keys(config: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a config that a file of version 0.2 holds, by today's names. config: name of its dataclass."""
    renamed = KEYS.get(config, {})
    return {renamed.get(key, key): value for key, value in data.items()}
