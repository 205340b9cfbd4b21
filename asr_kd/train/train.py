"""Labels are frame alignments from `asr-kd align`: the folder that it wrote, or its folders per data set; or nothing
but text, the shards' own or what a teacher heard, which a model of tokens (`asr-kd tokens`) learns by CTC.

The weights that are best on the held-out data end up in OUT/model.safetensors. The same command goes on where it was
stopped.

  asr-kd train exp/shards/labelled --alignments exp/align --dev exp/shards/dev --out exp/teacher
  asr-kd train exp/shards/labelled --alignments exp/align --dev exp/shards/dev --out exp/student \\
      --set model.preset=student-tiny epochs=40 train.optim.lr=0.003
  asr-kd train exp/shards/labelled --tokens exp/tokens --dev exp/shards/dev --out exp/teacher
  asr-kd train exp/shards/labelled exp/shards/unlabelled --tokens exp/tokens --transcripts exp/heard \\
      --dev exp/shards/dev --out exp/student
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from asr_kd.core.config import load_config
from asr_kd.core.progress import SECONDS_PER_HOUR
from asr_kd.core.runtime import device, seed_everything, set_threads
from asr_kd.core.terminal import say
from asr_kd.data.loader import TrainingSet
from asr_kd.data.sampler import BatchSampler
from asr_kd.frontend.augment import AugmentConfig
from asr_kd.frontend.fbank import FrontEndConfig
from asr_kd.models.acoustic import AcousticModel, build_model
from asr_kd.models.checkpoint import init_from_checkpoint, load_model, read_description, save_model
from asr_kd.models.config import model_config
from asr_kd.train.config import TrainConfig
from asr_kd.train.state import STATE_FILE
from asr_kd.train.statistics import feature_statistics, log_priors
from asr_kd.train.supervision import add_supervision_arguments, supervision_from_args
from asr_kd.train.trainer import FitResult, fit, precision_on


@dataclass(frozen=True)
class TrainRun:
    """The config file of `asr-kd train`."""

    model: dict[str, Any] = field(default_factory=lambda: {"preset": "teacher-small"})
    """`preset: NAME`, and fields of ModelConfig that differ from it."""
    frontend: FrontEndConfig = field(default_factory=FrontEndConfig)
    augment: AugmentConfig = field(default_factory=lambda: AugmentConfig(speed_perturb=(0.9, 1.0, 1.1)))
    epochs: int = 30
    """Passes over the labelled data."""
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ValueError(f"epochs is {self.epochs}; it must be 1 or more")
        model_config(self.model)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `asr-kd train`."""
    parser.add_argument("shards", nargs="+", type=Path, help="labelled shards or folders of shards")
    add_supervision_arguments(parser)
    parser.add_argument("--dev", nargs="+", type=Path, required=True, metavar="SHARDS", help="held-out labelled shards")
    parser.add_argument("--config", type=Path, help="YAML of TrainRun, for instance {model: {preset: teacher-an4}}")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="KEY=VALUE", help="changes to the config, such as epochs=5"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the model, the state and the metrics")
    add_run_arguments(parser)


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of every verb that trains."""
    parser.add_argument("--init", type=Path, metavar="MODEL", help="begin with the weights of this model, made alike")
    parser.add_argument(
        "--init-from-layers",
        nargs="+",
        type=int,
        metavar="N",
        help="with --init: which of its layers each layer begins as, counted from 0; 0 2 halves a model of four",
    )
    parser.add_argument("--seed", type=int, help="of weights, batches, augmentation and dropout")
    parser.add_argument("--threads", type=int, help="CPU threads of one operation")
    parser.add_argument("--num-workers", type=int, help="processes that prepare batches")
    parser.add_argument("--device", help="auto, cpu, cuda, cuda:1, ...")
    parser.add_argument(
        "--max-skipped",
        type=float,
        metavar="SHARE",
        help="fail when more than this share of a stream's utterances is skipped as damaged or unusable "
        f"(default: {TrainConfig.max_skipped:g})",
    )
    parser.add_argument("--restart", action="store_true", help="begin anew instead of going on from OUT/state.pt")
    parser.add_argument("--dry-run", action="store_true", help="check and say what would be done")


def run(args: argparse.Namespace) -> int:
    """The verb."""
    set_threads(args.threads)
    changes = {k: v for k in ("seed", "num_workers", "device", "max_skipped") if (v := getattr(args, k)) is not None}
    config = load_config(TrainRun, args.config, args.set)
    config = replace(config, train=replace(config.train, **changes))
    truth, dev_truth = supervision_from_args(args)
    inventory = truth.inventory
    labelled = truth.stream("labelled", args.shards, config.augment)
    dev = dev_truth.stream("dev", args.dev, AugmentConfig())
    seed_everything(config.train.seed)
    model = build_model(model_config(config.model), inventory, config.frontend)
    plan = BatchSampler(labelled, config.train.max_frames_per_batch, config.train.seed, inventory.frame_shift_s)
    steps = config.epochs * sum(1 for _ in plan.epoch(0))
    say(
        f"{model.parameter_count / 1e6:.2f}M parameters, {inventory.num_classes} classes; "
        f"{plan.seconds / SECONDS_PER_HOUR:.2f} h in {plan.utterances} utterances, {config.epochs} epochs, "
        f"about {steps} steps on {device(config.train.device).type}"
    )
    if args.dry_run:
        if args.init is not None or args.init_from_layers is not None:
            initialise_weights(model, labelled, config.train, args.init, args.init_from_layers)  # whether they fit
        return 0
    if args.restart or not (args.out / STATE_FILE).exists():
        initialise_weights(model, labelled, config.train, args.init, args.init_from_layers)
    result = fit(model, [(labelled, 1.0)] * config.epochs, dev, config.train, args.out, resume=not args.restart)
    add_priors(args.out, labelled, config.train)
    say(summary(result, args.out))
    return 0


def initialise_weights(
    model: AcousticModel,
    labelled: TrainingSet,
    config: TrainConfig,
    init: Path | None,
    init_layers: Sequence[int] | None = None,
) -> None:
    """Give a new model the weights of `init`, or of some of its layers, or else the labelled audio's normalisation.

    ValueError as for `init_from_checkpoint`, and for layers of no model.
    """
    if init is not None:
        init_from_checkpoint(model, init, init_layers)
    elif init_layers is not None:
        raise ValueError("--init-from-layers: of which model? Name it with --init.")
    else:
        model.set_normalisation(*feature_statistics(labelled, model.frontend, config.seed, config.num_workers))


def add_priors(out: Path, labelled: TrainingSet, config: TrainConfig) -> None:
    """Put class priors, averaged over the labelled data, into the finished OUT/model.safetensors; done only once."""
    notes = read_description(out)["notes"]
    if "priors" in notes:
        return
    on = device(config.device)
    model = load_model(out).to(on)
    model.log_prior_C.copy_(
        log_priors(model, labelled, config.seed, precision_on(on, config.precision), config.num_workers)
    )
    save_model(out, model, notes | {"priors": labelled.name})


def summary(result: FitResult, out: Path) -> str:
    """The closing line of a run."""
    early = " (stopped early)" if result.stopped_early else ""
    return (
        f"{out}: {result.steps} steps{early}, {result.hours:.2f} h of audio in {result.seconds:.0f} s; best at step "
        f"{result.best_step}: dev loss {result.dev_loss:.3f}, "
        f"{result.accuracy_unit[:-1]} accuracy {100 * result.dev_frame_accuracy:.1f}%"
    )
