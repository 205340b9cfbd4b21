"""Trains a student on a teacher's posteriors of the unlabelled shards, and in turn on the labelled shards with
--alignments or --tokens (one of the two is needed). The default model is model.preset=student-small.

The default loss is the KL divergence to the posteriors stored by `asr-kd label` (--targets). `--set losses=[...]` names
others. --mode says which teacher is run during training:
  offline       --online-teacher, a trained model, if a loss needs it or there are no --targets
  mutual        a second model that is trained at the same time
  mean_teacher  a moving average of the student's weights
  snapshot      earlier weights of the student

OUT/model.safetensors has the weights that are best on --dev. The same command resumes a stopped run.

  asr-kd distill --unlabelled exp/shards/unlabelled --targets exp/targets \\
      --labelled exp/shards/labelled --alignments exp/aligned --dev exp/shards/dev --out exp/student \\
      --set model.preset=student-tiny schedule.epochs=10
  asr-kd distill ... --online-teacher exp/teacher \\
      --set 'losses=[{kind: kd}, {kind: hidden_states, weight: 0.3, layers: {layer1: layer2}}]'
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from asr_kd.core.commands import command
from asr_kd.core.config import DataclassInstance, load_config, to_dict
from asr_kd.core.options import option
from asr_kd.core.ranks import ranks, start_ranks
from asr_kd.core.runtime import device, seed_everything, set_threads
from asr_kd.core.storage import PathOrUrl
from asr_kd.core.terminal import say
from asr_kd.data.sampler import TrainingSet
from asr_kd.data.utterance_list import UtteranceList
from asr_kd.distill.losses.kd import KDConfig
from asr_kd.distill.losses.spec import LossSpec
from asr_kd.distill.objective import DistillObjective, build_online_teacher, check_mode, needs_online_teacher
from asr_kd.distill.online_teachers.online_teacher import OnlineTeacher
from asr_kd.distill.online_teachers.registry import ONLINE_TEACHERS
from asr_kd.distill.schedule import ScheduleConfig, sub_epochs
from asr_kd.frontend.augment import AugmentConfig
from asr_kd.frontend.fbank import FrontEndConfig
from asr_kd.inventory.inventory import Inventory
from asr_kd.models.acoustic import AcousticModel, build_model
from asr_kd.models.config import PRESETS, ModelConfig
from asr_kd.shards.catalogue import open_catalogue
from asr_kd.targets.empty import NoTargets
from asr_kd.targets.soft_targets import SoftTargets
from asr_kd.teachers.registry import models_fingerprint
from asr_kd.train.state import STATE_FILE
from asr_kd.train.supervision import supervision
from asr_kd.train.train import (
    WEIGHTS_HELP,
    TrainingOptions,
    add_priors,
    initial_weights,
    initialise_weights,
    sampler,
    summary,
)
from asr_kd.train.trainer import Trainer


def _three_speeds() -> AugmentConfig:
    return AugmentConfig(speed_perturb=(0.9, 1.0, 1.1))


@dataclass(frozen=True, kw_only=True)
class DistillRun(TrainingOptions):
    """What `asr-kd distill` is given."""

    unlabelled: tuple[PathOrUrl, ...] = option("unlabelled shards, as given to `asr-kd label`", metavar="SHARDS")
    targets: PathOrUrl | None = option(
        "soft targets of the unlabelled shards: output folder of `asr-kd label` (default: none; the "
        "online teacher alone teaches)",
        None,
        metavar="DIR",
    )
    utterances: Path | None = option(
        "use only the unlabelled utterances in this list of `asr-kd filter` (default: all)", None, metavar="LIST"
    )
    unlabelled_weights: tuple[float, ...] = option(f"of each of --unlabelled: {WEIGHTS_HELP}", (), metavar="X")
    labelled: tuple[PathOrUrl, ...] = option("labelled shards", metavar="SHARDS")
    labelled_weights: tuple[float, ...] = option(f"of each of --labelled: {WEIGHTS_HELP}", (), metavar="X")
    dev: tuple[PathOrUrl, ...] = option("held-out labelled shards", metavar="SHARDS")
    teacher: tuple[Path, ...] = option(
        "teacher that made --targets, or several that were averaged: a check; targets of another teacher are refused",
        (),
        metavar="MODEL",
    )
    online_teacher: tuple[Path, ...] = option(
        "teacher that is run on each training batch (default: --teacher); with --mode mutual: initial "
        "weights of the peer",
        (),
        metavar="MODEL",
    )
    hard_labels: bool = option("train on the teacher's arg-max instead of its posteriors", False)
    top_k: int | None = option(
        "use only the N most likely stored classes; the others join the residual (default: all stored)",
        None,
        metavar="N",
    )
    temperature: float | None = option(
        "temperature of the `kd` losses (default: that of --set losses, else 1)", None, metavar="T"
    )
    residual: Literal["keep", "renormalise"] | None = option(
        "probability mass that was not stored: keep it as one class, or renormalise the stored classes (default: keep)",
        None,
    )
    mode: str = option("what teaches during training, see above", "offline", choices=ONLINE_TEACHERS)
    online_teacher_options: DataclassInstance | None = None
    """Options of the mode's online teacher, its `Config` (distill/online_teachers); null for the defaults."""
    model: ModelConfig = PRESETS["student-small"]
    """The student: `preset: NAME`, and fields of ModelConfig that differ from it."""
    frontend: FrontEndConfig = field(default_factory=FrontEndConfig)
    """The student's; its frames must have the inventory's shift."""
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    augment: AugmentConfig = field(default_factory=_three_speeds)
    """Of the unlabelled audio for the student; the teacher labelled it as it is."""
    labelled_augment: AugmentConfig = field(default_factory=_three_speeds)
    losses: tuple[LossSpec, ...] = ()
    """Distillation losses: a list of `{kind: NAME, weight: 1, ...}` with the loss's own options (distill/losses). Empty
    is `kd` from the stored targets, or in another mode from the online teacher."""
    label_weight: float = 1.0
    """Weight of the loss of the labelled data's ground truth."""

    def __post_init__(self) -> None:
        if self.label_weight < 0:
            raise ValueError(f"label_weight is {self.label_weight}; it must not be negative")
        check_mode(self.mode, self.online_teacher_options)
        self.resolved_losses()

    @staticmethod
    def expand_config(data: Mapping[str, Any]) -> dict[str, Any]:
        """Fields of a config file: `online_teacher_options` are those of its mode. ValueError names a wrong one."""
        fields = dict(data)
        options = fields.get("online_teacher_options")
        for mode, kind in ONLINE_TEACHERS.items():
            if mode == fields.get("mode", "offline") and isinstance(options, Mapping):
                fields["online_teacher_options"] = load_config(kind.Config, options)
        return fields

    def resolved_losses(self) -> tuple[LossSpec, ...]:
        """The losses, `kd` where none is named, with --temperature and --residual. ValueError when no loss is `kd`."""
        source: Literal["auto", "online"] = "auto" if self.mode == "offline" else "online"
        losses = self.losses or (LossSpec("kd", options=KDConfig(source=source)),)
        changes = {key: v for key in ("temperature", "residual") if (v := getattr(self, key)) is not None}
        if changes and not any(isinstance(spec.options, KDConfig) for spec in losses):
            raise ValueError(f"--{next(iter(changes))}: the config has no loss `kd`")
        return tuple(
            replace(spec, options=replace(spec.options, **changes)) if isinstance(spec.options, KDConfig) else spec
            for spec in losses
        )


@command()
def distill_student(config: DistillRun) -> None:
    """Distil a student, or go on with it."""
    set_threads(config.threads)
    start_ranks(60 * config.train.rank_timeout_minutes)
    source, dev_source = supervision(config)
    labelled = source.stream("labelled", config.labelled, config.labelled_augment, config.labelled_weights)
    dev = dev_source.stream("dev", config.dev, AugmentConfig())
    unlabelled, teacher, only = _unlabelled(config, source.inventory)
    schedule = list(sub_epochs(config.schedule, unlabelled, labelled))
    shift_s = source.inventory.frame_shift_s
    plan = sampler(unlabelled, config.train, shift_s)
    if only:
        only.check(plan.missing)
    seed_everything(config.train.seed)
    model = build_model(config.model, source.inventory, config.frontend)
    stored = config.targets is not None
    online_teacher = _online_teacher(config, model)
    objective = DistillObjective(model, config.resolved_losses(), config.label_weight, online_teacher, stored)
    say(
        f"{model.parameter_count / 1e6:.2f}M parameters, {source.inventory.num_classes} classes; "
        f"unlabelled {plan.describe()}, labelled {sampler(labelled, config.train, shift_s).describe()}, "
        f"{len(schedule)} sub-epochs on {device(config.train.device).type}"
    )
    if config.dry_run:
        if config.init is not None or config.init_from_layers:
            initialise_weights(model, labelled, config)  # whether they fit
        return
    if config.restart or not (config.out / STATE_FILE).exists():
        initialise_weights(model, labelled, config)
        if online_teacher is not None:
            online_teacher.on_train_start(model, labelled, config.train)
    begun_with = {
        "teacher": teacher,
        "hard_labels": config.hard_labels,
        "top_k": config.top_k,
        "schedule": to_dict(config.schedule),
        "utterances": only and only.digest,
        **initial_weights(config),
    }
    result = Trainer(model, schedule, dev, config.train, config.out, not config.restart, objective, begun_with).run()
    ranks().on_first(lambda: add_priors(config.out, labelled, config.train))
    say(summary(result, config.out))


def _unlabelled(config: DistillRun, inventory: Inventory) -> tuple[TrainingSet, str | None, UtteranceList | None]:
    """The unlabelled shards with their targets, the fingerprint of the teacher, and the utterances that are used."""
    wanted = models_fingerprint(config.teacher) if config.teacher else None
    targets: SoftTargets | NoTargets = NoTargets()
    if config.targets is not None:
        targets = SoftTargets(config.targets, inventory, wanted, hard=config.hard_labels, k=config.top_k)
    elif config.hard_labels or config.top_k is not None:
        raise ValueError("--hard-labels and --top-k: only used with --targets")
    only = None if config.utterances is None else UtteranceList.read(config.utterances)
    unlabelled = TrainingSet(
        "unlabelled",
        open_catalogue(*config.unlabelled),
        targets,
        config.augment,
        is_supervised=False,
        utterance_ids=only.ids if only else None,
        weights=config.unlabelled_weights,
    )
    return unlabelled, targets.check(unlabelled.shards) if isinstance(targets, SoftTargets) else wanted, only


def _online_teacher(config: DistillRun, student: AcousticModel) -> OnlineTeacher | None:
    if config.mode != "offline" or needs_online_teacher(config.resolved_losses(), config.targets is not None):
        paths = config.online_teacher or (config.teacher if config.mode == "offline" else ())
        return build_online_teacher(config.mode, config.online_teacher_options, student, paths)
    if config.online_teacher:
        raise ValueError("--online-teacher: no configured loss uses an online teacher")
    return None
