"""Models that answer while audio comes in, on one core: how fast, how soon, in how much memory, how many at a time.

Utterances of --audio with pauses between them are one recording, fed in pieces of --piece-ms as if it were spoken now.
Nothing waits: the clock is audio time plus the CPU time of the work, queueing included. Each model has a process of its
own, with one thread. A folder of `asr-kd export` stands for all networks in it, those for sherpa-onnx too.

  forward       real-time factor of the network alone, features in memory: the ceiling
  RTF           real-time factor of the whole: front end, network, search, partial results
  MiB           peak memory of the process with one stream
  first word    from the end of an utterance's first word in the audio to its appearance
  word          of all words, until they are shown and do not change any more
  final         from the end of an utterance's last word until the utterance is over: with the silence that ends it
  streams       how many are served at once, none of them ever more than 300 ms behind (to one in ten); all their
                pieces come at the same moments, for --serve-seconds of audio

Ends of words are those of the model's own transcript. Latencies are medians, and in brackets 95% of them are below.

  asr-kd bench stream exp/student exp/export --graph exp/graph --decoding-scales exp/tune --audio shared/data/an4
"""

import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from asr_kd import __version__
from asr_kd.bench.runner import BenchOptions, check_counts, report
from asr_kd.bench.stream_clock import MOST_DELAY_S
from asr_kd.bench.stream_worker import StreamJob
from asr_kd.core.commands import command
from asr_kd.core.options import argument, option
from asr_kd.core.runtime import device_name
from asr_kd.core.terminal import say
from asr_kd.core.text_files import parse_json
from asr_kd.corpora.audio import SAMPLE_RATE, read_audio
from asr_kd.corpora.found_audio import audio_files
from asr_kd.export.export import SHERPA_FOLDER
from asr_kd.teachers.onnx_model import INT8_FILE, MODEL_FILE

PAUSE_S = 1.5
"""After each utterance: longer than the silence that ends it."""
PAUSE_LEVEL = 0.0005
LATENCIES = ("first_word_ms", "word_ms", "final_ms")


@dataclass(frozen=True, kw_only=True)
class BenchStreamRun(BenchOptions):
    """What `asr-kd bench stream` is given."""

    models: tuple[Path, ...] = argument(
        "a model's folder or .safetensors file, a folder of `asr-kd export`, or an .onnx file in one", metavar="MODEL"
    )
    audio: tuple[Path, ...] = option("audio files of single utterances, or folders of them", metavar="FILE")
    graph: Path | None = option(
        "decoding graph: output folder of `asr-kd graph` (default: what was exported with the model; else greedy)",
        None,
        metavar="DIR",
    )
    decoding_scales: Path | None = option("tune.json of `asr-kd tune`, or its folder", None, metavar="DIR")
    seconds: float = option("seconds of audio, drawn from the files at random", 60.0)
    piece_ms: float = option("milliseconds of audio that come at a time", 40.0, metavar="MS")
    serve_seconds: float = option("of audio, to find how many streams are served", 10.0, metavar="SECONDS")
    repeats: int = option("rounds of the measurements with one stream", 3, metavar="N")
    out: Path | None = option("output file: the JSON", None, metavar="FILE")
    json: bool = option("print only the line of JSON", False)


@command(is_file=True, keeps_config=False)
def bench_stream(config: BenchStreamRun) -> None:
    """Measure and report."""
    check_counts(config, ("repeats",), ("seconds", "piece_ms", "serve_seconds"))
    report(config, measure, describe)


def measure(config: BenchStreamRun, folder: Path) -> dict[str, Any]:
    """Everything that is reported. folder: an empty one."""
    wave_N = recording(config.audio, config.seconds)
    np.save(folder / "audio.npy", wave_N)
    models = [path for model in config.models for path in networks(model)]
    found: list[dict[str, Any]] = []
    for path in models:
        job = StreamJob(
            model=str(path),
            graph=None if config.graph is None else str(config.graph),
            scales=None if config.decoding_scales is None else str(config.decoding_scales),
            audio=str(folder / "audio.npy"),
            piece_ms=config.piece_ms,
            serve_s=config.serve_seconds,
            repeats=config.repeats,
        )
        say(f"{path}: {len(found) + 1} of {len(models)}")
        found.append({"model": str(path), **_measured(job)})
    return {
        "models": found,
        "audio_seconds": len(wave_N) / SAMPLE_RATE,
        "piece_ms": config.piece_ms,
        "serve_seconds": config.serve_seconds,
        "most_delay_ms": 1000 * MOST_DELAY_S,
        "rounds": config.repeats,
        "device_name": device_name(torch.device("cpu")),
        "library": f"asr_kd {__version__}",
    }


def networks(model: Path) -> list[Path]:
    """What is measured for a MODEL: of a folder of `asr-kd export`, all networks."""
    names = [Path(folder) / name for folder in (".", SHERPA_FOLDER) for name in (MODEL_FILE, INT8_FILE)]
    return [model / name for name in names if (model / name).is_file()] or [model]


def recording(paths: Iterable[Path], seconds: float) -> np.ndarray:
    """Utterances in random order with pauses of faint noise between them. ValueError when there are none."""
    files = [file for path in paths for file in (audio_files(path)[0] if path.is_dir() else [path])]
    rng, parts = np.random.default_rng(0), list[np.ndarray]()
    for number in rng.permutation(len(files)):
        pause_N = PAUSE_LEVEL * rng.standard_normal(round(PAUSE_S * SAMPLE_RATE))
        parts += [read_audio(files[number]), pause_N.astype(np.float32)]
        if sum(map(len, parts)) >= seconds * SAMPLE_RATE:
            break
    return np.concatenate(parts)


def _measured(job: StreamJob) -> dict[str, Any]:
    """In a process of its own. ValueError when it cannot measure the model."""
    done = subprocess.run(
        [sys.executable, "-m", "asr_kd.bench.stream_worker"],
        input=json.dumps(asdict(job)),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = done.stderr.strip().rpartition("\n")[2].removeprefix("asr-kd bench stream: ")
        raise ValueError(reason or f"{job.model}: measuring it ended with exit code {done.returncode}")
    figures: dict[str, Any] = parse_json(done.stdout, job.model)
    return figures


def describe(result: dict[str, Any]) -> list[str]:
    """The result for a reader."""
    lines = [
        f"{result['audio_seconds']:.1f} s of audio in pieces of {result['piece_ms']:g} ms, one thread of "
        f"{result['device_name']}, {result['rounds']} rounds",
        f"  {'model':36} {'engine':11} {'forward':>8} {'RTF':>8} {'MiB':>6} {'first word ms':>15} {'word ms':>13} "
        f"{'final ms':>13} {'streams':>8}",
    ]
    for model in result["models"]:
        forward = model.get("forward_real_time_factor")
        first, word, final = (_milliseconds(model[name]) for name in LATENCIES)
        lines.append(
            f"  {model['model'][-36:]:36} {model['engine']:11} {'-' if forward is None else f'{forward:.4f}':>8} "
            f"{model['real_time_factor']:8.4f} {model['peak_mib']:6.0f} {first:>15} {word:>13} {final:>13} "
            f"{model['streams']:8}"
        )
    return lines


def _milliseconds(found: dict[str, float] | None) -> str:
    return "-" if found is None else f"{found['median']:.0f} ({found['p95']:.0f})"
