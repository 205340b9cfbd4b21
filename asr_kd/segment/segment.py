"""Long recordings -> segments to train on, cut in pauses. Nothing is copied: a segment is a line of a manifest with the
recording's audio_filepath and its own offset and duration. `asr-kd shard` takes the manifests.

Each manifest becomes OUT/<its name>; audio files, and those below folders, become OUT/unlabelled.jsonl.
OUT/recordings.csv has the seconds of speech, of audio kept and the segments of each recording. Recordings without
speech, and those that cannot be read, stand in OUT/rejected.jsonl with their reason; when more than --max-skipped
cannot be read, the command fails at its end.

Recordings with text of up to --max-seconds stay as they are. With --model longer ones are cut with their text: each
segment gets the words that were said in it, and those that do not match are listed in OUT/rejected.jsonl. Without, they
are listed there.

The same command resumes a stopped one. It can run on several machines that share OUT: no recording is lost or cut
twice, and the bytes are the same.

  asr-kd segment exp/manifests/unlabelled.jsonl --out exp/segments
  asr-kd segment recordings/ talk.mp3 --min-seconds 2 --max-seconds 30 --out exp/segments
  asr-kd segment exp/manifests/labelled.jsonl --model exp/teacher --lexicon exp/align/lexicon.txt --out exp/segments
  asr-kd segment recordings/ --out exp/segments --status
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from asr_kd.core.commands import command
from asr_kd.core.errors import PartFailed
from asr_kd.core.options import argument, option
from asr_kd.core.progress import SECONDS_PER_HOUR
from asr_kd.core.skipped import Skipped, SkippedOptions
from asr_kd.core.terminal import say, show
from asr_kd.corpora.corpus import REJECTED
from asr_kd.corpora.languages import ENGLISH, language_code
from asr_kd.corpora.segments import SegmentConfig
from asr_kd.corpora.speech_activity import best_detector, load_detector
from asr_kd.jobs.job_state import JobState
from asr_kd.jobs.process_pool import workers_here
from asr_kd.jobs.run_job import PoolOptions, check_pool, run_job
from asr_kd.segment.merge import Totals, merge, print_summary
from asr_kd.segment.parts import plan
from asr_kd.segment.recordings import Source, TextRule, check_outputs, find_sources
from asr_kd.segment.segment_job import SegmentJob
from asr_kd.segment.text_aligner_config import TextAlignerConfig

SETTINGS_FILE = "segment.json"
"""In the output folder: what all runs have in common."""


@dataclass(frozen=True, kw_only=True)
class SegmentRun(SkippedOptions, PoolOptions):
    """What `asr-kd segment` is given."""

    inputs: tuple[Path, ...] = argument("manifests (.jsonl), audio files, or folders of them", metavar="INPUT")
    out: Path = option("output folder: manifests of segments")
    detector: Literal["auto", "silero", "energy"] = option(
        "of speech: silero (extra `vad`); energy: by the level alone, for clean recordings; auto: silero where it is "
        "installed",
        "auto",
    )
    min_seconds: float = option(
        "shorter stretches of speech get a neighbour, or the silence around them",
        SegmentConfig.min_seconds,
        metavar="S",
    )
    max_seconds: float = option("longest segment", SegmentConfig.max_seconds, metavar="S")
    max_pause: float = option(
        "longest pause inside a segment, in seconds; longer ones are left out",
        SegmentConfig.max_pause_seconds,
        metavar="S",
    )
    padding: float = option(
        "seconds that are kept before and after the speech of a segment", SegmentConfig.padding_seconds, metavar="S"
    )
    model: tuple[Path, ...] = option(
        "cut longer recordings with their text, aligned by this model (of senones or tokens); the posteriors of "
        "several are averaged",
        (),
        metavar="MODEL",
    )
    lexicon: Path | None = option(
        "with --model of senones: pronunciations, as `asr-kd align` wrote them", None, metavar="FILE"
    )
    decoding_scales: Path | None = option(
        "with --model: tune.json of `asr-kd tune`, or its folder", None, metavar="DIR"
    )
    max_word_errors: float = option(
        "with --model: a segment keeps its text when recognition differs in up to this share of the words",
        TextAlignerConfig.max_word_errors,
        metavar="SHARE",
    )
    language: str = option(
        "with --model: language of the text, as a code such as de", ENGLISH, metavar="CODE", parse=language_code
    )
    ignore_text: bool = option("cut recordings with text like those without; the text is left out", False)
    dry_run: bool = option("check the inputs and say what would be done; cut nothing", False)
    status: bool = option("print the progress of a running or stopped job and exit", False)
    segments: SegmentConfig = field(default_factory=SegmentConfig)


@command(is_shared=True)
def segment_recordings(config: SegmentRun) -> None:
    """Cut recordings, on as many machines as call it. PartFailed when a part could not be cut."""
    check_pool(config)
    check_outputs(config.inputs, config.out)
    skipped = Skipped("recordings", config.max_skipped)
    job = _job(config)
    rule = TextRule(config.max_seconds, config.ignore_text, job.text is not None)
    sources = find_sources(config.inputs, rule)
    state = JobState(config.out, SETTINGS_FILE)
    work = plan(sources, Source.to_cut, job, config.out, None if config.dry_run or config.status else state)
    if config.status:
        show(*work.status(state))
        return
    say(
        f"{work.items} recordings, {work.seconds / SECONDS_PER_HOUR:.2f} h; {len(work.todo)} of {len(work.lists)} "
        f"parts ({work.seconds_todo / SECONDS_PER_HOUR:.2f} h) to cut, speech detector: {job.detector}"
    )
    if config.dry_run:
        return
    is_done = lambda part: job.result(part).exists()
    workers = config.workers or workers_here("cpu")
    failed = run_job("segment", job, work.todo, work.seconds_todo, is_done, state, workers, config, one_at_a_time=True)
    if failed:
        raise PartFailed(f"{len(failed)} of {len(work.todo)} parts could not be cut. Run the same command again.")
    totals = merge(sources, job.result, job.detector, config.out)
    print_summary(sources, totals)
    _check(totals, skipped, config.out)


def _job(config: SegmentRun) -> SegmentJob:
    detector = best_detector() if config.detector == "auto" else config.detector
    load_detector(detector)  # what is not installed or does not fit shows here, before a worker starts
    cutting = replace(
        config.segments,
        min_seconds=config.min_seconds,
        max_seconds=config.max_seconds,
        max_pause_seconds=config.max_pause,
        padding_seconds=config.padding,
    )
    text = None
    if config.model:
        lexicon, scales = (None if p is None else str(p) for p in (config.lexicon, config.decoding_scales))
        models = tuple(map(str, config.model))
        text = TextAlignerConfig(models, lexicon, scales, config.language, config.max_word_errors)
        from asr_kd.segment.text_aligner import TextAligner  # slow to import

        TextAligner(text)
    elif config.lexicon is not None or config.decoding_scales is not None:
        raise ValueError("--lexicon and --decoding-scales: only used with --model")
    return SegmentJob(detector, str(config.out / ".work" / "segments"), cutting, text)


def _check(totals: Sequence[Totals], skipped: Skipped, out: Path) -> None:
    """Say what could not be read. ValueError when it is too much, or nothing holds speech."""
    for total in totals:
        for item in total.unreadable:
            skipped.add(item.id, item.error, item.audio_filepath)
    recordings = sum(total.recordings for total in totals)
    skipped.check(recordings, out / REJECTED)
    if not any(total.segments for total in totals):
        raise ValueError(f"{out / REJECTED}: none of {recordings} recordings holds speech")
