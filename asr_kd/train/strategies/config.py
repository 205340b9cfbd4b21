"""Which strategy makes updates of the lanes' gradients, and its options."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class StrategyConfig:
    """`kind`, and the options of the kinds that have some."""

    kind: Literal["allreduce", "tree", "bmuf", "threshold", "powersgd"] = "allreduce"
    """How ranks make one update: `allreduce` adds all gradients, fast; `tree` does so with the same bits on 1, 2, 4,
    ... ranks; `bmuf` averages weights once a block of steps; `threshold` sends only the large entries of gradients;
    `powersgd` sends products of thin matrices."""
    block_steps: int = 50
    """`bmuf`: steps of a block."""
    block_momentum: float | None = None
    """`bmuf`: how much of the last block's change is added to the next; null is 1 - 1 / ranks."""
    block_lr: float = 1.0
    """`bmuf`: what the averaged change of a block is multiplied by."""
    nesterov: bool = True
    """`bmuf`: whether ranks go on from where the momentum points to."""
    threshold: float = 1e-3
    """`threshold`: entries of the mean gradient's residual above it are sent, as this value with their sign."""
    matrix_rank: int = 1
    """`powersgd`: columns of the thin matrices; torch's matrix_approximation_rank."""
    start_step: int = 100
    """`powersgd`: steps that send whole gradients before any is compressed, 2 at least; torch's start_powerSGD_iter."""

    def __post_init__(self) -> None:
        if self.block_steps < 1:
            raise ValueError(f"strategy.block_steps is {self.block_steps}; it must be 1 or more")
        if self.matrix_rank < 1:
            raise ValueError(f"strategy.matrix_rank is {self.matrix_rank}; it must be 1 or more")
        if self.start_step < 2:
            raise ValueError(f"strategy.start_step is {self.start_step}; it must be 2 or more")
        if self.block_momentum is not None and not 0 <= self.block_momentum < 1:
            raise ValueError(f"strategy.block_momentum is {self.block_momentum}; it must lie in [0, 1)")
        for name in ("block_lr", "threshold"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"strategy.{name} is {getattr(self, name)}; it must be above 0")
