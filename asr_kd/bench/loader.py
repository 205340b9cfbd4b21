"""In one run, on one core and on the same shards, how many times as fast as real time these are:

  loader      batches of `asr-kd train`: tar, FLAC, features, targets, without augmentation;
  webdataset  plain webdataset with torchaudio's Kaldi features;
  lhotse      lhotse Shar with features on the fly;
  decoding    FLAC to samples and no more.

Each is a process of its own with one thread. They work in turn, round after round; the ratios are medians over the
rounds. lhotse is installed into a virtual environment of its own, which shares this one's PyTorch. Without shards,
audio and alignments are synthetic.

  asr-kd bench loader
  asr-kd bench loader exp/shards/labelled --alignments exp/align --peers-venv exp/peers --json
"""

import os
import statistics
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from asr_kd import __version__
from asr_kd.bench import peers
from asr_kd.bench.runner import BenchOptions, check_counts, report, some_shards
from asr_kd.bench.synthetic import made_up_inventory, synthetic_alignments, synthetic_shards
from asr_kd.core.commands import command
from asr_kd.core.options import argument, option
from asr_kd.core.progress import SECONDS_PER_HOUR
from asr_kd.core.runtime import device_name
from asr_kd.core.terminal import say
from asr_kd.core.text_files import parse_json

WHAT = "asr-kd bench loader"
LHOTSE = "lhotse==1.33.0"
CLASSES = 100
OURS = ("loader", "decoding")
SCRIPTS = {"webdataset": "webdataset_fbank.py", "lhotse": "lhotse_shar.py"}


@dataclass(frozen=True, kw_only=True)
class BenchLoaderRun(BenchOptions):
    """What `asr-kd bench loader` is given."""

    shards: tuple[Path, ...] = argument("labelled shards or folders of shards (default: synthetic audio)", ())
    alignments: Path | None = option("with shards: their alignments (`asr-kd align`)", None, metavar="DIR")
    minutes: float = option("minutes of audio: synthetic, or at most of the shards", 10.0)
    repeats: int = option("rounds in which all are measured", 7, metavar="N")
    peers_venv: Path | None = option(
        "virtual environment with lhotse; made where there is none (default: one that goes away)", None, metavar="DIR"
    )
    out: Path | None = option("output file: the JSON", None, metavar="FILE")
    json: bool = option("print only the line of JSON", False)

    def __post_init__(self) -> None:
        if bool(self.shards) != (self.alignments is not None):
            raise ValueError("--alignments: given with shards, and only then")


@command(is_file=True, keeps_config=False)
def bench_loader(config: BenchLoaderRun) -> None:
    """Measure and report."""
    check_counts(config, ("repeats",), ("minutes",))
    report(config, measure, describe)


def measure(config: BenchLoaderRun, folder: Path) -> dict[str, Any]:
    """Everything that is reported. folder: an empty one for audio and what peers make of it."""
    if config.alignments is not None:
        shards, alignments = some_shards(config.shards, config.minutes), config.alignments
    else:
        shards = synthetic_shards(folder, config.minutes)
        alignments = synthetic_alignments(shards, made_up_inventory(CLASSES), folder / "alignments")
    words = {name: [sys.executable, "-m", "asr_kd.bench.loader_pass", name, alignments] for name in OURS}
    pythons = {"webdataset": sys.executable, "lhotse": peers_python(config.peers_venv or folder / "venv")}
    for name, python in pythons.items():
        if python is not None:
            (folder / name).mkdir()
            words[name] = [python, Path(peers.__file__).with_name(SCRIPTS[name]), folder / name]
    with ExitStack() as stack:
        all_ = {name: stack.enter_context(_LoaderProcess(name, [*w, *shards])) for name, w in words.items()}
        for process in all_.values():
            process.load()  # what is only done once is done now
        rounds = []
        for number in range(config.repeats):
            rounds.append({name: process.load() for name, process in all_.items()})
            rates = ", ".join(f"{name} {rate:,.0f}" for name, rate in rounds[-1].items())
            say(f"round {number + 1} of {config.repeats}, times real time: {rates}")
    return {
        "what": WHAT,
        **summarise(rounds),
        "versions": {name: process.version for name, process in all_.items()},
        "device_name": device_name(torch.device("cpu")),
        "threads": 1,
        "audio": "given" if config.shards else "made up",
        "audio_hours": all_["loader"].audio_seconds / SECONDS_PER_HOUR,
        "rounds": config.repeats,
        "measured": rounds,
        "library": f"asr_kd {__version__}",
    }


def summarise(rounds: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Medians over the rounds of times as fast as real time. Ratios are taken within each round."""
    rates = {name: statistics.median(r[name] for r in rounds) for name in rounds[0]}
    best = max((name for name in rates if name not in OURS), key=lambda name: rates[name])
    ratios = {name: [r["loader"] / r[name] for r in rounds] for name in rates}
    return {
        "ratio": statistics.median(ratios[best]),
        "ratio_spread": [min(ratios[best]), max(ratios[best])],
        "best_peer": best,
        "real_time_factor": 1 / rates["loader"],
        "ratios": {name: statistics.median(r) for name, r in ratios.items() if name != "loader"},
        "times_real_time": rates,
    }


def describe(result: dict[str, Any]) -> list[str]:
    """The result for a reader."""
    low, high = result["ratio_spread"]
    return [
        f"{result['audio_hours']:.3f} h of audio ({result['audio']}), one core of {result['device_name']}, "
        f"{result['rounds']} rounds",
        *(
            f"  {name:10} {rate:9,.0f} x real time   loader / it {result['ratios'].get(name, 1.0):.3f}   "
            f"{result['versions'][name]}"
            for name, rate in result["times_real_time"].items()
        ),
        f"  loader / best peer ({result['best_peer']}) {result['ratio']:.3f}  ({low:.3f} to {high:.3f})",
    ]


def peers_python(folder: Path) -> str | None:
    """The Python of the virtual environment with lhotse, which is made if there is none; None where that fails."""
    python = folder / "bin" / "python"
    if not python.exists():
        say(f"{folder}: {LHOTSE} is installed into a virtual environment of its own")
    try:
        if not python.exists():
            venv.create(folder, with_pip=True)
            theirs = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
            (theirs / "shared.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
            _run(python, "-m", "pip", "install", "--quiet", LHOTSE)
        _run(python, "-c", "import lhotse")
    except (OSError, subprocess.CalledProcessError) as e:
        reason = (getattr(e, "stderr", "") or str(e)).strip()[-200:]
        say(f"lhotse is not measured: {folder} does not have it ({reason}). Give one that does with --peers-venv.")
        return None
    return str(python)


def _run(*words: object) -> None:
    subprocess.run(list(map(str, words)), check=True, capture_output=True, text=True)


class _LoaderProcess:
    """A process that loads all shards whenever it is told to."""

    def __init__(self, name: str, words: Sequence[Any]) -> None:
        core = max(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
        one_thread = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        self.name = name
        self._process = subprocess.Popen(
            [str(word) for word in words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | one_thread,
            preexec_fn=None if core is None else lambda: os.sched_setaffinity(0, {core}),
        )
        self.audio_seconds = 0.0
        self.version: str = self._answer()["version"]

    def __enter__(self) -> "_LoaderProcess":
        return self

    def __exit__(self, *_: object) -> None:
        with self._process as process:
            process.kill()

    def load(self) -> float:
        """How many times as fast as real time all shards were loaded."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        result = self._answer()
        self.audio_seconds = result["audio_seconds"]
        return self.audio_seconds / result["seconds"]

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise ValueError(f"{self.name}: ended with status {self._process.wait()}; its message is above")
        answer: dict[str, Any] = parse_json(line, self.name)
        return answer
