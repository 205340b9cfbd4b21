"""Measures one model as a stream, in a process of its own. Standard input has the job, standard output the figures."""

import json
import resource
import statistics
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asr_kd.bench.stream_clock import Played, keep_up, latencies, most_streams, play
from asr_kd.bench.stream_engines import Engine, open_engine
from asr_kd.core.terminal import complain, explain
from asr_kd.core.text_files import parse_json
from asr_kd.corpora.audio import SAMPLE_RATE

KIB_PER_MIB = 1024
WARM_S = 5.0
"""Of the audio, before anything is measured: what is only done once is done then."""
MOST_LOAD = 0.9
"""Of the core, where the search for the number of streams begins."""


@dataclass(frozen=True)
class StreamJob:
    """What is measured."""

    model: str
    graph: str | None
    scales: str | None
    audio: str
    """A .npy file: float32, 16 kHz."""
    piece_ms: float
    serve_s: float
    repeats: int


def main() -> int:
    """0, or 2 with one line when the model cannot be measured."""
    job = StreamJob(**parse_json(sys.stdin.read(), "standard input"))
    try:
        engine = open_engine(job.model, job.graph, job.scales)
    except (ValueError, OSError) as e:
        complain("asr-kd bench stream", explain(e))
        return 2
    json.dump(measure(engine, job, np.load(job.audio)), sys.stdout)
    return 0


def measure(engine: Engine, job: StreamJob, wave_N: np.ndarray) -> dict[str, Any]:
    """All figures of a model."""
    piece, seconds = round(job.piece_ms * SAMPLE_RATE / 1000), len(wave_N) / SAMPLE_RATE
    play(engine.new_stream(), wave_N[: round(WARM_S * SAMPLE_RATE)], piece)
    rounds = [play(engine.new_stream(), wave_N, piece) for _ in range(job.repeats)]
    factor = statistics.median(played.work_s for played in rounds) / seconds
    figures = {"engine": engine.name, "version": engine.version, "real_time_factor": factor, "peak_mib": _peak_mib()}
    figures |= _latencies(rounds)
    if engine.forward_s is not None:
        engine.forward_s(wave_N[: round(WARM_S * SAMPLE_RATE)])
        forward_s = statistics.median(engine.forward_s(wave_N) for _ in range(job.repeats))
        figures["forward_real_time_factor"] = forward_s / seconds
    guess = int(MOST_LOAD / factor)
    streams = most_streams(lambda n: keep_up(engine.new_stream, n, wave_N, piece, job.serve_s), guess)
    return figures | {"streams": streams, "peak_mib_of_streams": _peak_mib()}


def _latencies(rounds: list[Played]) -> dict[str, Any]:
    """Milliseconds, over all rounds."""
    words = [len(transcript.words) for _, transcript in rounds[0].ended]
    found: dict[str, Any] = {"utterances": len(words), "words": sum(words)}
    each = [asdict(latencies(played)) for played in rounds]
    for name in each[0]:
        seconds = [s for one in each for s in one[name]]
        found[name.removesuffix("_s") + "_ms"] = (
            {"median": 1000 * float(np.median(seconds)), "p95": 1000 * float(np.quantile(seconds, 0.95))}
            if seconds
            else None
        )
    return found


def _peak_mib() -> float:
    """Of this process alone: what Linux calls ru_maxrss begins with that of the process that started it."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) / KIB_PER_MIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB_PER_MIB


if __name__ == "__main__":
    sys.exit(main())
