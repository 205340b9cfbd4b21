"""How a training run ended."""

from dataclasses import dataclass

from asr_kd.core.progress import SECONDS_PER_HOUR
from asr_kd.train.state import RunState


@dataclass(frozen=True)
class FitResult:
    """Of a whole run, all sittings together. The best weights are in OUT/model.safetensors."""

    steps: int
    """Updates of the weights."""
    best_step: int
    """The step whose weights were best on the held-out data."""
    dev_loss: float
    """Of those weights, nats per frame."""
    dev_frame_accuracy: float
    hours: float
    """Audio trained on."""
    seconds: float
    """Time spent."""
    stopped_early: bool
    """Whether patience ran out, or newbob's learning rate, before the schedule ended."""
    accuracy_unit: str
    """What `dev_frame_accuracy` is the share of: frames or tokens."""

    @classmethod
    def of(cls, state: RunState, accuracy_unit: str) -> "FitResult":
        """Of a run that is done."""
        return cls(
            state.step,
            state.best_step,
            state.best_dev_loss,
            state.best_dev_frame_accuracy,
            state.audio_seconds / SECONDS_PER_HOUR,
            state.wall_seconds,
            state.stopped_early,
            accuracy_unit,
        )
