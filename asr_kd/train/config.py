"""How a model is trained: optimiser, its schedule, averaging, stopping."""

from dataclasses import dataclass, field
from typing import Literal

from asr_kd.core.options import DEVICE_HELP, option
from asr_kd.core.skipped import MAX_SKIPPED, MAX_SKIPPED_HELP
from asr_kd.train.strategies.config import StrategyConfig


@dataclass(frozen=True)
class OptimConfig:
    """AdamW and its learning rate over the declared audio of the whole run."""

    lr: float = 2e-3
    """Highest learning rate."""
    warmup_fraction: float = 0.03
    """Share of the run over which the learning rate rises from 0."""
    decay: Literal["linear", "cosine", "newbob"] = "linear"
    """`linear` and `cosine` fall to `min_lr_ratio` at the end of the run; `newbob` halves it when the held-out
    loss stalls."""
    min_lr_ratio: float = 0.02
    """Least learning rate, as a share of `lr`; `newbob` stops training there."""
    newbob_gain: float = 0.005
    """`newbob`: the held-out loss must fall by this share between sub-epochs, else the learning rate is halved."""
    weight_decay: float = 0.01
    """AdamW's decay of weight matrices (not of biases), times the learning rate."""
    betas: tuple[float, float] = (0.9, 0.98)
    """AdamW's memory of gradients and of their squares."""
    eps: float = 1e-8
    """Adam's epsilon. A larger value damps updates from weak gradients (docs/knowledge.md)."""
    max_grad_norm: float = 5.0
    """Gradient-norm clipping threshold (L2 norm over all weights)."""

    def __post_init__(self) -> None:
        for name in ("lr", "eps", "max_grad_norm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"optim.{name} is {getattr(self, name)}; it must be above 0")
        for name in ("warmup_fraction", "min_lr_ratio", "newbob_gain"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"optim.{name} is {getattr(self, name)}; it must lie in [0, 1)")


@dataclass(frozen=True)
class TrainConfig:
    """What the training loop does, whatever the model and the data."""

    max_frames_per_batch: int = 1000
    """Most frames of 30 ms in a batch, padding included (1000 are half a minute)."""
    seed: int = option("random seed of weights, batches, augmentation and dropout", 0)
    optim: OptimConfig = field(default_factory=OptimConfig)
    ema_decay: float = 0.99
    """Weights are averaged over about 1 / (1 - ema_decay) steps for held-out tests and the final model; 0 is off."""
    select_checkpoint_by: Literal["dev_loss", "dev_frame_accuracy", "last"] = "dev_loss"
    """What decides which weights are kept; `last` keeps those at the end of the run, where held-out alignments are too
    bad to judge by."""
    patience: int | None = 10
    """Training stops after so many sub-epochs without improvement; null goes on to the end of the schedule."""
    checkpoint_every_minutes: float = 5.0
    """The state is saved at each sub-epoch's end and at this interval within it."""
    precision: Literal["auto", "bf16", "float32"] = "auto"
    """`auto` is bf16 on GPUs that have it and float32 on CPUs, whose fast LSTM kernels train in float32 only."""
    device: str = option(DEVICE_HELP, "auto")
    num_workers: int = option(
        "processes of each rank that load and augment batches; results do not depend on it", 1, metavar="N"
    )
    lanes: int = 1
    """Parts that the data are dealt to; a step takes a batch of each. Any number of ranks that divides it may share
    them; the results are of the lanes, not of the ranks."""
    strategy: StrategyConfig = field(default_factory=StrategyConfig)
    rank_timeout_minutes: float = 10.0
    """A rank that does not answer for so long ends the run, which goes on from its last saved state when started
    again."""
    max_skipped: float = option(
        MAX_SKIPPED_HELP,
        MAX_SKIPPED,
        metavar="SHARE",
    )

    def __post_init__(self) -> None:
        if self.max_frames_per_batch < 1:
            raise ValueError(f"train.max_frames_per_batch is {self.max_frames_per_batch}; it must be 1 or more")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"train.ema_decay is {self.ema_decay}; it must lie in [0, 1)")
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"train.patience is {self.patience}; it must be 1 or more, or null for none")
        if self.lanes < 1:
            raise ValueError(f"train.lanes is {self.lanes}; it must be 1 or more")
        if not 0 < self.rank_timeout_minutes < float("inf"):
            raise ValueError(f"train.rank_timeout_minutes is {self.rank_timeout_minutes}; it must be above 0")
        if self.num_workers < 0:
            raise ValueError(f"train.num_workers is {self.num_workers}; it must not be negative")
        if self.checkpoint_every_minutes < 0:
            raise ValueError(
                f"train.checkpoint_every_minutes is {self.checkpoint_every_minutes}; it must not be negative"
            )
        if not 0 <= self.max_skipped <= 1:
            raise ValueError(f"train.max_skipped is {self.max_skipped}; it must lie in [0, 1]")
