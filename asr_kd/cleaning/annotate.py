"""Manifests -> the same manifests with columns in `meta` that say what each utterance is like: level, clipping, noise,
speech, music, bandwidth, language, whether it is a copy of another. `asr-kd filter --where` selects by them.

  level      level_db, clipping, digital_silence
  bandwidth  bandwidth_hz
  snr        snr_db
  speech     speech_s, speech_share
  tones      steady_tones
  duplicate  duplicate_of, duplicate_kind
  text       repetition, compression, stock_phrase, words_per_s       with --transcripts
  language   language, language_probability                           with --whisper
  dnsmos     dnsmos, dnsmos_speech, dnsmos_background                 with --dnsmos

Each manifest becomes OUT/<its name>; audio files, and those below folders, become OUT/unlabelled.jsonl. Copies are
looked for in all of them together, so that audio of a test part is found in a training part. Utterances that cannot
be read stand in OUT/rejected.jsonl with their reason; when they are more than --max-skipped, the command fails at its
end. Cut long recordings first (`asr-kd segment`).

The same command resumes a stopped one. It can run on several machines that share OUT: the bytes are the same.
docs/cleaning.md says what each column holds and how well it does.

  asr-kd annotate exp/segments/unlabelled.jsonl --out exp/annotated
  asr-kd annotate exp/segments/unlabelled.jsonl --whisper whisper:small --transcripts exp/targets --out exp/annotated
  asr-kd filter exp/annotated/unlabelled.jsonl --where "clipping <= 0.01" "duplicate_of is null" --out exp/kept.jsonl
  asr-kd shard exp/kept.jsonl --out exp/shards
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from asr_kd.cleaning.annotate_job import AnnotateJob
from asr_kd.cleaning.measure import MeasureOptions
from asr_kd.cleaning.merge import Results, Totals, merge, print_summary
from asr_kd.cleaning.registry import DEFAULT, MEASURES, load_measures
from asr_kd.core.commands import command
from asr_kd.core.errors import PartFailed
from asr_kd.core.options import DEVICE_HELP, argument, option
from asr_kd.core.progress import SECONDS_PER_HOUR
from asr_kd.core.skipped import Skipped, SkippedOptions
from asr_kd.core.terminal import say, show
from asr_kd.corpora.corpus import REJECTED
from asr_kd.corpora.speech_activity import best_detector
from asr_kd.jobs.job_state import JobState
from asr_kd.jobs.process_pool import workers_here
from asr_kd.jobs.run_job import PoolOptions, check_pool, run_job
from asr_kd.segment.parts import PartsWork, plan
from asr_kd.segment.recordings import Source, TextRule, check_outputs, find_sources
from asr_kd.transcripts.pseudo_labels import read_transcripts

SETTINGS_FILE = "annotate.json"
"""In the output folder: what all runs have in common."""


@dataclass(frozen=True, kw_only=True)
class AnnotateRun(SkippedOptions, PoolOptions):
    """What `asr-kd annotate` is given."""

    inputs: tuple[Path, ...] = argument("manifests (.jsonl), audio files, or folders of them", metavar="INPUT")
    out: Path = option("output folder: manifests with columns")
    measures: tuple[str, ...] = option(
        "what is measured; each has columns of its own (docs/cleaning.md)", DEFAULT, choices=tuple(MEASURES)
    )
    detector: Literal["auto", "silero", "energy"] = option(
        "of speech: silero (extra `vad`); energy: by the level alone; auto: silero where it is installed", "auto"
    )
    transcripts: tuple[Path, ...] = option(
        "text of a recogniser for the measure text: *.hyp.jsonl of `asr-kd label`, or folders of them (default with "
        "--measures text: that of the manifests)",
        (),
        metavar="HYP",
    )
    whisper: str | None = option(
        "Whisper model of several languages for the measure language: whisper:FOLDER or whisper:NAME (extra `whisper`)",
        None,
        metavar="MODEL",
    )
    dnsmos: bool = option("measure the quality by DNSMOS too (extra `quality`)", False)
    device: str = option(f"of Whisper: {DEVICE_HELP}", "cpu", metavar="DEVICE")
    dry_run: bool = option("check the inputs and say what would be done; measure nothing", False)
    status: bool = option("print the progress of a running or stopped job and exit", False)


@command(is_shared=True)
def annotate_manifests(config: AnnotateRun) -> None:
    """Measure utterances, on as many machines as call it. PartFailed when a part could not be measured."""
    check_pool(config)
    check_outputs(config.inputs, config.out, config.transcripts)
    skipped = Skipped("utterances", config.max_skipped)
    measures = _measures(config)
    job = AnnotateJob(measures, str(config.out / ".work" / "columns"), _options(config), config.device)
    load_measures(measures, job.options)  # what is not installed shows here, before a worker starts
    sources = find_sources(config.inputs, TextRule(is_ignored=True))
    state = JobState(config.out, SETTINGS_FILE)
    work = plan(sources, Source.utterances, job, config.out, None if config.dry_run or config.status else state)
    if config.status:
        show(*work.status(state))
        return
    say(
        f"{work.items} utterances, {work.seconds / SECONDS_PER_HOUR:.2f} h; {len(work.todo)} of "
        f"{len(work.lists)} parts ({work.seconds_todo / SECONDS_PER_HOUR:.2f} h) to measure: {', '.join(measures)}"
    )
    if config.dry_run:
        return
    transcripts = {u.id: u.text for u in read_transcripts(*config.transcripts)} if config.transcripts else None
    if transcripts is not None and not any(u.id in transcripts for source in sources for u in source.utterances()):
        raise ValueError(
            f"{config.transcripts[0]}: has a transcript of no utterance of {config.inputs[0]}. "
            "Label the shards of that manifest."
        )
    is_done = lambda part: job.result(part).exists()
    workers = config.workers or workers_here(config.device)
    failed = run_job("annotate", job, work.todo, work.seconds_todo, is_done, state, workers, config, one_at_a_time=True)
    if failed:
        raise PartFailed(f"{len(failed)} of {len(work.todo)} parts could not be measured. Run the same command again.")
    totals = merge(sources, Results(sources, job.result), measures, transcripts, config.out)
    print_summary(sources, totals)
    _check(totals, skipped, work, config.out)


def _measures(config: AnnotateRun) -> tuple[str, ...]:
    wanted = {*config.measures}
    wanted |= {"language"} if config.whisper is not None else set()
    wanted |= {"text"} if config.transcripts else set()
    wanted |= {"dnsmos"} if config.dnsmos else set()
    if not wanted:
        raise ValueError(f"--measures: name at least one of {', '.join(MEASURES)}")
    return tuple(name for name in MEASURES if name in wanted)


def _options(config: AnnotateRun) -> MeasureOptions:
    detector = best_detector() if config.detector == "auto" else config.detector
    return MeasureOptions(detector, config.whisper, config.device)


def _check(totals: Sequence[Totals], skipped: Skipped, work: PartsWork, out: Path) -> None:
    """Say what could not be read. ValueError when it is too much."""
    for total in totals:
        for item in total.rejected:
            skipped.add(item.id, item.error, item.audio_filepath)
    skipped.check(work.items, out / REJECTED)
