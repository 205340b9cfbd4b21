"""Writes a sidecar OUT/SHARD.parquet for each SHARD.tar. It holds the soft targets: the most likely classes of every
frame, their probabilities and the residual mass. Of a teacher that only gives words (Whisper) it holds the words and
their confidences, which are also written to OUT/SHARD.hyp.jsonl.

The same command resumes a stopped job. It can run on several machines that share OUT: no shard is lost or done twice,
and the bytes are the same.
Utterances whose audio cannot be read or whose posteriors are not finite are skipped, in the sidecar with their reason,
and listed in OUT/skipped.jsonl; when they are more than --max-skipped, the command fails at its end. A shard that
cannot be labelled is tried again, then reported, and the others go on.

  asr-kd label exp/shards/unlabelled --teacher exp/teacher --out exp/targets
  asr-kd label exp/shards/unlabelled --teacher exp/teacher --out exp/targets --status
  asr-kd label exp/shards/unlabelled --teacher exp/teacher --graph exp/graph --write-transcripts --out exp/targets
  asr-kd label exp/shards/unlabelled --teacher bundle:WAV2VEC2_ASR_BASE_960H --inventory exp/tokens --out exp/targets
  asr-kd label exp/shards/unlabelled --teacher whisper:small.en --out exp/transcripts
"""

import random
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from asr_kd.core.commands import command
from asr_kd.core.errors import PartFailed
from asr_kd.core.files import fingerprint
from asr_kd.core.options import DEVICE_HELP, argument, option
from asr_kd.core.progress import SECONDS_PER_HOUR
from asr_kd.core.runtime import set_threads
from asr_kd.core.skipped import Skipped, SkippedOptions
from asr_kd.core.storage import PathOrUrl, exists, join, list_files, output_location, stem
from asr_kd.core.terminal import say, show
from asr_kd.jobs.job_state import JobState, check_same_settings
from asr_kd.jobs.process_pool import workers_here
from asr_kd.jobs.run_job import PoolOptions, check_pool, run_job
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


@dataclass(frozen=True, kw_only=True)
class LabelRun(SkippedOptions, PoolOptions):
    """What `asr-kd label` is given."""

    shards: tuple[PathOrUrl, ...] = argument("shards or folders of shards; text in them is ignored")
    teacher: tuple[str, ...] = option(
        "teacher: a model's folder or .safetensors file; bundle:NAME_OR_FILE for a torchaudio ASR bundle; "
        "whisper:NAME_OR_FOLDER for Whisper (extra `whisper`), which gives transcripts; the posteriors "
        "of several are averaged",
        metavar="MODEL",
    )
    out: PathOrUrl = option("output folder or URL: one sidecar a shard", parse=output_location)
    top_k: int = option("classes stored per frame, at most", SelectionConfig.top_k, metavar="N")
    min_prob: float = option(
        "do not store classes with a probability below this", SelectionConfig.min_prob, metavar="P"
    )
    top_p: float | None = option(
        "instead of --min-prob: store the fewest classes whose probabilities sum to this", None, metavar="P"
    )
    quant_levels: int = option("quantisation levels of a stored probability", ProbabilityQuantiser.levels, metavar="N")
    max_frames_per_batch: int = option(
        "frames in a batch, padding included, at most", LabelConfig.max_frames_per_batch, metavar="N"
    )
    graph: Path | None = option(
        "interpolate the posteriors with lattice posteriors from this graph", None, metavar="DIR"
    )
    decoding_scales: Path | None = option(
        "with --graph: tune.json of `asr-kd tune`, or its folder", None, metavar="DIR"
    )
    lattice_weight: float = option(
        "with --graph: interpolation weight of the lattice posteriors; the model's own have the rest",
        LatticeConfig.weight,
        metavar="W",
    )
    write_transcripts: bool = option(
        "with --graph: also write OUT/SHARD.hyp.jsonl, the decoded words with their confidences", False
    )
    inventory: Path | None = option(
        "map a CTC teacher's posteriors to the units and frame shift of these tokens (folder of `asr-kd tokens`)",
        None,
        metavar="DIR",
    )
    language: str | None = option(
        "for Whisper: spoken language as a code such as `en` (default: detect)", None, metavar="CODE"
    )
    device: str = option(DEVICE_HELP, "auto")
    precision: Literal["auto", "bf16", "float32"] = option(
        "of the forward pass; auto: bf16 where the device is fast in it, else float32", "auto"
    )
    threads: int | None = option(
        "CPU threads per operation in each worker; with it, one worker unless --workers says more (default: the cores, "
        "shared among the workers)",
        None,
        metavar="N",
    )
    dry_run: bool = option("check the inputs and say what would be done; label nothing", False)
    status: bool = option(
        "print the progress of a running or stopped job (done, in work, failed, time left) and exit", False
    )
    json: bool = option("with --status: print one line of JSON", False)
    verify: bool = option("check every existing sidecar", False)


@command(is_shared=True)
def label_shards(config: LabelRun) -> None:
    """Label shards, on as many machines as call it. PartFailed when a shard could not be labelled."""
    paths = find_shards(*config.shards)
    _check_names(paths)
    skipped = Skipped(max_share=config.max_skipped)
    if config.status:
        now = status(paths, config.out)
        show(*([now.to_json()] if config.json else [*describe_status(now, config.out), *describe_skipped(now)]))
        return
    check_pool(config)
    job = LabelJob(
        teacher=config.teacher,
        out=str(config.out),
        config=LabelConfig(
            SelectionConfig(config.top_k, config.top_p, config.min_prob),
            ProbabilityQuantiser(config.quant_levels),
            config.max_frames_per_batch,
        ),
        graph=None if config.graph is None else str(config.graph),
        scales=None if config.decoding_scales is None else str(config.decoding_scales),
        graph_weight=config.lattice_weight,
        decode=config.write_transcripts,
        inventory=None if config.inventory is None else str(config.inventory),
        language=config.language,
        device=config.device,
        precision=config.precision,
        threads=config.threads,
    )
    labeller = job.processor()  # every mistake in the options shows here, before a worker starts
    settings, on = labeller.settings, labeller.device
    del labeller
    todo = _undone(paths, config.out, settings, config.verify)
    seconds = _seconds(todo)
    about = "about " if len(todo) > SAMPLED_SHARDS else ""
    say(
        f"{len(todo)} of {len(paths)} shards to label, {about}{seconds / SECONDS_PER_HOUR:.2f} h of audio, "
        f"on {on} in {settings['precision']}"
    )
    if config.dry_run:
        return
    job = replace(job, settings=fingerprint(settings))
    failed = _label(job, todo, settings, seconds, config)
    say(*describe_status(status(paths, config.out), config.out))
    utterances = note_skipped(paths, config.out, skipped)
    skipped.write(join(config.out, SKIPPED_FILE))
    if failed:
        raise PartFailed(f"{len(failed)} of {len(todo)} shards could not be labelled. Run the same command again.")
    skipped.check(utterances, join(config.out, SKIPPED_FILE))


def _label(
    job: LabelJob, todo: Sequence[PathOrUrl], settings: dict[str, Any], seconds: float, config: LabelRun
) -> dict[str, str]:
    state = JobState(config.out, SETTINGS_FILE)
    state.check_settings(settings)
    state.remove_stale()
    if state.leases_folder is None:  # machines that cannot tell each other what they work on begin at other places
        todo = random.Random(uuid.uuid4().int).sample(todo, len(todo))
    workers = min(config.workers or workers_here(config.device, config.threads), len(todo))
    if workers > 1 and job.threads is None and config.backend == "local":
        job = replace(job, threads=max(1, set_threads(None) // workers))
    is_done = lambda shard: exists(sidecar_path(config.out, shard))
    return run_job("label", job, todo, seconds, is_done, state, workers, config)


def _undone(paths: Sequence[PathOrUrl], out: PathOrUrl, settings: dict[str, Any], verify: bool) -> list[PathOrUrl]:
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


def _check(sidecar: PathOrUrl, found: dict[str, Any], wanted: dict[str, Any]) -> None:
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
