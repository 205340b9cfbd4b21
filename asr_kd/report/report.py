"""One run of a recipe as results.json (for machines), report.html and utterances.html (for people).

Example:

    asr-kd report --scores exp/scores --manifest exp/manifests/test.jsonl --audio exp/shards/test \\
        --metrics teacher=exp/teacher/metrics.jsonl student_distilled=exp/student/metrics.jsonl \\
        --title "AN4, 20% labelled" --started $started --seed 1 --out exp/report

Each page has its charts, sound, styles and script in itself and asks the network for nothing. report.html shows the
utterances with the most errors and links to utterances.html, which lists all of them.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asr_kd.core.files import atomic_path, read_json, values_of, write_json
from asr_kd.core.skipped import Skipped
from asr_kd.core.terminal import say, show
from asr_kd.evaluation.provenance import command_line, commit, versions
from asr_kd.evaluation.score import named_paths
from asr_kd.report.clips import clips_from_manifest, clips_from_shards
from asr_kd.report.curves import read_run
from asr_kd.report.page import Page, render, worst_utterances
from asr_kd.report.summary import default_student, summarise
from asr_kd.report.utterances import write_utterances


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `asr-kd report`."""
    add = parser.add_argument
    add("--scores", required=True, type=Path, metavar="DIR", help="folder with the scores.json of `asr-kd score`")
    add("--manifest", type=Path, metavar="FILE", help="test manifest, to find audio that --audio does not hold")
    add(
        "--audio",
        type=Path,
        nargs="+",
        default=[],
        metavar="SHARDS",
        help="test shards (folders or tars), for playback",
    )
    add(
        "--metrics",
        nargs="+",
        default=[],
        metavar="NAME=FILE",
        help="metrics.jsonl of training runs, for learning curves",
    )
    add(
        "--config",
        nargs="+",
        default=[],
        metavar="NAME=FILE",
        help="config files of the run, shown on the page",
    )
    add(
        "--student",
        metavar="NAME",
        help="system the run is about (default: student_distilled, else the last scored that is no baseline or oracle)",
    )
    add("--title", required=True, help="what was run; runs of several seeds share it")
    add("--seed", type=int, help="seed of the run")
    add("--command", help="command that makes this result, for the reader who wants to run it again")
    clock = parser.add_mutually_exclusive_group()
    clock.add_argument("--seconds", type=float, help="wall seconds that the recipe took")
    clock.add_argument("--started", type=float, metavar="EPOCH", help="when it started (date +%%s); it ends now")
    add(
        "--num-examples", type=int, default=Page.worst, help="utterances shown with their errors (default: %(default)s)"
    )
    add("--out", required=True, type=Path, metavar="DIR", help="folder for results.json, report.html, utterances.html")


def run(args: argparse.Namespace) -> int:
    """Run `asr-kd report`."""
    scores = read_scores(args.scores)
    seconds = args.seconds if args.started is None else time.time() - args.started
    with values_of(args.scores, "asr-kd score"):
        student = args.student or default_student(scores)
        summary = summarise(
            scores,
            student=student,
            title=args.title,
            seconds=seconds,
            seed=args.seed,
            command=args.command or command_line(),
            commit=commit(),
        )
    runs = [read_run(name, path) for name, path in named_paths("--metrics", args.metrics).items()]
    for missing in (r for r in runs if not r.found):
        say(f"asr-kd report: {missing.path}: no such file; {missing.name} has no learning curve")
    with values_of(args.scores, "asr-kd score"):
        page = Page(
            summary,
            scores,
            runs,
            clips=find_clips(scores, student, args.num_examples, args.audio, args.manifest),
            configs={name: _read_text(path) for name, path in named_paths("--config", args.config).items()},
            versions=versions(),
            worst=args.num_examples,
        )
        html = render(page)
        write_utterances(args.out / "utterances.html", scores, student, args.title)
    write_json(args.out / "results.json", summary)
    with atomic_path(args.out / "report.html") as temporary:
        temporary.write_text(html, encoding="utf-8")
    show(f"{args.out / 'report.html'}: {len(html) / 1e6:.1f} MB, {len(page.clips)} utterances to listen to")
    return 0


def read_scores(folder: Path) -> dict[str, Any]:
    """`scores.json` in a folder, or the file itself. ValueError when it is something else."""
    path = folder / "scores.json" if folder.is_dir() else folder
    scores = read_json(path)
    if not isinstance(scores, dict) or "per_utterance" not in scores:
        raise ValueError(f"{path}: not the scores.json of `asr-kd score`. Score again.")
    return scores


def find_clips(
    scores: dict[str, Any], student: str, worst: int, audio: Sequence[Path], manifest: Path | None
) -> dict[str, str]:
    """Sound of the utterances shown: from the shards, and what is not in them from the manifest's audio files."""
    ids = [u["id"] for u in worst_utterances(scores, student, worst)]
    skipped = Skipped("clips")
    clips = clips_from_shards(audio, ids, skipped) if audio else {}
    absent = [i for i in ids if i not in clips]
    if manifest is not None and absent:
        clips |= clips_from_manifest(manifest, absent, skipped)
    for name, reason in skipped.reasons.items():
        if name not in clips:
            say(f"asr-kd report: no sound of {name}: {reason}")
    return clips


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as e:
        raise ValueError(f"--config {path}: {e.strerror}") from None
