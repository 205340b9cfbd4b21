"""Turns audio of any length into words with times and confidences.

Without --out, one recording is printed to stdout while it is recognised: a file, standard input (`-`) or the microphone
(--mic). Unidirectional models answer while audio comes in: a terminal shows the words so far, which may still change.
The words of an utterance are printed when a pause has ended it. Ctrl-C ends the microphone or the pipe and prints what
was said until then.

  asr-kd transcribe exp/student talk.flac --graph exp/graph --decoding-scales exp/student/tune
  asr-kd transcribe exp/student talk.mp3 --graph exp/graph --format srt > talk.srt
  arecord -f S16_LE -r 16000 -t wav | asr-kd transcribe exp/student - --graph exp/graph
  asr-kd transcribe exp/student --mic --graph exp/graph

With --out, each audio file gets an output of its name there, many at the same time. The same command resumes a stopped
one. Files that cannot be read are skipped and listed in OUT/skipped.jsonl; when they are more than --max-skipped, the
command fails at its end.

  asr-kd transcribe exp/student recordings/ more.wav --graph exp/graph --format vtt --out subtitles
"""

import itertools
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from asr_kd.core.commands import command
from asr_kd.core.errors import PartFailed
from asr_kd.core.options import DEVICE_HELP, argument, option
from asr_kd.core.progress import SECONDS_PER_HOUR, Progress
from asr_kd.core.runtime import set_threads
from asr_kd.core.skipped import MAX_SKIPPED, Skipped
from asr_kd.core.terminal import LiveLine, say, show
from asr_kd.corpora.audio import audio_seconds
from asr_kd.corpora.audio_stream import file_blocks
from asr_kd.corpora.found_audio import audio_files
from asr_kd.corpora.live_audio import microphone_blocks, piped_blocks
from asr_kd.corpora.text import joined
from asr_kd.decode.recognition import Recognition
from asr_kd.decode.transcribe_job import TranscribeJob
from asr_kd.decode.transcribe_outputs import AudioInput, is_done, place_outputs
from asr_kd.jobs.job import ShardEvent
from asr_kd.jobs.job_state import JobState
from asr_kd.jobs.leases import Leases
from asr_kd.jobs.process_pool import ProcessPool, workers_here
from asr_kd.jobs.scheduler import run_shards
from asr_kd.train.signals import StopRequest
from asr_kd.transcripts.formats import FORMATS, FormatName

STDIN = Path("-")
ATTEMPTS = 3
"""Per file on which the system failed, before it is reported."""


@dataclass(frozen=True, kw_only=True)
class TranscribeRun:
    """What `asr-kd transcribe` is given."""

    model: Path = argument("model: its folder or .safetensors file")
    files: tuple[Path, ...] = argument("audio files, or folders of them; - is standard input", metavar="FILE")
    mic: bool = option(
        "instead of FILE: the microphone, until Ctrl-C (extra `mic`: sounddevice)", False, instead_of="files"
    )
    graph: Path | None = option(
        "decoding graph: output folder of `asr-kd graph` (default: greedy CTC decoding, models of tokens only)",
        None,
        metavar="DIR",
    )
    decoding_scales: Path | None = option(
        "tune.json of `asr-kd tune`, or its folder (default: acoustic 1; prior 1 for senones, 0 for tokens)",
        None,
        metavar="DIR",
    )
    format: FormatName = option("of the output", "text")
    out: Path | None = option("output folder: one file per audio file (default: print one recording)", None)
    raw_rate: int | None = option(
        "with -: samples without a header, 16-bit little-endian mono, at this rate in Hz", None, metavar="HZ"
    )
    workers: int | None = option(
        "with --out: worker processes (default: one per GPU or core; with --threads: 1)", None, metavar="N"
    )
    threads: int | None = option(
        "CPU threads per operation in each worker (default: the cores, shared among the workers)", None, metavar="N"
    )
    device: str = option(DEVICE_HELP, "auto")
    precision: str = option(
        "of the forward pass: auto (bf16 where the device is fast in it, else float32), bf16, float32; "
        "int8 for a quantised model",
        "auto",
    )
    max_skipped: float = option(
        "with --out: fail when more than this share of the files is skipped as damaged", MAX_SKIPPED, metavar="SHARE"
    )
    dry_run: bool = option("check model and files and say what would be done; transcribe nothing", False)

    @property
    def is_live(self) -> bool:
        """Whether the audio comes while it is recognised."""
        return self.mic or STDIN in self.files


@command()
def transcribe_files(config: TranscribeRun) -> None:
    """Print one recording, or write an output for each. PartFailed when the system failed on some of them."""
    _check(config)
    job = TranscribeJob(
        model=str(config.model),
        graph=None if config.graph is None else str(config.graph),
        scales=None if config.decoding_scales is None else str(config.decoding_scales),
        format=config.format,
        device=config.device,
        precision=config.precision,
        threads=config.threads,
    )
    if config.out is None:
        _print(config, job)
    else:
        _write(config, job, config.out)


def _check(config: TranscribeRun) -> None:
    if config.mic and config.files:
        raise ValueError(f"--mic: records from the microphone, and {config.files[0]} is given too. Give one of them.")
    if not config.mic and not config.files:
        raise ValueError("FILE: give an audio file, - for standard input, or --mic")
    if STDIN in config.files and len(config.files) > 1:
        raise ValueError("-: standard input is one recording of its own. Give it alone.")
    if config.is_live and config.out is not None:
        raise ValueError("--out: is for files. What is recorded or piped is printed: write `> FILE` for it.")
    if config.raw_rate is not None and STDIN not in config.files:
        raise ValueError("--raw-rate: is for samples that come through standard input (-)")
    if config.out is None and (len(config.files) > 1 or any(path.is_dir() for path in config.files)):
        raise ValueError("--out: is needed for several files: each gets its own output there")
    if config.workers is not None and config.workers < 1:
        raise ValueError(f"--workers {config.workers}: at least one is needed")


def _print(config: TranscribeRun, job: TranscribeJob) -> None:
    name = "microphone" if config.mic else "stdin" if config.is_live else config.files[0].stem
    seconds = None if config.is_live else audio_seconds(config.files[0])
    transcriber = job.load()
    if config.dry_run:
        say(f"{name}: {'live' if seconds is None else f'{seconds:.1f} s of'} audio to transcribe")
        return
    stop, line = StopRequest(), LiveLine()
    with stop if config.is_live else nullcontext():
        recognition = Recognition(
            transcriber, name, _blocks(config, stop), lambda seconds, words: line.show(joined(words))
        )
        for piece in FORMATS[config.format].pieces(recognition.recording):
            line.clear()
            show(*piece.removesuffix("\n").split("\n"))
    line.clear()
    say(f"{name}: {recognition.recording.seconds:.1f} s of audio, real-time factor {recognition.real_time_factor:.4f}")


def _blocks(config: TranscribeRun, stop: StopRequest) -> Iterator[np.ndarray]:
    """Audio until it ends or the user stops it."""
    if config.mic:
        return microphone_blocks(lambda: stop.asked is None)
    if not config.is_live:
        return file_blocks(config.files[0])
    if sys.stdin.isatty():
        raise ValueError("-: standard input is a terminal. Pipe audio into it, or use --mic.")
    blocks = piped_blocks(sys.stdin.buffer, "-", config.raw_rate)  # type: ignore[arg-type]  # a BufferedReader
    return itertools.takewhile(lambda wave_N: stop.asked is None, blocks)


def _write(config: TranscribeRun, job: TranscribeJob, out: Path) -> None:
    skipped = Skipped("files", config.max_skipped)
    inputs = _inputs(config.files, skipped)
    total = len(inputs) + len(skipped)
    job.load()  # every mistake in the options shows here, before a worker starts
    outputs = place_outputs(out, FORMATS[config.format].suffix, inputs, job.settings(), config.dry_run)
    lengths = {path: _seconds(path) for path, output in outputs.items() if not is_done(path, output)}
    seconds = sum(lengths.values())
    say(f"{len(lengths)} of {total} files to transcribe, {seconds / SECONDS_PER_HOUR:.2f} h of audio")
    if config.dry_run:
        return
    todo = sorted(lengths, key=lambda path: -lengths[path])  # the longest first: workers end at about the same time
    job = replace(job, outputs={str(path): str(outputs[path]) for path in todo})
    failed = _transcribe(job, todo, seconds, skipped, config)
    skipped.write(out / "skipped.jsonl")
    if failed:
        raise PartFailed(f"{len(failed)} of {len(todo)} files could not be transcribed. Run the same command again.")
    skipped.check(total, out / "skipped.jsonl")


def _transcribe(
    job: TranscribeJob, todo: Sequence[Path], seconds: float, skipped: Skipped, config: TranscribeRun
) -> set[str]:
    """Transcribe in worker processes; returns the files on which the system failed."""
    if not todo:
        return set()
    workers = min(config.workers or workers_here(config.device, config.threads), len(todo))
    if job.threads is None:
        job = replace(job, threads=max(1, set_threads(None) // workers))
    audio_s = work_s = 0.0
    pool = ProcessPool(job, workers)
    try:
        with Progress("transcribe", seconds) as progress, tempfile.TemporaryDirectory() as folder:

            def note(event: ShardEvent) -> None:
                nonlocal audio_s, work_s
                if event.kind == "audio":
                    progress.update(event.seconds)
                elif event.kind == "done":
                    audio_s += event.statistics["seconds"]
                    work_s += event.statistics["work_s"]
                elif event.final:
                    skipped.add(event.shard, event.reason)
                else:
                    say(f"{event.shard}: {event.reason}")

            state = JobState(folder, "job.json")
            failed = run_shards(todo, lambda path: False, pool, Leases(None), state, ATTEMPTS, note, one_at_a_time=True)
    finally:
        pool.close()
    rate = f", real-time factor {work_s / audio_s:.4f} in each of {workers} workers" if audio_s else ""
    say(f"{audio_s / SECONDS_PER_HOUR:.2f} h of audio{rate}: {config.out}")
    return failed.keys() - skipped.reasons.keys()


def _inputs(files: Iterable[Path], skipped: Skipped) -> list[AudioInput]:
    """The files, and those below folders, each once. What no reader here decodes is skipped."""
    found: dict[Path, AudioInput] = {}
    for path in files:
        if not path.is_dir():
            found.setdefault(path, AudioInput(path, path.stem))
            continue
        readable, unreadable = audio_files(path)
        for each in readable:
            found.setdefault(each, AudioInput(each, "-".join(each.relative_to(path).with_suffix("").parts)))
        for each, reason in unreadable.items():
            skipped.add(str(each), reason)
    return list(found.values())


def _seconds(path: Path) -> float:
    """Length; 0 where it is not known, which the worker will say."""
    with suppress(ValueError, OSError):
        return audio_seconds(path)
    return 0.0
