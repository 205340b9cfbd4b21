"""What a run leaves out of its streams: told with reasons, and an error when it is too much to go on."""

from collections.abc import Iterable
from pathlib import Path

from asr_kd.core.skipped import Skipped
from asr_kd.data.sampler import BatchSampler
from asr_kd.train.state import RunState


def check_skipped(state: RunState, plans: Iterable[BatchSampler], out: Path, max_share: float) -> None:
    """Tell what was skipped of each plan's stream, all of it in OUT/skipped-STREAM.jsonl.

    ValueError when it is all of a stream, or more than `max_share`.
    """
    for plan in plans:
        name = plan.stream.name
        skipped = Skipped(f"{name} utterances", max_share)
        skipped.reasons |= state.skipped.get(name, {})
        skipped.finish(plan.utterances, out / f"skipped-{name}.jsonl")


def check_data(state: RunState, plan: BatchSampler) -> None:
    """ValueError when a sub-epoch of the plan's stream has ended without one utterance to learn from."""
    if state.losses:
        return
    name, skipped = plan.stream.name, state.skipped.get(plan.stream.name, {})
    where = f"sub-epoch {state.sub_epoch + 1} ({name})"
    if state.sub_audio_seconds:
        first = next((f"; the first, {item}: {reason}" for item, reason in skipped.items()), "")
        raise ValueError(f"{where}: all of its utterances were skipped{first}. Mend them or their targets.")
    raise ValueError(
        f"{where}: no data is left for it, a batch before it held more than a sub-epoch (the longest utterance has "
        f"{plan.longest():.0f} s). Cut long utterances, lower train.max_frames_per_batch, or make sub-epochs longer "
        "(distill: fewer schedule.unlabelled_sub_epochs)."
    )
