"""With --alignments (`asr-kd align`): a hybrid model, trained with cross-entropy on frame-level senones. With --tokens
(`asr-kd tokens`): a CTC model, trained on the shards' text or on a teacher's transcripts. One of the two is needed.
The default model is model.preset=teacher-small.

OUT/model.safetensors has the weights that are best on --dev. The same command resumes a stopped run.

  asr-kd train exp/shards/labelled --alignments exp/align --dev exp/shards/dev --out exp/teacher
  asr-kd train exp/shards/labelled --alignments exp/align --dev exp/shards/dev --out exp/student \\
      --set model.preset=student-tiny epochs=40 train.optim.lr=0.003
  asr-kd train exp/shards/labelled --tokens exp/tokens --dev exp/shards/dev --out exp/teacher
  asr-kd train exp/shards/labelled exp/shards/unlabelled --tokens exp/tokens --transcripts exp/transcripts \\
      --dev exp/shards/dev --out exp/student
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asr_kd.core.commands import command
from asr_kd.core.options import THREADS_HELP, argument, option
from asr_kd.core.ranks import ranks, start_ranks
from asr_kd.core.runtime import device, seed_everything, set_threads, training_precision
from asr_kd.core.terminal import say
from asr_kd.data.sampler import BatchSampler, TrainingSet
from asr_kd.frontend.augment import AugmentConfig
from asr_kd.frontend.fbank import FrontEndConfig
from asr_kd.models.acoustic import AcousticModel, build_model
from asr_kd.models.checkpoint import (
    init_from_checkpoint,
    load_model,
    model_fingerprint,
    read_description,
    save_model,
)
from asr_kd.models.config import PRESETS, ModelConfig
from asr_kd.train.cmvn import feature_statistics
from asr_kd.train.config import TrainConfig
from asr_kd.train.fit_result import FitResult
from asr_kd.train.priors import log_priors
from asr_kd.train.state import STATE_FILE
from asr_kd.train.supervision import SupervisionOptions, supervision
from asr_kd.train.trainer import Trainer

DEFAULT_AUGMENT = AugmentConfig(speed_perturb=(0.9, 1.0, 1.1))
WEIGHTS_HELP = (
    "how often an epoch reads it; 0.5 is half of its shards, drawn anew each epoch, 2 is all of them twice "
    "(default: once)"
)


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(SupervisionOptions):
    """Of every command that trains."""

    out: Path = option("output folder: model.safetensors, state.pt and metrics.jsonl")
    init: Path | None = option(
        "initialise the weights from this model; the architecture must match", None, metavar="MODEL"
    )
    init_from_layers: tuple[int, ...] = option(
        "with --init: the layers of MODEL that initialise layer 0, 1, ... here; `0 2` keeps every other one of four",
        (),
        metavar="N",
    )
    threads: int | None = option(THREADS_HELP, None, metavar="N")
    restart: bool = option("start again instead of resuming from OUT/state.pt", False)
    dry_run: bool = option("check the inputs and say what would be done; train nothing", False)
    train: TrainConfig = field(default_factory=TrainConfig)


@dataclass(frozen=True, kw_only=True)
class TrainRun(TrainingOptions):
    """What `asr-kd train` is given."""

    shards: tuple[Path, ...] = argument("labelled shards or folders of shards")
    weights: tuple[float, ...] = option(f"of each of SHARDS: {WEIGHTS_HELP}", (), metavar="X")
    dev: tuple[Path, ...] = option("held-out labelled shards", metavar="SHARDS")
    model: ModelConfig = PRESETS["teacher-small"]
    """`preset: NAME`, and fields of ModelConfig that differ from it."""
    frontend: FrontEndConfig = field(default_factory=FrontEndConfig)
    augment: AugmentConfig = DEFAULT_AUGMENT
    epochs: int = 30
    """Passes over the labelled data."""

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ValueError(f"epochs is {self.epochs}; it must be 1 or more")


@command()
def train_model(config: TrainRun) -> None:
    """Train a model on labelled shards, or go on with it."""
    set_threads(config.threads)
    start_ranks(60 * config.train.rank_timeout_minutes)
    source, dev_source = supervision(config)
    inventory = source.inventory
    labelled = source.stream("labelled", config.shards, config.augment, config.weights)
    dev = dev_source.stream("dev", config.dev, AugmentConfig())
    seed_everything(config.train.seed)
    model = build_model(config.model, inventory, config.frontend)
    plan = sampler(labelled, config.train, inventory.frame_shift_s)
    say(
        f"{model.parameter_count / 1e6:.2f}M parameters, {inventory.num_classes} classes; {plan.describe()}, "
        f"{config.epochs} epochs, about {config.epochs * plan.steps()} steps on {device(config.train.device).type}"
    )
    if config.dry_run:
        if config.init is not None or config.init_from_layers:
            initialise_weights(model, labelled, config)  # whether they fit
        return
    if config.restart or not (config.out / STATE_FILE).exists():
        initialise_weights(model, labelled, config)
    schedule = [(labelled, 1.0)] * config.epochs
    result = Trainer(
        model, schedule, dev, config.train, config.out, not config.restart, begun_with=initial_weights(config)
    ).run()
    ranks().on_first(lambda: add_priors(config.out, labelled, config.train))
    say(summary(result, config.out))


def sampler(stream: TrainingSet, config: TrainConfig, frame_shift_s: float) -> BatchSampler:
    """The plan by which a run trains on a set."""
    return BatchSampler(stream, config.max_frames_per_batch, config.seed, frame_shift_s, lanes=config.lanes)


def initial_weights(config: TrainingOptions) -> dict[str, Any]:
    """What a run began as: it goes on with the same alone."""
    init = None if config.init is None else model_fingerprint(config.init)
    return {"init": init, "init_layers": list(config.init_from_layers) or None}


def initialise_weights(model: AcousticModel, labelled: TrainingSet, config: TrainingOptions) -> None:
    """Give a new model the weights of --init, or of some of its layers, or else the labelled audio's normalisation.

    ValueError as for `init_from_checkpoint`, and for layers of no model.
    """
    if config.init is not None:
        init_from_checkpoint(model, config.init, config.init_from_layers or None)
    elif config.init_from_layers:
        raise ValueError("--init-from-layers: of which model? Name it with --init.")
    else:
        statistics = feature_statistics(labelled, model.frontend, config.train.seed, config.train.num_workers)
        model.set_normalisation(*statistics)


def add_priors(out: Path, labelled: TrainingSet, config: TrainConfig) -> None:
    """Put class priors, averaged over the labelled data, into the finished OUT/model.safetensors; done only once."""
    notes = read_description(out)["notes"]
    if "priors" in notes:
        return
    on = device(config.device)
    model = load_model(out).to(on)
    model.log_prior_C.copy_(
        log_priors(model, labelled, config.seed, training_precision(on, config.precision), config.num_workers)
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
