"""Writes OUT/SHARD.parquet for each SHARD.tar: of every frame the top classes, their probabilities and what is left;
of a teacher that only gives words, the words and how sure it is of them (and OUT/SHARD.hyp.jsonl).

A shard is done when its sidecar stands under its name, whole. The same command goes on where it was stopped. Run it on
as many machines as share OUT, start it again when one dies: no shard is lost or done twice, and the bytes are the same.
Utterances whose audio cannot be read or whose posteriors are not finite are skipped, in the sidecar with their reason,
and listed in OUT/skipped.jsonl; when they are more than --max-skipped, the command fails at its end. A shard that
cannot be labelled is tried again, then reported, and the others go on.

  asr-kd label exp/shards/unlabelled --teacher exp/teacher --out exp/targets
  asr-kd label exp/shards/unlabelled --teacher exp/teacher --out exp/targets --status
  asr-kd label exp/shards/unlabelled --teacher exp/teacher --graph exp/graph --write-transcripts --out exp/targets
  asr-kd label exp/shards/unlabelled --teacher bundle:WAV2VEC2_ASR_BASE_960H --inventory exp/tokens --out exp/targets
  asr-kd label exp/shards/unlabelled --teacher whisper:small.en --out exp/transcripts
"""

import argparse
import random
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from asr_kd.core.files import fingerprint
from asr_kd.core.progress import SECONDS_PER_HOUR, Progress
from asr_kd.core.runtime import set_threads
from asr_kd.core.skipped import Skipped, add_skipped_argument
from asr_kd.core.storage import PathOrUrl, exists, join, list_files, output_location, parse_path_or_url, stem
from asr_kd.core.terminal import say, show
from asr_kd.jobs.job import ShardEvent
from asr_kd.jobs.job_state import JobState, check_same_settings
from asr_kd.jobs.leases import Leases
from asr_kd.jobs.process_pool import Pool, ProcessPool, workers_here
from asr_kd.jobs.scheduler import run_shards
from asr_kd.label.label_job import LabelJob
from asr_kd.label.lattices import LatticeConfig
from asr_kd.label.posteriors import LabelConfig
from asr_kd.label.status import SETTINGS_FILE, describe_skipped, describe_status, note_skipped, status, tar_sizes
from asr_kd.shards.reader import find_shards, open_shard
from asr_kd.targets.codec import ProbabilityQuantiser
from asr_kd.targets.sidecar import read_description, read_sidecar, sidecar_path
from asr_kd.targets.sidecar_kinds import check_kind
from asr_kd.targets.topk import SelectionConfig

SKIPPED_FILE = "skipped.jsonl"
SAMPLED_SHARDS = 100
"""Shards whose indexes are read to tell the hours of all by the bytes of their tars."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `asr-kd label`."""
    selection, quantiser, config = SelectionConfig(), ProbabilityQuantiser(), LabelConfig()
    parser.add_argument(
        "shards",
        nargs="+",
        type=parse_path_or_url,
        help="shards or folders of shards; their text, if any, is not looked at",
    )
    parser.add_argument(
        "--teacher",
        nargs="+",
        required=True,
        metavar="MODEL",
        help="the model: its folder or its .safetensors file; bundle:NAME_OR_FILE, one of torchaudio's ASR bundles; "
        "whisper:NAME_OR_FOLDER (extra `whisper`), which gives transcripts; the posteriors of several are averaged",
    )
    parser.add_argument("--out", required=True, type=output_location, help="folder for the sidecars")
    parser.add_argument(
        "--top-k", type=int, default=selection.top_k, help="most classes kept per frame (default: %(default)s)"
    )
    parser.add_argument(
        "--min-prob",
        type=float,
        default=selection.min_prob,
        help="drop classes less likely than this (default: %(default)s)",
    )
    parser.add_argument(
        "--top-p", type=float, help="instead of a floor: keep the fewest classes that hold this much probability"
    )
    parser.add_argument(
        "--quant-levels",
        type=int,
        default=quantiser.levels,
        help="steps of a stored probability (default: %(default)s)",
    )
    parser.add_argument(
        "--max-frames-per-batch",
        type=int,
        default=config.max_frames_per_batch,
        help="with padding (default: %(default)s)",
    )
    parser.add_argument(
        "--graph", type=Path, metavar="DIR", help="interpolate the posteriors with lattice posteriors from this graph"
    )
    parser.add_argument("--decoding-scales", type=Path, metavar="DIR", help="with --graph: what `asr-kd tune` wrote")
    parser.add_argument(
        "--lattice-weight",
        type=float,
        default=LatticeConfig.weight,
        help="with --graph: weight of the lattice posteriors; the rest is the model's own (default: %(default)s)",
    )
    parser.add_argument(
        "--write-transcripts",
        action="store_true",
        help="with --graph: also write OUT/SHARD.hyp.jsonl, the decoded words with their confidences",
    )
    parser.add_argument(
        "--inventory",
        type=Path,
        metavar="DIR",
        help="map the posteriors to this inventory of tokens: its units, of those that the teacher knows, and frames",
    )
    parser.add_argument(
        "--language", metavar="CODE", help="spoken language as a code such as `en`, for Whisper (default: detect)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
    parser.add_argument(
        "--precision",
        default="auto",
        choices=("auto", "bf16", "float32"),
        help="of the forward pass; auto: bf16 where it is fast",
    )
    parser.add_argument(
        "--backend",
        default="local",
        choices=("local", "ray"),
        help="local: processes on this machine; ray: actors on a Ray cluster (extra `ray`)",
    )
    parser.add_argument("--ray-address", help="with --backend ray: of the cluster (default: one of this machine alone)")
    parser.add_argument(
        "--workers", type=int, help="worker processes or actors (default: one a GPU or core here; with --threads one)"
    )
    parser.add_argument(
        "--threads", type=int, help="CPU threads of one operation in a worker (default: its share of the cores)"
    )
    parser.add_argument(
        "--max-attempts", type=int, default=3, help="times that a shard is tried (default: %(default)s)"
    )
    add_skipped_argument(parser)
    parser.add_argument("--dry-run", action="store_true", help="check and say what would be done")
    parser.add_argument("--status", action="store_true", help="say what is done, at work and failed, and the time left")
    parser.add_argument("--json", action="store_true", help="with --status: as one line of JSON")
    parser.add_argument("--verify", action="store_true", help="read every sidecar that is there and check it")


def run(args: argparse.Namespace) -> int:
    """The verb."""
    paths = find_shards(*args.shards)
    _check_names(paths)
    skipped = Skipped(max_share=args.max_skipped)
    if args.status:
        now = status(paths, args.out)
        show(*([now.to_json()] if args.json else [*describe_status(now, args.out), *describe_skipped(now)]))
        return 0
    if args.ray_address and args.backend != "ray":
        raise ValueError("--ray-address: only used with --backend ray")
    if args.max_attempts < 1 or (args.workers is not None and args.workers < 1):
        raise ValueError("--max-attempts and --workers: at least 1 is needed")
    job = LabelJob(
        teacher=tuple(args.teacher),
        out=str(args.out),
        config=LabelConfig(
            SelectionConfig(args.top_k, args.top_p, args.min_prob),
            ProbabilityQuantiser(args.quant_levels),
            args.max_frames_per_batch,
        ),
        graph=None if args.graph is None else str(args.graph),
        scales=None if args.decoding_scales is None else str(args.decoding_scales),
        graph_weight=args.lattice_weight,
        decode=args.write_transcripts,
        inventory=None if args.inventory is None else str(args.inventory),
        language=args.language,
        device=args.device,
        precision=args.precision,
        threads=args.threads,
    )
    labeller = job.processor()  # every mistake in the options shows here, before a worker starts
    settings, on = labeller.settings, labeller.device
    del labeller
    todo = _undone(paths, args.out, settings, args.verify)
    seconds = _seconds(todo)
    about = "about " if len(todo) > SAMPLED_SHARDS else ""
    say(
        f"{len(todo)} of {len(paths)} shards to label, {about}{seconds / SECONDS_PER_HOUR:.2f} h of audio, "
        f"on {on} in {settings['precision']}"
    )
    if args.dry_run:
        return 0
    job = replace(job, settings=fingerprint(settings))
    failed = _label(job, todo, settings, seconds, args)
    say(*describe_status(status(paths, args.out), args.out))
    utterances = note_skipped(paths, args.out, skipped)
    skipped.write(join(args.out, SKIPPED_FILE))
    if failed:
        return 1
    skipped.check(utterances, join(args.out, SKIPPED_FILE))
    return 0


def _label(
    job: LabelJob, todo: Sequence[PathOrUrl], settings: dict, seconds: float, args: argparse.Namespace
) -> dict[str, str]:
    state = JobState(args.out, SETTINGS_FILE)
    state.check_settings(settings)
    state.remove_stale()
    if not todo:
        Leases(state.leases_folder).expire()
        return {}
    if state.leases_folder is None:  # machines that cannot tell each other what they work on begin at other places
        todo = random.Random(uuid.uuid4().int).sample(todo, len(todo))
    workers = min(args.workers or workers_here(args.device, args.threads), len(todo))
    if workers > 1 and job.threads is None and args.backend == "local":
        job = replace(job, threads=max(1, set_threads(None) // workers))
    pool = _pool(job, workers, args)
    try:
        with Progress("label", seconds) as progress, Leases(state.leases_folder) as leases:

            def show(event: ShardEvent) -> None:
                if event.kind == "audio":
                    progress.update(event.seconds)
                elif event.kind == "failed":
                    say(f"{event.shard}: {event.reason}")

            is_done = lambda shard: exists(sidecar_path(args.out, shard))
            return run_shards(todo, is_done, pool, leases, state, args.max_attempts, show)
    finally:
        pool.close()


def _pool(job: LabelJob, workers: int, args: argparse.Namespace) -> Pool:
    if args.backend == "ray":
        from asr_kd.jobs.ray_pool import RayPool  # an extra

        return RayPool(job, workers, args.ray_address)
    return ProcessPool(job, workers)


def _undone(paths: Sequence[PathOrUrl], out: PathOrUrl, settings: dict, verify: bool) -> list[PathOrUrl]:
    """Shards without a sidecar. ValueError when there are sidecars made in another way or of other tars.

    That a sidecar is whole is known from its name. Opened are the first, those whose tar is newer, with `verify` all.
    """
    there = {stem(path) for path in list_files(out, ".parquet")}
    done = [path for path in paths if stem(path) in there]
    for number, path in enumerate(done):
        sidecar = sidecar_path(out, path)
        if verify:
            _check(sidecar, read_sidecar(sidecar, open_shard(path))[1], settings)
        elif not number or _is_newer(path, sidecar):
            _check(sidecar, read_description(sidecar), settings | {"shard": open_shard(path).digest})
    return [path for path in paths if stem(path) not in there]


def _check(sidecar: PathOrUrl, found: dict, wanted: dict) -> None:
    if found.get("kind") == wanted["kind"]:
        check_kind(sidecar, found)
    check_same_settings(sidecar, found, wanted)


def _is_newer(path: PathOrUrl, other: PathOrUrl) -> bool:
    """Whether one local file was changed after another; stores do not tell."""
    return isinstance(path, Path) and isinstance(other, Path) and path.stat().st_mtime > other.stat().st_mtime


def _seconds(paths: Sequence[PathOrUrl]) -> float:
    """Audio in shards; of many, judged from evenly spaced ones by the bytes of the tars."""
    sizes = tar_sizes(paths)
    seconds = tar_bytes = 0.0
    for path in paths[:: max(1, len(paths) // SAMPLED_SHARDS)]:
        with suppress(ValueError, OSError):  # its worker will report it
            seconds += open_shard(path).seconds
            tar_bytes += sizes.get(path, 0)
    return seconds / tar_bytes * sum(sizes.values()) if tar_bytes else 0.0


def _check_names(paths: Sequence[PathOrUrl]) -> None:
    """ValueError when two shards would share a sidecar."""
    first: dict[str, PathOrUrl] = {}
    for path in paths:
        other = first.setdefault(stem(path), path)
        if other != path:
            raise ValueError(
                f"{path}: has the name of {other}, their sidecars would collide. Label them to two --out folders."
            )
