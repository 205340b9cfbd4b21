#!/usr/bin/env python3
"""Is an hour of audio transcribed in the memory of ten minutes, and with the same words however it is fed?

    .venv/bin/python tests/stress/long_audio.py exp/quickstart/student_distilled $ASR_KD_DATA/{an4,speechocean762} \\
        --graph exp/quickstart/graph --decoding-scales exp/quickstart/tune/student_distilled

Utterances of the folders, drawn at random, with pauses between them, make one recording. `asr-kd transcribe` gets it
as a FLAC file (to SRT, which the package `srt` reads back) and as a WAV through a pipe (to JSON), `stream()` in
pieces of random sizes. Prints one line of JSON: words, MiB of the first minutes and of the whole, real-time factors;
exit code 1 when words differ or the whole needs over 10% more memory.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import srt
from streaming import fed, pause

import asr_kd
from asr_kd.corpora.audio import SAMPLE_RATE, read_audio
from asr_kd.corpora.found_audio import audio_files

KIB_PER_MIB = 1024
MOST_MEMORY = 1.1
"""Of the whole, times that of its first minutes."""


PROGRAM = """import sys
from asr_kd.cli import main
code = main(sys.argv[2:])
with open("/proc/self/status") as status, open(sys.argv[1], "w") as peak:
    peak.write(next(line for line in status if line.startswith("VmHWM")).split()[1])
sys.exit(code)"""
"""`asr-kd` that writes its peak memory, KiB, into the file of its first argument."""


@dataclass(frozen=True)
class Done:
    """A command that went well."""

    text: str
    peak_mib: float
    seconds: float


def recording(folders: Sequence[Path], minutes: float, rng: np.random.Generator) -> np.ndarray:
    """Utterances and pauses, int16 as in the files."""
    paths = [path for folder in folders for path in sorted(audio_files(folder)[0])]
    parts: list[np.ndarray] = []
    missing = int(60 * minutes * SAMPLE_RATE)
    while missing > 0:
        parts += [read_audio(paths[rng.integers(len(paths))]), pause(rng)]
        missing -= len(parts[-1]) + len(parts[-2])
    wave_N = np.concatenate(parts)[: int(60 * minutes * SAMPLE_RATE)]
    return (wave_N * 32767).round().astype(np.int16)


def run(command: Sequence[str], stdin: Path | None = None) -> Done:
    """Run `asr-kd` and measure it. SystemExit when it fails."""
    print("long_audio: asr-kd", *command, file=sys.stderr)
    began = time.monotonic()
    with tempfile.NamedTemporaryFile("r") as peak, open(stdin or os.devnull, "rb") as given:
        piped = subprocess.Popen(["cat"], stdin=given, stdout=subprocess.PIPE)
        program = [sys.executable, "-P", "-c", PROGRAM, peak.name, *command]
        done = subprocess.run(program, stdin=piped.stdout, stdout=subprocess.PIPE, text=True, check=False)
        piped.wait()
        if done.returncode:
            raise SystemExit(f"long_audio: exit code {done.returncode} from: asr-kd {' '.join(command)}")
        return Done(done.stdout, int(peak.read()) / KIB_PER_MIB, time.monotonic() - began)


def measure(
    model: str, options: Sequence[str], wave_N: np.ndarray, first_minutes: float, work: Path, rng: np.random.Generator
) -> dict[str, float | bool]:
    """Transcribe the recording in all ways. options: of `asr-kd transcribe` and, by the same names, of `load`."""
    first_N = wave_N[: int(60 * first_minutes * SAMPLE_RATE)]
    for name, samples_N in (("first", first_N), ("whole", wave_N)):
        soundfile.write(work / f"{name}.flac", samples_N, SAMPLE_RATE)
        soundfile.write(work / f"{name}.wav", samples_N, SAMPLE_RATE)
    command = ["transcribe", model, *options, "--threads", "1", "--device", "cpu"]
    files = [run([*command, str(work / f"{name}.flac"), "--format", "srt"]) for name in ("first", "whole")]
    pipes = [run([*command, "-", "--format", "json"], work / f"{name}.wav") for name in ("first", "whole")]
    piped = json.loads(pipes[1].text)["text"].split()
    subtitles = [word for each in srt.parse(files[1].text) for word in each.content.split()]
    given = dict(zip(options[::2], options[1::2], strict=True))
    student = asr_kd.load(model, given.get("--graph"), given.get("--decoding-scales"), device="cpu")
    streamed = [w for t in fed(student.stream(), wave_N.astype(np.float32) / 32768, rng) for w in t.text.split()]
    seconds = len(wave_N) / SAMPLE_RATE
    return {
        "minutes": seconds / 60,
        "words": len(piped),
        "subtitles_have_the_words_of_the_pipe": subtitles == piped,
        "stream_has_the_words_of_the_pipe": streamed == piped,
        "file_first_mib": files[0].peak_mib,
        "file_mib": files[1].peak_mib,
        "file_ratio": files[1].peak_mib / files[0].peak_mib,
        "pipe_first_mib": pipes[0].peak_mib,
        "pipe_mib": pipes[1].peak_mib,
        "pipe_ratio": pipes[1].peak_mib / pipes[0].peak_mib,
        "file_real_time_factor": files[1].seconds / seconds,
        "pipe_real_time_factor": pipes[1].seconds / seconds,
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("folders", nargs="+", type=Path, help="of audio")
    parser.add_argument("--graph")
    parser.add_argument("--decoding-scales")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--first-minutes", type=float, default=10.0)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    pairs = (("--graph", args.graph), ("--decoding-scales", args.decoding_scales))
    options = [word for name, value in pairs if value is not None for word in (name, value)]
    wave_N = recording(args.folders, args.minutes, rng)
    with tempfile.TemporaryDirectory() as work:
        found = measure(args.model, options, wave_N, args.first_minutes, Path(work), rng)
    print(json.dumps({name: value if isinstance(value, bool) else round(value, 3) for name, value in found.items()}))
    sames = [value for value in found.values() if isinstance(value, bool)]
    sys.exit(not (all(sames) and max(found["file_ratio"], found["pipe_ratio"]) <= MOST_MEMORY))


if __name__ == "__main__":
    main()
