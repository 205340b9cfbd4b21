"""Writes OUT/SHARD.parquet for each SHARD.tar: of every frame the top classes, their probabilities and what is left.

A shard that is done is skipped, so the same command goes on where it was stopped. Utterances whose audio cannot be read
or whose posteriors are not finite are set aside with their reason; the others go on.

  asr-kd label exp/shards/unlabelled --teacher exp/teacher --out exp/targets
  asr-kd label exp/shards/unlabelled --teacher exp/teacher --out exp/targets --status
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from asr_kd.core.progress import SECONDS_PER_HOUR, Progress
from asr_kd.core.runtime import bf16_is_fast, device, set_threads
from asr_kd.graph.build import load_graph
from asr_kd.graph.scales import Scales
from asr_kd.label.encoding import MOST_CLASSES, Quantiser, encode_table
from asr_kd.label.lattices import LatticeConfig, LatticePosteriors
from asr_kd.label.selection import SelectionConfig, select
from asr_kd.label.sidecars import describe, is_labelled, statistics, summarise
from asr_kd.models.ensemble import load_models, models_fingerprint
from asr_kd.models.inference import Inference, pad_waves
from asr_kd.shards.reader import Shard, find_shards, open_shard
from asr_kd.shards.sidecar import sidecar_path, write_sidecar
from asr_kd.train.targets import FrameTargets

BATCHES_AHEAD = 2
"""Batches that are read and turned into features while the teacher works on another."""
SELECT_BLOCK_FRAMES = 4096
"""Frames that posteriors are selected from at a time; bounds the copies of (frames, classes)."""


@dataclass(frozen=True)
class LabelConfig:
    """How shards are labelled."""

    selection: SelectionConfig = field(default_factory=SelectionConfig)
    quantiser: Quantiser = field(default_factory=Quantiser)
    frames_per_batch: int = 8000
    """Frames of a batch at the model's frame shift, padding included (8000 of 30 ms: 4 minutes)."""

    def __post_init__(self) -> None:
        if self.frames_per_batch < 1:
            raise ValueError(f"--frames-per-batch {self.frames_per_batch}: at least one frame is needed")


@dataclass
class _Features:
    """A batch on the way to the teacher."""

    rows: list[int]
    x_BTF: Tensor
    frames_B: Tensor
    seconds: float


def label_shard(
    shard: Shard,
    teacher: Inference,
    config: LabelConfig,
    on_batch: Callable[[float], None] = lambda seconds: None,
    lattices: LatticePosteriors | None = None,
) -> pa.Table:
    """The sidecar table of a shard: one row per utterance, in its order. Nothing is written.

    Batches depend on the shard and the config alone, so labelling a shard again gives the same table.
    on_batch: told the seconds of audio in each batch that is done.  lattices: what posteriors are put through first.
    """
    results: list[FrameTargets | str] = ["not labelled"] * len(shard.entries)
    with ThreadPoolExecutor(max_workers=1) as reader:
        batches = _plan(shard, teacher, config.frames_per_batch)
        for batch in _ahead(reader, lambda rows: _read(shard, rows, teacher, results), batches):
            if batch.rows:
                for row, result in zip(
                    batch.rows, _posteriors(batch, teacher, config.selection, lattices), strict=True
                ):
                    results[row] = result
            on_batch(batch.seconds)
    return encode_table([e.id for e in shard.entries], results, config.quantiser)


def _plan(shard: Shard, teacher: Inference, frames_per_batch: int) -> list[list[int]]:
    """Rows of each batch: longest first, of similar length, at most `frames_per_batch` with padding (or one row)."""
    seconds = [e.seconds for e in shard.entries]
    batches: list[list[int]] = []
    for row in sorted(range(len(seconds)), key=lambda r: (-seconds[r], r)):
        longest = seconds[batches[-1][0]] if batches else seconds[row]
        if batches and (len(batches[-1]) + 1) * longest <= frames_per_batch * teacher.frontend.frame_shift_s:
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches


def _ahead(
    pool: ThreadPoolExecutor, work: Callable[[list[int]], _Features], items: list[list[int]]
) -> Iterator[_Features]:
    """`work` of each item in order, a few items ahead of the one who asks."""
    waiting = [pool.submit(work, item) for item in items[:BATCHES_AHEAD]]
    for item in items[BATCHES_AHEAD:]:
        yield waiting.pop(0).result()
        waiting.append(pool.submit(work, item))
    for future in waiting:
        yield future.result()


def _read(shard: Shard, rows: list[int], teacher: Inference, results: list[FrameTargets | str]) -> _Features:
    """Audio and features of a batch; what cannot be used is left out, its reason put into `results`."""
    good, waves = [], []
    for row in rows:
        try:
            wave = shard.audio(row)
        except ValueError as e:
            results[row] = str(e)
            continue
        if not np.isfinite(wave).all():
            results[row] = "the audio holds samples that are not finite"
        elif not teacher.frontend.num_frames(len(wave)):
            results[row] = f"{len(wave)} samples are too short for one frame"
        else:
            good.append(row)
            waves.append(wave)
    seconds = sum(shard.entries[row].seconds for row in rows)
    if not good:
        return _Features([], torch.empty(0), torch.empty(0), seconds)
    wave_BN, samples_B = pad_waves(waves)
    x_BTF, frames_B = teacher.frontend(wave_BN.to(teacher.device), samples_B)
    return _Features(good, x_BTF, frames_B.cpu(), seconds)


def _posteriors(
    batch: _Features, teacher: Inference, selection: SelectionConfig, lattices: LatticePosteriors | None
) -> Iterator[FrameTargets | str]:
    """Of each utterance of the batch its targets, or why there are none."""
    log_p_BTC = teacher.log_posteriors(batch.x_BTF, batch.frames_B)
    frames = batch.frames_B.tolist()
    log_p_NC = torch.cat([log_p_TC[:n] for log_p_TC, n in zip(log_p_BTC, frames, strict=True)])
    del log_p_BTC
    finite_N = (~torch.isnan(log_p_NC).any(-1)).cpu().numpy()
    if lattices is not None and finite_N.all():
        mixed = [lattices(log_p_TC.cpu().numpy()) for log_p_TC in log_p_NC.split(frames)]
        log_p_NC = torch.from_numpy(np.concatenate(mixed))
    blocks = [select(block_TC, selection) for block_TC in log_p_NC.split(SELECT_BLOCK_FRAMES)]
    ids_NK = np.concatenate([b.ids_TK for b in blocks])
    log_p_NK = np.concatenate([b.log_p_TK for b in blocks])
    log_tail_N = np.concatenate([b.log_tail_T for b in blocks])
    start = 0
    for n in frames:
        span = slice(start, start + n)
        start += n
        if finite_N[span].all():
            yield FrameTargets(ids_NK[span], log_p_NK[span], log_tail_N[span])
        else:
            yield "the teacher's posteriors are not finite"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `asr-kd label`."""
    selection, quantiser, config = SelectionConfig(), Quantiser(), LabelConfig()
    parser.add_argument(
        "shards", nargs="+", type=Path, help="shards or folders of shards; their text, if any, is not looked at"
    )
    parser.add_argument(
        "--teacher",
        nargs="+",
        required=True,
        type=Path,
        metavar="MODEL",
        help="the model: its folder or its .safetensors file; the posteriors of several are averaged",
    )
    parser.add_argument("--out", required=True, type=Path, help="folder for the sidecars")
    parser.add_argument("--k", type=int, default=selection.k, help="most classes kept per frame (default: %(default)s)")
    parser.add_argument(
        "--floor", type=float, default=selection.floor, help="drop classes less likely than this (default: %(default)s)"
    )
    parser.add_argument(
        "--mass", type=float, help="instead of a floor: keep the fewest classes that hold this much probability"
    )
    parser.add_argument(
        "--levels", type=int, default=quantiser.levels, help="steps of a stored probability (default: %(default)s)"
    )
    parser.add_argument(
        "--frames-per-batch", type=int, default=config.frames_per_batch, help="with padding (default: %(default)s)"
    )
    parser.add_argument(
        "--graph", type=Path, metavar="DIR", help="put the posteriors through the lattices of a search of this graph"
    )
    parser.add_argument("--scales", type=Path, metavar="DIR", help="with --graph: what `asr-kd tune` wrote")
    parser.add_argument(
        "--graph-weight",
        type=float,
        default=LatticeConfig.weight,
        help="with --graph: share of the lattice's posteriors, the rest is the model's own (default: %(default)s)",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
    parser.add_argument(
        "--precision",
        default="auto",
        choices=("auto", "bf16", "float32"),
        help="of the forward pass; auto: bf16 where it is fast",
    )
    parser.add_argument("--threads", type=int, help="CPU threads of one operation")
    parser.add_argument("--dry-run", action="store_true", help="check and say what would be done")
    parser.add_argument("--status", action="store_true", help="say what is done")


def run(args: argparse.Namespace) -> int:
    """The verb."""
    set_threads(args.threads)
    config = LabelConfig(SelectionConfig(args.k, args.mass, args.floor), Quantiser(args.levels), args.frames_per_batch)
    paths = find_shards(*args.shards)
    _check_names(paths)
    if args.status:
        print(summarise(paths, args.out))
        return 0
    on = device(args.device)
    teacher = Inference(load_models(args.teacher), on, args.precision)
    if teacher.model.inventory.size > MOST_CLASSES:
        raise ValueError(f"{args.teacher[0]}: has {teacher.model.inventory.size} classes; sidecars hold {MOST_CLASSES}")
    fingerprint = models_fingerprint(args.teacher)
    lattices = _lattices(args, teacher)
    precision = "bf16" if args.precision == "auto" and bf16_is_fast(on) else args.precision.replace("auto", "float32")

    def description(shard: Shard) -> dict:
        shift = teacher.frontend.frame_shift_s
        made = describe(
            shard, fingerprint, teacher.model.inventory, config.selection, config.quantiser, shift, precision
        )
        return made | {"lattices": None if lattices is None else lattices.description}

    todo, seconds = [], 0.0
    for path in paths:
        shard = open_shard(path)
        if not is_labelled(sidecar_path(args.out, shard), description(shard)):
            todo.append(path)
            seconds += shard.seconds
    _say(
        f"{len(todo)} of {len(paths)} shards to label, {seconds / SECONDS_PER_HOUR:.2f} h of audio, "
        f"on {on.type} in {precision}"
    )
    if args.dry_run:
        return 0
    with Progress("label", seconds) as progress:
        for path in todo:
            shard = open_shard(path)
            table = label_shard(shard, teacher, config, progress.update, lattices)
            write_sidecar(sidecar_path(args.out, shard), table, description(shard) | statistics(table, shard))
    _say(summarise(paths, args.out))
    return 0


def _lattices(args: argparse.Namespace, teacher: Inference) -> LatticePosteriors | None:
    if args.graph is None:
        if args.scales is not None:
            raise ValueError("--scales: only used with --graph")
        return None
    graph = load_graph(args.graph)
    graph.check(teacher.model.inventory, str(args.teacher[0]))
    config = LatticeConfig(Scales.load(args.scales) if args.scales else Scales(), args.graph_weight)
    return LatticePosteriors(graph, teacher.model.log_prior_C.cpu().numpy(), config)


def _check_names(paths: list[Path]) -> None:
    """ValueError when two shards would share a sidecar."""
    first: dict[str, Path] = {}
    for path in paths:
        other = first.setdefault(path.stem, path)
        if other != path:
            raise ValueError(
                f"{path}: has the name of {other}, their sidecars would collide. Label them to two --out folders."
            )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
