"""The declared order of training: parts of the unlabelled data, and labelled data between them (scheduled learning)."""

from collections.abc import Iterator
from dataclasses import dataclass

from asr_kd.data.sampler import TrainingSet


@dataclass(frozen=True)
class ScheduleConfig:
    """Scheduled learning as arXiv 1904.01624 describes it: some sub-epochs without labels, then one with."""

    epochs: int = 3
    """Passes over the unlabelled data."""
    unlabelled_sub_epochs: int = 4
    """Parts that a pass over the unlabelled data is cut into."""
    labelled_every: int = 1
    """Labelled data follows after so many unlabelled sub-epochs; 0 keeps it out of them."""
    labelled_fraction: float = 1.0
    """How much of the labelled data a labelled sub-epoch covers; 2 is two passes."""
    final_labelled_epochs: float = 1.0
    """Passes over the labelled data at the end."""

    def __post_init__(self) -> None:
        for name, least in (("epochs", 0), ("unlabelled_sub_epochs", 1), ("labelled_every", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"schedule.{name} is {getattr(self, name)}; it must be {least} or more")
        for name in ("labelled_fraction", "final_labelled_epochs"):
            if getattr(self, name) < 0:
                raise ValueError(f"schedule.{name} is {getattr(self, name)}; it must not be negative")
        if self.epochs == 0 and self.final_labelled_epochs == 0:
            raise ValueError("schedule: epochs and final_labelled_epochs are both 0; there is nothing to train on")


def sub_epochs(
    config: ScheduleConfig, unlabelled: TrainingSet, labelled: TrainingSet
) -> Iterator[tuple[TrainingSet, float]]:
    """What the trainer trains on, in order: a stream and the fraction of a pass over it.

    A stream goes on where its last sub-epoch ended, so fractions that add up to 1 are one whole pass.
    """
    for number in range(1, config.epochs * config.unlabelled_sub_epochs + 1):
        yield unlabelled, 1 / config.unlabelled_sub_epochs
        if config.labelled_every and config.labelled_fraction and number % config.labelled_every == 0:
            yield labelled, config.labelled_fraction
    if config.final_labelled_epochs:
        yield labelled, config.final_labelled_epochs
