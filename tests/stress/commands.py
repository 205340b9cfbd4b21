"""Each command that writes, on a small corpus: how it is started, and what of its output the same settings give again.

Commands run in forks of this process, which has imported everything: they start within milliseconds of each other.
"""

import hashlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import util
from pathlib import Path

import numpy as np
import soundfile

from asr_kd.cli import all_commands, main

WORDS = {"AH": 300.0, "EE": 900.0, "OH": 2200.0}
RATE = 16000
UNSTABLE = ("metrics.jsonl", "state.pt", "decode.json", "results.json", "report.html", "ctm.jsonl")
"""Files that hold times or rates."""
LEFT_WITHIN_S = 20.0
"""How long processes below a killed command may need to notice."""


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that goes afterwards; unlike tempfile's, not when a fork of this process ends."""
    folder = Path(tempfile.mkdtemp())
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@dataclass(frozen=True)
class Command:
    """A command line without its --out, and one with other settings."""

    name: str
    words: list[str]
    other: list[str]
    is_file: bool = False

    def argv(self, out: Path, other: bool = False) -> list[str]:
        """The command line that writes into the folder `out`."""
        target = out / "list.jsonl" if self.is_file else out
        return [*(self.other if other else self.words), "--out", str(target)]


def make_corpus(folder: Path) -> None:
    """Audio of 12 utterances, each word a tone of its own, with texts beside it, and a lexicon."""
    rng = np.random.default_rng(0)
    for number in range(12):
        speaker = folder / "audio" / f"speaker{number % 4}"
        speaker.mkdir(parents=True, exist_ok=True)
        words = rng.choice(list(WORDS), size=rng.integers(2, 6))
        n = int(0.3 * RATE)
        tones = [0.3 * np.hanning(n) * np.sin(2 * np.pi * WORDS[w] * np.arange(n) / RATE) for w in words]
        wave_N = np.concatenate([np.zeros(2000), *tones, np.zeros(2000)])
        wave_N = wave_N + 0.001 * rng.standard_normal(len(wave_N))
        soundfile.write(speaker / f"tone-{number:02d}.flac", wave_N, RATE, subtype="PCM_16")
        (speaker / f"tone-{number:02d}.txt").write_text(" ".join(words))
    (folder / "lexicon.txt").write_text("AH AH\nEE IY\nOH OW\n")


def make_commands(folder: Path, names: Sequence[str] | None = None) -> list[Command]:
    """The commands of these names (None: all), and everything that they need, made by running those before them."""
    make_corpus(folder)
    at = lambda *parts: str(folder.joinpath(*parts))
    manifest, shards = at("manifests", "labelled.jsonl"), at("shards", "labelled")
    prepare = ["prepare", "folder", at("audio"), "--dev-fraction", "0.1", "--test-fraction", "0.1"]
    shard = ["shard", manifest, "--minutes", "0.05"]
    small = ["flat_start.mono_iterations=4", "flat_start.mono_gaussians=80", "flat_start.triphone_iterations=0"]
    lexicon = ["--lexicon", at("lexicon.txt")]
    align = ["align", shards, *lexicon]
    tiny = [
        "--device",
        "cpu",
        "--threads",
        "1",
        "--num-workers",
        "1",
        "--set",
        "model={preset: student-small, hidden_size: 8}",
    ]
    tiny += ["frontend.mel_bins=20", "train.max_frames_per_batch=200"]
    few = [*tiny, "schedule={epochs: 1, unlabelled_sub_epochs: 2}"]  # there are seconds of audio
    learn = ["train", shards, "--alignments", at("align"), "--dev", shards]
    distil = ["distill", "--unlabelled", shards, "--targets", at("targets"), "--labelled", shards]
    distil += ["--alignments", at("align"), "--dev", shards]
    graph = ["graph", manifest, *lexicon, "--inventory", at("align")]
    use = [shards, "--model", at("train"), "--graph", at("graph"), "--device", "cpu", "--threads", "1"]
    score = ["score", "--ref", manifest, "--hyp", f"a={at('decode')}", f"b={at('decode')}", "--baseline", "a"]
    report = ["report", "--scores", at("score"), "--student", "b", "--title"]
    select = ["filter", at("transcripts"), "--keep-hours"]
    commands = [
        Command("prepare", prepare, [*prepare[:-1], "0.3"]),
        Command("shard", shard, [*shard[:-1], "0.1"]),
        Command(
            "tokens",
            ["tokens", manifest, "--type", "characters"],
            ["tokens", at("lexicon.txt"), "--type", "characters"],
        ),
        Command(
            "align", [*align, "--set", *small], [*align, "--set", *small[:1], "flat_start.mono_gaussians=40", small[2]]
        ),
        Command("train", [*learn, *tiny, "epochs=2"], [*learn, "--seed", "1", *tiny, "epochs=2"]),
        Command("distill", [*distil, *few], [*distil, "--seed", "1", *few]),
        Command("graph", [*graph, "--order", "2"], [*graph, "--order", "3"]),
        Command("tune", ["tune", *use], ["tune", *use, "--acoustic-scales", "0.5", "1.0"]),
        Command("decode", ["decode", *use], ["decode", *use, "--beam", "4"]),
        Command("score", [*score, "--bootstrap-samples", "200"], [*score, "--bootstrap-samples", "300"]),
        Command("report", [*report, "one"], [*report, "two"]),
        Command("quantise", ["quantise", at("train")], ["quantise", at("distill")]),
        Command("filter", [*select, "0.002"], [*select, "0.001"], is_file=True),
    ]
    places = {"prepare": "manifests", "shard": "shards"}
    label = ["label", shards, "--teacher", at("train"), "--threads", "1", "--workers", "1"]
    chosen = [command for command in commands if names is None or command.name in names]
    for command in commands[: commands.index(chosen[-1])]:
        _run_here(command.argv(folder / places.get(command.name, command.name)))
        if command.name == "train":
            _run_here([*label, "--out", at("targets")])
        if command.name == "graph":
            _run_here([*label, "--graph", at("graph"), "--write-transcripts", "--out", at("transcripts")])
    return chosen


def _run_here(argv: Sequence[str]) -> None:
    run = Run(argv, None)
    if run.wait() != 0:
        raise SystemExit(f"{argv}: exit code {run.code}: {run.told}")


class Run:
    """A command in a process group of its own; its temporary files go into the folder `scratch`."""

    def __init__(self, argv: Sequence[str], scratch: Path | None) -> None:
        for entry in all_commands().values():
            entry.load()
        self._reading, writing = os.pipe()
        self.code: int | None = None
        self.told = ""
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            code = 70
            try:
                os.setsid()
                for stream in (1, 2):
                    os.dup2(writing, stream)
                signal.signal(signal.SIGINT, signal.default_int_handler)
                if scratch is not None:
                    tempfile.tempdir = str(scratch)
                try:
                    code = main(list(argv))
                except SystemExit as e:
                    code = e.code if isinstance(e.code, int) else 1
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                util._exit_function()  # removes the temporary folder
                os._exit(code)
        os.close(writing)

    def wait(self) -> int:
        """The exit code, negative for a signal."""
        if self.code is None:
            pieces = []
            while piece := os.read(self._reading, 1 << 16):
                pieces.append(piece)
            os.close(self._reading)
            self.told = b"".join(pieces).decode(errors="replace")
            self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.code

    def kill(self) -> None:
        """SIGKILL for the command itself, not for its workers. One that has ended stays as it ended."""
        os.kill(self.pid, signal.SIGKILL)  # not waited for yet: the number is its own

    def leaves_running(self) -> bool:
        """Whether processes of its group are still there some seconds later."""
        until = time.monotonic() + LEFT_WITHIN_S
        while time.monotonic() < until:
            try:
                os.killpg(self.pid, 0)
            except ProcessLookupError:
                return False
            time.sleep(0.05)
        return True


def digests(out: Path) -> dict[str, str]:
    """SHA-256 of the files that the same settings give again; of metrics the steps, which must not be doubled."""
    found = {}
    for path in sorted(out.rglob("*")):
        name = str(path.relative_to(out))
        if path.is_file() and path.name not in UNSTABLE and not name.startswith("tb/"):
            data = path.read_bytes().replace(str(out).encode(), b"OUT")
            found[name] = hashlib.sha256(data).hexdigest()
        elif path.name == "metrics.jsonl":
            found[name] = str(
                [line.split('"step": ')[1].split(",")[0] for line in path.read_text().split("\n") if line]
            )
    return found


def left_over(*folders: Path) -> list[str]:
    """Temporary files and locks that nobody removed."""
    return [
        str(p) for f in folders for p in f.rglob("*") if p.name.endswith((".tmp", ".owner.json")) or "pymp" in p.name
    ]


Wanted = Callable[[Command, bool], dict[str, str]]


def wanted_by(folder: Path) -> Wanted:
    """What each command gives undisturbed, made when it is asked for first."""
    known: dict[tuple[str, bool], dict[str, str]] = {}

    def wanted(command: Command, other: bool) -> dict[str, str]:
        key = command.name, other
        if key not in known:
            out = folder / f"wanted-{command.name}-{other:d}"
            _run_here(command.argv(out, other))
            known[key] = digests(out)
        return known[key]

    return wanted
