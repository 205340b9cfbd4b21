"""What one rank does in a step of training, for the simulator: as `asr-kd bench train` measured it, or by hand."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from asr_kd.bench.plan_inputs import Input
from asr_kd.bench.synthetic import PAPER_CLASSES, random_teacher
from asr_kd.bench.train import WHAT
from asr_kd.bench.training_simulator import BYTES_PER_ENTRY, BYTES_PER_WEIGHT, MeasuredStep, batches_by_hand
from asr_kd.core.files import read_json, values_of
from asr_kd.core.options import option
from asr_kd.core.progress import SECONDS_PER_HOUR
from asr_kd.models.acoustic import AcousticModel
from asr_kd.models.config import PRESETS
from asr_kd.train.strategies.config import StrategyConfig
from asr_kd.train.strategies.registry import STRATEGIES

BATCH_SECONDS = 30.0
"""`max_frames_per_batch` of 30 ms by default."""
LATENCY_US = 50.0
STUDENT = "student-paper"


@dataclass(frozen=True, kw_only=True)
class TrainPlan:
    """What `asr-kd plan --train` is given besides."""

    ranks: tuple[int, ...] = option("with --train: numbers of ranks", (1, 4, 16, 64), metavar="N")
    strategies: tuple[str, ...] = option(
        "with --train: how ranks make an update (default: all that are possible and whose bytes are known)",
        (),
        choices=STRATEGIES,
    )
    bandwidth: tuple[float, ...] = option(
        "with --train: of the link of each rank, in Gbit/s", (1.0, 10.0, 100.0), metavar="GBIT"
    )
    latency: float = option("with --train: of a message one way, in microseconds", LATENCY_US, metavar="US")
    lanes: int | None = option("with --train: lanes of the run (default: as many as ranks)", None, metavar="N")
    epochs: float = option("with --train: passes over the hours", 1.0)
    weights: int | None = option(
        "with --train and --rate: trained weights of the model (default: those of the paper's student)", None
    )
    batch_seconds: float | None = option("with --train and --rate: audio in a lane's batch", None, metavar="SECONDS")
    spread: float | None = option(
        "with --train and --rate: standard deviation of the time of a lane's batch, as a share of its mean", None
    )
    block_steps: int = option("with --train: steps of a block of bmuf", StrategyConfig.block_steps, metavar="N")
    sent_share: float | None = option(
        "with --train: share of the entries that threshold sends (default: of --bench)", None, metavar="SHARE"
    )
    loader_rate: float | None = option(
        "with --train: hours of audio per second that the loaders of one rank make (default: no limit)",
        None,
        metavar="H_PER_SECOND",
    )
    checkpoint_seconds: float | None = option(
        "with --train: time of saving a state, for which all ranks wait", None, metavar="SECONDS"
    )


def step_by_hand(config: TrainPlan, rate: float) -> tuple[MeasuredStep, list[Input]]:
    """From the hours of audio per second at which one rank learns by itself."""
    audio_s = BATCH_SECONDS if config.batch_seconds is None else config.batch_seconds
    spread = config.spread or 0.0
    lane_s, lane_audio_s = batches_by_hand(audio_s / SECONDS_PER_HOUR / rate, audio_s, spread)
    powersgd_bytes = None
    if config.weights is None:
        model = random_teacher(STUDENT)
        weights, said = model.parameter_count, f"computed: {STUDENT} with {PAPER_CLASSES} classes"
        powersgd_bytes = thin_bytes(model)
    else:
        weights, said = config.weights, "given: --weights"
    step = MeasuredStep(lane_s, lane_audio_s, 0.0, weights, sent_share=config.sent_share, powersgd_bytes=powersgd_bytes)
    frames = "default: --set train.max_frames_per_batch=1000"
    inputs = [
        Input("rate", rate, "h/s per rank", "given: --rate; forward and backward pass and update"),
        Input("batch_seconds", audio_s, "s", given(config.batch_seconds, frames)),
        Input("spread", spread, "of the mean", given(config.spread, "default: not counted")),
        Input("weights", weights, "", said),
    ]
    return step, inputs + _sent(config.sent_share, "given: --sent-share")


def measured_step(config: TrainPlan, bench: Path) -> tuple[MeasuredStep, list[Input]]:
    """From the output of `asr-kd bench train`. ValueError when the file is another, or has no run of one rank."""
    found = read_json(bench)
    if not isinstance(found, dict) or found.get("what") != WHAT:
        raise ValueError(f"{bench}: not what `asr-kd bench train --out` writes. Measure again.")
    with values_of(bench, "asr-kd bench train --out"):
        alone = [run for run in found["runs"] if run["ranks"] == 1]
        several = [run for run in found["runs"] if run["ranks"] > 1]
        if not alone:
            raise ValueError(f"{bench}: no run of one rank in it. Measure again with --ranks 1.")
        if not 0 < alone[0]["update_s"] < alone[0]["step_s"]:
            raise ValueError(f"{bench}: damaged, an update takes longer than a step. Measure again.")
        return _of_runs(config, found, alone[0], several, str(bench))


def _of_runs(
    config: TrainPlan,
    found: Mapping[str, Any],
    alone: Mapping[str, Any],
    several: Sequence[Mapping[str, Any]],
    where: str,
) -> tuple[MeasuredStep, list[Input]]:
    audio_s = alone["audio_hours_per_step"] * SECONDS_PER_HOUR
    lane_s, lane_audio_s = batches_by_hand(alone["step_s"] - alone["update_s"], audio_s, alone["spread"])
    weights = round(alone["parameters"])
    measured = f"measured: {where}"
    how = f"{found['model']} on {found['device_name']}, {found['precision']}, loader and update included"
    inputs = [
        Input("rate", alone["hours_per_second"], "h/s per rank", f"{measured}, {how}"),
        Input("batch_seconds", audio_s, "s", measured),
        Input("spread", alone["spread"], "of the mean", measured),
        Input("update", alone["update_s"], "s", measured),
        Input("weights", weights, "", measured),
    ]
    step = MeasuredStep(lane_s, lane_audio_s, alone["update_s"], weights)
    if found["model"] in PRESETS:
        model = random_teacher(found["model"])
        if model.parameter_count == weights:
            step = replace(step, tensors=sum(1 for _ in model.parameters()), powersgd_bytes=thin_bytes(model))
    if several:
        # A sum over W ranks is 2 (W - 1) / W of the bytes through each.
        rates = [run["link_bytes_per_second"] * 2 * (run["ranks"] - 1) / run["ranks"] for run in several]
        step = replace(step, host_bytes_per_second=statistics.median(rates))
        about = f"{measured}: a sum over ranks of one machine"
        inputs.append(Input("host_rate", step.host_bytes_per_second / 1e6, "MB/s per rank", about))
    share, said = config.sent_share, "given: --sent-share"
    for run in several:
        if run["strategy"] == "threshold":
            if share is None:
                share, said = (
                    run["bytes_per_exchange"] / BYTES_PER_ENTRY / weights,
                    f"{measured}, first steps of a model",
                )
            waits_s = max(0.0, _slowest(lane_s, run["ranks"]) - statistics.mean(lane_s))
            step = replace(step, threshold_s=max(0.0, run["exchange_s"] - waits_s))
            inputs.append(Input("threshold", step.threshold_s, "s an exchange", f"{measured}, without its waits"))
    return replace(step, sent_share=share), inputs + _sent(share, said)


def _sent(share: float | None, said: str) -> list[Input]:
    return [] if share is None else [Input("sent_share", share, "of the weights", said)]


def _slowest(lane_s: Sequence[float], ranks: int) -> float:
    """Mean of the largest of so many drawn: with n sorted, the k-th is it with probability (k^W - (k-1)^W) / n^W."""
    count = len(lane_s)
    weights = [((k + 1) / count) ** ranks - (k / count) ** ranks for k in range(count)]
    return sum(weight * seconds for weight, seconds in zip(weights, sorted(lane_s), strict=True))


def thin_bytes(model: AcousticModel) -> float:
    """What `powersgd` sends of the gradients of a model once it compresses: PyTorch sends a matrix whole where two thin
    ones would not be half of it."""
    rank, entries = StrategyConfig.matrix_rank, 0
    for weight in model.parameters():
        rows, whole = weight.shape[0], weight.numel()
        thin = (rows + whole // rows) * rank
        entries += thin if weight.dim() > 1 and 2 * thin < whole else whole
    return float(entries * BYTES_PER_WEIGHT)


def given(value: float | None, otherwise: str = "default: not counted") -> str:
    """The source of an option that may be left out."""
    return otherwise if value is None else "given"
