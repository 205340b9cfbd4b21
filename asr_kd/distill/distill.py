"""The student learns the teacher's soft targets on unlabelled shards and, between them, alignments on labelled ones.

The weights that are best on the held-out data end up in OUT/model.safetensors. The same command goes on where it was
stopped.

  asr-kd distill --unlabelled exp/shards/unlabelled --targets exp/targets \\
      --labelled exp/shards/labelled --alignments exp/aligned --dev exp/shards/dev --out exp/student \\
      --set model.preset=student-tiny schedule.epochs=10
"""

import argparse
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from asr_kd.core.config import load_config, to_dict
from asr_kd.core.files import read_json, write_json
from asr_kd.core.progress import SECONDS_PER_HOUR
from asr_kd.core.runtime import device, seed_everything, set_threads
from asr_kd.core.storage import location
from asr_kd.distill.only import OnlyList
from asr_kd.distill.schedule import ScheduleConfig, sub_epochs
from asr_kd.frontend.augment import AugmentConfig
from asr_kd.frontend.fbank import FrontEndConfig
from asr_kd.label.soft_targets import SoftTargets
from asr_kd.models.acoustic import build_model
from asr_kd.models.checkpoint import model_fingerprint
from asr_kd.models.config import model_config
from asr_kd.models.ensemble import models_fingerprint
from asr_kd.shards.reader import find_shards
from asr_kd.train.alignments import find_inventory
from asr_kd.train.config import TrainConfig
from asr_kd.train.data import Stream
from asr_kd.train.loop import fit
from asr_kd.train.plan import BatchPlan
from asr_kd.train.state import STATE_FILE
from asr_kd.train.train import add_priors, add_run_arguments, begin, labelled_stream, summary

RECORD_FILE = "distill.json"
"""Beside the model: what it was distilled from."""


def _three_speeds() -> AugmentConfig:
    return AugmentConfig(speeds=(0.9, 1.0, 1.1))


@dataclass(frozen=True)
class DistillConfig:
    """The config file of `asr-kd distill`."""

    model: dict[str, Any] = field(default_factory=lambda: {"preset": "student-small"})
    """The student: `preset: NAME`, and fields of ModelConfig that differ from it."""
    frontend: FrontEndConfig = field(default_factory=FrontEndConfig)
    """The student's; its frames must have the inventory's shift."""
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    augment: AugmentConfig = field(default_factory=_three_speeds)
    """Of the unlabelled audio: the student hears it changed, the teacher heard it as it is."""
    labelled_augment: AugmentConfig = field(default_factory=_three_speeds)
    train: TrainConfig = field(default_factory=TrainConfig)
    """Optimiser and the rest; `train.loss` has the temperature and what becomes of the tail."""

    def __post_init__(self) -> None:
        model_config(self.model)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `asr-kd distill`."""
    shards: dict[str, Any] = {"nargs": "+", "type": location, "required": True, "metavar": "SHARDS"}
    parser.add_argument("--unlabelled", **shards, help="shards that the teacher labelled")
    parser.add_argument(
        "--targets", type=location, required=True, metavar="DIR", help="their soft targets, by `asr-kd label`"
    )
    parser.add_argument(
        "--only", type=Path, metavar="LIST", help="learn from these unlabelled utterances, by `asr-kd select`"
    )
    parser.add_argument("--labelled", **shards, help="labelled shards")
    parser.add_argument(
        "--alignments", nargs="+", type=Path, required=True, metavar="DIR", help="their alignments, by `asr-kd align`"
    )
    parser.add_argument("--dev", **shards, help="held-out labelled shards")
    parser.add_argument(
        "--dev-alignments", nargs="+", type=Path, metavar="DIR", help="their alignments (default: --alignments)"
    )
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
        help="refuse soft targets that were not made by this model, or these",
    )
    parser.add_argument("--hard", action="store_true", help="learn the teacher's arg-max instead of its posteriors")
    parser.add_argument("--k", type=int, help="use only the k likeliest stored classes, the rest joins the tail")
    parser.add_argument("--temperature", type=float, help="train.loss.temperature")
    parser.add_argument("--tail", choices=("tail", "renormalise"), help="train.loss.tail")
    add_run_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """The verb."""
    set_threads(args.threads)
    config = _config(args)
    inventory = find_inventory(args.alignments)
    labelled = labelled_stream("labelled", args.labelled, args.alignments, inventory, config.labelled_augment)
    dev = labelled_stream("dev", args.dev, args.dev_alignments or args.alignments, inventory, AugmentConfig())
    wanted = None if args.teacher is None else models_fingerprint(args.teacher)
    targets = SoftTargets(args.targets, inventory, wanted, hard=args.hard, k=args.k)
    only = None if args.only is None else OnlyList.read(args.only)
    unlabelled = Stream(
        "unlabelled",
        find_shards(*args.unlabelled),
        targets,
        config.augment,
        truth=False,
        only=only.ids if only else None,
    )
    teacher = targets.check(unlabelled.shards)
    schedule = list(sub_epochs(config.schedule, unlabelled, labelled))
    plan = BatchPlan(unlabelled, config.train.frames_per_batch, config.train.seed)
    if only:
        only.check(plan.missing)
    seed_everything(config.train.seed)
    model = build_model(model_config(config.model), inventory, config.frontend)
    _say(
        f"{model.parameter_count / 1e6:.2f}M parameters, {inventory.size} classes; "
        f"{_hours(plan)} unlabelled, "
        f"{_hours(BatchPlan(labelled, config.train.frames_per_batch, config.train.seed))} labelled, "
        f"{len(schedule)} sub-epochs on {device(config.train.device).type}"
    )
    if args.dry_run:
        return 0
    goes_on = not args.restart and (args.out / STATE_FILE).exists()
    init = None if args.init is None else model_fingerprint(args.init)
    record = {"teacher": teacher, "hard": args.hard, "k": args.k, "init": init, "schedule": to_dict(config.schedule)}
    record |= {"only": only and only.digest, "init_layers": args.init_layers}
    if goes_on:
        _check_record(args.out, record)
    else:
        begin(model, labelled, config.train, args.init, args.init_layers)
        write_json(args.out / RECORD_FILE, record)
    result = fit(model, schedule, dev, config.train, args.out, resume=not args.restart)
    add_priors(args.out, labelled, config.train)
    _say(summary(result, args.out))
    return 0


def _config(args: argparse.Namespace) -> DistillConfig:
    """The config file with what the command line changes."""
    loss = {k: v for k in ("temperature", "tail") if (v := getattr(args, k)) is not None}
    train = {k: v for k in ("seed", "workers", "device") if (v := getattr(args, k)) is not None}
    config = load_config(DistillConfig, args.config, args.set)
    return replace(config, train=replace(config.train, loss=replace(config.train.loss, **loss), **train))


def _hours(plan: BatchPlan) -> str:
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


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
