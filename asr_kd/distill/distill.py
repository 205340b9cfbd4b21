"""The student learns from a teacher on unlabelled shards and, between them, alignments on labelled ones.

By default it learns the posteriors that `asr-kd label` stored. The config can name any distillation losses instead.
--mode says which other teacher is run on each batch: offline (--online-teacher, where a loss needs it or without
--targets), mutual (a model trained beside the student), mean_teacher or snapshot (the student's earlier weights).

The weights that are best on the held-out data end up in OUT/model.safetensors. The same command goes on where it was
stopped.

  asr-kd distill --unlabelled exp/shards/unlabelled --targets exp/targets \\
      --labelled exp/shards/labelled --alignments exp/aligned --dev exp/shards/dev --out exp/student \\
      --set model.preset=student-tiny schedule.epochs=10
  asr-kd distill ... --online-teacher exp/teacher \\
      --set 'losses=[{kind: kd}, {kind: hidden_states, weight: 0.3, layers: {layer1: layer2}}]'
"""

import argparse
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from asr_kd.core.config import load_config, to_dict
from asr_kd.core.files import read_json, write_json
from asr_kd.core.progress import SECONDS_PER_HOUR
from asr_kd.core.runtime import device, seed_everything, set_threads
from asr_kd.core.storage import parse_path_or_url
from asr_kd.core.terminal import say
from asr_kd.data.loader import TrainingSet
from asr_kd.data.sampler import BatchSampler
from asr_kd.data.utterance_list import UtteranceList
from asr_kd.distill.objective import (
    DistillObjective,
    build_online_teacher,
    check_mode,
    needs_online_teacher,
    parse_loss_spec,
)
from asr_kd.distill.online_teachers.registry import ONLINE_TEACHERS
from asr_kd.distill.schedule import ScheduleConfig, sub_epochs
from asr_kd.frontend.augment import AugmentConfig
from asr_kd.frontend.fbank import FrontEndConfig
from asr_kd.models.acoustic import build_model
from asr_kd.models.checkpoint import model_fingerprint
from asr_kd.models.config import model_config
from asr_kd.shards.reader import find_shards
from asr_kd.targets.empty import NoTargets
from asr_kd.targets.soft_targets import SoftTargets
from asr_kd.teachers.ensemble import models_fingerprint
from asr_kd.train.config import TrainConfig
from asr_kd.train.state import STATE_FILE
from asr_kd.train.supervision import add_supervision_arguments, supervision_from_args
from asr_kd.train.train import add_priors, add_run_arguments, initialise_weights, summary
from asr_kd.train.trainer import fit

RECORD_FILE = "distill.json"
"""Beside the model: what it was distilled from."""


def _three_speeds() -> AugmentConfig:
    return AugmentConfig(speed_perturb=(0.9, 1.0, 1.1))


@dataclass(frozen=True)
class DistillConfig:
    """The config file of `asr-kd distill`."""

    model: dict[str, Any] = field(default_factory=lambda: {"preset": "student-small"})
    """The student: `preset: NAME`, and fields of ModelConfig that differ from it."""
    frontend: FrontEndConfig = field(default_factory=FrontEndConfig)
    """The student's; its frames must have the inventory's shift."""
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    augment: AugmentConfig = field(default_factory=_three_speeds)
    """Of the unlabelled audio for the student; the teacher labelled it as it is."""
    labelled_augment: AugmentConfig = field(default_factory=_three_speeds)
    losses: tuple[dict[str, Any], ...] = ()
    """Distillation losses: a list of `{kind: NAME, weight: 1, ...}` with the loss's own options (distill/losses). Empty
    is `kd` from the stored targets, or in another mode from the online teacher."""
    label_weight: float = 1.0
    """Weight of the loss of the labelled data's ground truth."""
    mode: str = "offline"
    """The online teacher: offline, mutual, mean_teacher or snapshot (distill/online_teachers)."""
    online_teacher: dict[str, Any] = field(default_factory=dict)
    """Options of the mode's online teacher."""
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        model_config(self.model)
        if self.label_weight < 0:
            raise ValueError(f"label_weight is {self.label_weight}; it must not be negative")
        check_mode(self.mode)
        if not self.losses:
            source = "auto" if self.mode == "offline" else "online"
            object.__setattr__(self, "losses", ({"kind": "kd", "source": source},))
        for entry in self.losses:
            parse_loss_spec(entry)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `asr-kd distill`."""
    shards: dict[str, Any] = {"nargs": "+", "type": parse_path_or_url, "required": True, "metavar": "SHARDS"}
    parser.add_argument("--unlabelled", **shards, help="shards that the teacher labelled")
    parser.add_argument(
        "--targets",
        type=parse_path_or_url,
        metavar="DIR",
        help="their soft targets, by `asr-kd label` (default: only the online teacher teaches)",
    )
    parser.add_argument(
        "--utterances", type=Path, metavar="LIST", help="learn from these unlabelled utterances, by `asr-kd filter`"
    )
    parser.add_argument("--labelled", **shards, help="labelled shards")
    add_supervision_arguments(parser)
    parser.add_argument("--dev", **shards, help="held-out labelled shards")
    parser.add_argument(
        "--config", type=Path, help="YAML of DistillConfig, for instance {model: {preset: student-tiny}}"
    )
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="KEY=VALUE", help="changes to the config, such as schedule.epochs=5"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the model, the state and the metrics")
    parser.add_argument(
        "--teacher",
        nargs="+",
        type=Path,
        metavar="MODEL",
        help="model that made the soft targets, or several that were averaged; targets of other teachers are refused",
    )
    parser.add_argument(
        "--online-teacher",
        nargs="+",
        type=Path,
        metavar="MODEL",
        help="teacher that is run on each batch (default: --teacher); with --mode mutual, initial weights of the peer",
    )
    parser.add_argument(
        "--hard-labels", action="store_true", help="learn the teacher's arg-max instead of its posteriors"
    )
    parser.add_argument(
        "--top-k", type=int, help="use only the k most likely stored classes; the rest counts as residual"
    )
    parser.add_argument("--temperature", type=float, help="of the losses `kd`")
    parser.add_argument("--mode", choices=tuple(ONLINE_TEACHERS), help="the online teacher (default: offline)")
    parser.add_argument(
        "--residual", choices=("keep", "renormalise"), help="use of the probability that was not stored"
    )
    add_run_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """The verb."""
    set_threads(args.threads)
    config = _config(args)
    truth, held_out = supervision_from_args(args)
    inventory = truth.inventory
    labelled = truth.stream("labelled", args.labelled, config.labelled_augment)
    dev = held_out.stream("dev", args.dev, AugmentConfig())
    wanted = None if args.teacher is None else models_fingerprint(args.teacher)
    targets: SoftTargets | NoTargets = NoTargets(config.frontend)
    if args.targets is not None:
        targets = SoftTargets(args.targets, inventory, wanted, hard=args.hard_labels, k=args.top_k)
    elif args.hard_labels or args.top_k is not None:
        raise ValueError("--hard-labels and --top-k: only used with --targets")
    only = None if args.utterances is None else UtteranceList.read(args.utterances)
    unlabelled = TrainingSet(
        "unlabelled",
        find_shards(*args.unlabelled),
        targets,
        config.augment,
        is_supervised=False,
        utterance_ids=only.ids if only else None,
    )
    teacher = targets.check(unlabelled.shards) if isinstance(targets, SoftTargets) else wanted
    schedule = list(sub_epochs(config.schedule, unlabelled, labelled))
    plan = BatchSampler(unlabelled, config.train.max_frames_per_batch, config.train.seed)
    if only:
        only.check(plan.missing)
    seed_everything(config.train.seed)
    model = build_model(model_config(config.model), inventory, config.frontend)
    stored = args.targets is not None
    online_teacher = None
    if config.mode != "offline" or needs_online_teacher(config.losses, stored):
        paths = args.online_teacher or (config.mode == "offline" and args.teacher) or ()
        online_teacher = build_online_teacher(config.mode, config.online_teacher, model, paths)
    elif args.online_teacher is not None:
        raise ValueError("--online-teacher: no configured loss uses an online teacher")
    objective = DistillObjective(model, config.losses, config.label_weight, online_teacher, stored)
    say(
        f"{model.parameter_count / 1e6:.2f}M parameters, {inventory.num_classes} classes; "
        f"{_hours(plan)} unlabelled, "
        f"{_hours(BatchSampler(labelled, config.train.max_frames_per_batch, config.train.seed))} labelled, "
        f"{len(schedule)} sub-epochs on {device(config.train.device).type}"
    )
    if args.dry_run:
        if args.init is not None or args.init_from_layers is not None:
            initialise_weights(model, labelled, config.train, args.init, args.init_from_layers)  # whether they fit
        return 0
    goes_on = not args.restart and (args.out / STATE_FILE).exists()
    init = None if args.init is None else model_fingerprint(args.init)
    record = {
        "teacher": teacher,
        "hard": args.hard_labels,
        "k": args.top_k,
        "init": init,
        "schedule": to_dict(config.schedule),
    }
    record |= {"only": only and only.digest, "init_layers": args.init_from_layers}
    if goes_on:
        _check_record(args.out, record)
    else:
        initialise_weights(model, labelled, config.train, args.init, args.init_from_layers)
        if online_teacher is not None:
            online_teacher.on_train_start(model, labelled, config.train)
        write_json(args.out / RECORD_FILE, record)
    result = fit(model, schedule, dev, config.train, args.out, not args.restart, objective)
    add_priors(args.out, labelled, config.train)
    say(summary(result, args.out))
    return 0


def _config(args: argparse.Namespace) -> DistillConfig:
    """The config file with what the command line changes."""
    kd = {k: v for k in ("temperature", "residual") if (v := getattr(args, k)) is not None}
    train = {k: v for k in ("seed", "num_workers", "device", "max_skipped") if (v := getattr(args, k)) is not None}
    mode = [] if args.mode is None else [f"mode={args.mode}"]
    config = load_config(DistillConfig, args.config, [*args.set, *mode])
    if kd and not any(entry["kind"] == "kd" for entry in config.losses):
        raise ValueError(f"--{next(iter(kd))}: the config has no loss `kd`")
    losses = tuple(entry | kd if entry["kind"] == "kd" else entry for entry in config.losses)
    return replace(config, losses=losses, train=replace(config.train, **train))


def _hours(plan: BatchSampler) -> str:
    return f"{plan.seconds / SECONDS_PER_HOUR:.2f} h in {plan.utterances} utterances"


def _check_record(out: Path, record: dict[str, Any]) -> None:
    """ValueError when the run in `out` learned from other targets than the one that would go on."""
    path = out / RECORD_FILE
    found = read_json(path)
    for key, now in record.items():
        if found.get(key) != now:
            raise ValueError(
                f"{path}: this run was begun with {key} = {found.get(key)}, here it is {now}. "
                "Give the same to go on, another --out for another run, or --restart to begin this one anew."
            )
