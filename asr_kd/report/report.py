"""One run of a recipe as results.json (for machines), report.html and utterances.html (for people).

Example:

    asr-kd report --scores exp/scores --manifest exp/manifests/test.jsonl --audio exp/shards/test \\
        --metrics teacher=exp/teacher/metrics.jsonl student_distilled=exp/student/metrics.jsonl \\
        --title "AN4, 20% labelled" --started $started --seed 1 --out exp/report

The pages are self-contained (charts, audio, styles, script) and work offline. report.html shows the utterances with the
most errors; utterances.html lists all of them.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr_kd.core.commands import command, command_line
from asr_kd.core.files import atomic_path, read_json, values_of, write_json
from asr_kd.core.options import option
from asr_kd.core.skipped import Skipped
from asr_kd.core.terminal import say, show
from asr_kd.evaluation.provenance import commit, versions
from asr_kd.evaluation.score import named_paths
from asr_kd.report.clips import clips_from_manifest, clips_from_shards
from asr_kd.report.curves import read_run
from asr_kd.report.page import Page, render, worst_utterances
from asr_kd.report.summary import default_student, summarise
from asr_kd.report.utterances import write_utterances


@dataclass(frozen=True, kw_only=True)
class ReportRun:
    """What `asr-kd report` is given."""

    scores: Path = option("folder with the scores.json of `asr-kd score`", metavar="DIR")
    manifest: Path | None = option("test manifest, to find audio that --audio does not hold", None, metavar="FILE")
    audio: tuple[Path, ...] = option("test shards (folders or tars), for playback", (), metavar="SHARDS")
    metrics: tuple[str, ...] = option(
        "metrics.jsonl of each training run, for learning curves", (), metavar="NAME=FILE"
    )
    run_configs: tuple[str, ...] = option("config files of the run, shown on the page", (), metavar="NAME=FILE")
    student: str | None = option(
        "system that the report is about (default: student_distilled, else the last scored that is "
        "neither baseline nor oracle)",
        None,
        metavar="NAME",
    )
    title: str = option("what was run; runs that differ by the seed alone share it")
    seed: int | None = option("random seed that the run was trained with, to show", None)
    command: str | None = option("command that reproduces this result, to show", None)
    seconds: float | None = option("wall-clock seconds that the run took, to show", None)
    started: float | None = option("instead of --seconds: when the run started (`date +%s`)", None, metavar="EPOCH")
    num_examples: int = option("utterances with the most errors to show", Page.worst, metavar="N")
    out: Path = option("output folder: results.json, report.html, utterances.html")


@command()
def report(config: ReportRun) -> None:
    """Write the pages and figures of a run."""
    if config.seconds is not None and config.started is not None:
        raise ValueError("--seconds and --started: give one of them")
    scores = read_scores(config.scores)
    seconds = config.seconds if config.started is None else time.time() - config.started
    with values_of(config.scores, "asr-kd score"):
        student = config.student or default_student(scores)
        if student not in scores["systems"]:
            scored = ", ".join(scores["systems"])
            raise ValueError(f"--student {student}: not among the systems scored ({scored}) in {config.scores}")
        summary = summarise(
            scores,
            student=student,
            title=config.title,
            seconds=seconds,
            seed=config.seed,
            command=config.command or command_line(),
            commit=commit(),
        )
    runs = [read_run(name, path) for name, path in named_paths("--metrics", config.metrics).items()]
    for missing in (r for r in runs if not r.found):
        say(f"asr-kd report: {missing.path}: no such file; {missing.name} has no learning curve")
    with values_of(config.scores, "asr-kd score"):
        page = Page(
            summary,
            scores,
            runs,
            clips=find_clips(scores, student, config.num_examples, config.audio, config.manifest),
            configs={name: _read_text(path) for name, path in named_paths("--run-configs", config.run_configs).items()},
            versions=versions(),
            worst=config.num_examples,
        )
        html = render(page)
        write_utterances(config.out / "utterances.html", scores, student, config.title)
    write_json(config.out / "results.json", summary)
    with atomic_path(config.out / "report.html") as temporary:
        temporary.write_text(html, encoding="utf-8")
    show(f"{config.out / 'report.html'}: {len(html) / 1e6:.1f} MB, {len(page.clips)} utterances to listen to")


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
