#!/usr/bin/env python3
"""Give every command that reads files one damaged file, and see that it says so or that nothing comes of it:

    python tests/stress/fuzz_commands.py --count 3000 --seed 0 [--only shard:a.mp3 inspect] [--from 17]

The small chain of `commands.py` is built once; each input damages one file of it (audio of every format, manifests,
text, lexicons, ARPA, configs, tars, indexes, sidecars, models, states, graphs, transcripts, hypotheses) and runs one
command in a fork with limits of time and memory. An outcome is

  same      exit code 0, and the output is that of the undamaged file
  other     exit code 0, and another output: the damaged file is sound in itself (a changed word, a changed sample)
  told      exit code 0, and the command says what it left out
  refused   another exit code, and one line that names the file
  wrong     a traceback, a signal, out of time; a refusal without the file's name; an escape sequence; a temporary file
            left; or another output without a word where digests must notice

Prints one line of JSON, and each finding with the arguments that repeat it; exit code 1 when there is one.
"""

import argparse
import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import damage
from commands import digests, left_over, make_commands, temporary_folder
from targets import Chain, Target, Way

from asr_kd.cli import main as command_line

LIMIT_S = 120.0
CPU_S = 40
MEMORY = 6 << 30
"""Of addresses; PyTorch takes about 3 GiB of them."""
SHOWN = 1500
"""Characters of what a command said, with a finding."""
TOLD = re.compile(r"skipped|set aside|left out|damaged|cannot be recognised|have no |pronounced by|dropped")


@dataclass
class Ended:
    """How a command ended."""

    code: int
    told: str
    found: dict[str, str]
    left: list[str]
    seconds: float


def _expect_ok(ended: Ended) -> None:
    if ended.code:
        raise SystemExit(f"exit code {ended.code}: {ended.told}")


class Forked:
    """A command in a fork of this process, with limits."""

    def __init__(self, argv: Sequence[str], out: Path | None = None) -> None:
        self.out, self._start = out, time.monotonic()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        self.pid = os.fork()
        if self.pid:
            return
        code = 70
        try:
            os.setsid()
            resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 5))
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            for stream in (1, 2):
                os.dup2(self._log.fileno(), stream)
            try:
                code = command_line(list(argv))
            except SystemExit as e:
                code = e.code if isinstance(e.code, int) else 1
            except BaseException:
                traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)

    def wait(self) -> Ended:
        """How it ended; a command out of time is killed with its children."""
        while not (done := os.waitpid(self.pid, os.WNOHANG))[0]:
            if time.monotonic() - self._start > LIMIT_S:
                os.killpg(self.pid, signal.SIGKILL)
            time.sleep(0.002)
        with self._log:
            self._log.seek(0)
            told = self._log.read().decode(errors="replace")
        there = self.out is not None and self.out.exists()
        found = digests(self.out) if there else {}
        left = left_over(self.out) if there else []
        return Ended(os.waitstatus_to_exitcode(done[1]), told, found, left, time.monotonic() - self._start)


class Fuzz:
    """The chain in a folder, and one run after another on it."""

    def __init__(self, folder: Path) -> None:
        self.corpus, self._pristine, self._out = folder / "corpus", folder / "pristine", folder / "out"
        chain = Chain(self.corpus, make_commands(self.corpus))
        for argv in chain.missing():
            _expect_ok(Forked(argv).wait())
        self.targets = chain.make_targets()
        shutil.copytree(self.corpus, self._pristine, symlinks=True)
        self._wanted: dict[str, Ended] = {}

    def run(self, target: Target) -> Ended:
        """The target's command on the corpus as it is; the corpus is put back afterwards."""
        shutil.rmtree(self._out, ignore_errors=True)
        argv = [word.replace("OUT", str(self._out)) if word.startswith("OUT") else word for word in target.argv]
        out = Path(argv[argv.index("--out") + 1]) if "--out" in argv else None
        ended = Forked(argv, out if out is None or out.suffix == "" else out.parent).wait()
        self._put_back()
        return ended

    def _put_back(self) -> None:
        """The corpus as it was."""
        as_it_was = {p.relative_to(self._pristine): p.stat() for p in self._pristine.rglob("*") if p.is_file()}
        for path in self.corpus.rglob("*"):
            if path.is_file() and path.relative_to(self.corpus) not in as_it_was:
                path.unlink()
        for name, was in as_it_was.items():
            path = self.corpus / name
            if not path.exists() or (path.stat().st_size, path.stat().st_mtime_ns) != (was.st_size, was.st_mtime_ns):
                shutil.copy2(self._pristine / name, path)

    def wanted(self, target: Target) -> Ended:
        """What comes of the undamaged file."""
        if target.name not in self._wanted:
            self._wanted[target.name] = self.run(target)
            _expect_ok(self._wanted[target.name])
        return self._wanted[target.name]

    def verdict(self, target: Target, rng: random.Random) -> tuple[str, str, Ended]:
        """What became of one damaged input, what is wrong with that, and how the command ended."""
        wanted = self.wanted(target)
        way = rng.choice(target.ways)
        target.path.write_bytes(way(target.path.read_bytes(), rng))
        ended = self.run(target)
        return *judge(target, way, ended, wanted), ended


def judge(target: Target, way: Way, ended: Ended, wanted: Ended) -> tuple[str, str]:
    """The verdict on how a command ended, and what is wrong with it."""
    if ended.code < 0:
        return "wrong", f"signal {-ended.code} after {ended.seconds:.0f} s"
    if "Traceback (most recent" in ended.told or ended.code not in (0, 1, 2):
        return "wrong", "traceback"
    if any(c != "\n" and unicodedata.category(c) in ("Cc", "Zl", "Zp", "Cs") for c in ended.told):
        return "wrong", "raw control characters"
    if ended.left:
        return "wrong", f"left {ended.left}"
    news = [line for line in ended.told.splitlines() if line not in wanted.told.splitlines()]
    if ended.code:
        last = ended.told.strip().split("\n")[-1]
        names = {target.path.name, target.path.name.split(".")[0], str(target.path.parent), "tone-"}
        named = any(name in line for name in names for line in news)
        return ("refused", "") if named and last.startswith("asr-kd") else ("wrong", "the file is not named")
    if ended.found == wanted.found and (ended.found or ended.told == wanted.told):
        return "same", ""
    if any(TOLD.search(line) for line in news):
        return "told", ""
    if target.sealed or way is damage.same_text:
        return "wrong", "another output, and not a word"
    return "other", ""


def fuzz(count: int, seed: int, only: Sequence[str] = (), first: int = 0, show: bool = False) -> dict[str, object]:
    """So many inputs, dealt to the targets in turn."""
    counts: dict[str, Counter[str]] = {}
    findings = 0
    with temporary_folder() as folder:
        fuzzing = Fuzz(folder)
        started = time.monotonic()
        chosen = [t for t in fuzzing.targets if not only or any(t.name.startswith(name) for name in only)]
        for number in range(first, first + count):
            target, turn = chosen[number % len(chosen)], number // len(chosen)
            found, why, ended = fuzzing.verdict(target, random.Random(f"{seed} {target.name} {turn}"))
            counts.setdefault(target.name, Counter())[found] += 1
            if found == "wrong":
                findings += 1
                again = f"--seed {seed} --only {target.name} --from {turn} --count 1"
                print(f"{target.name}: {why}; {again}", file=sys.stderr, flush=True)
            if show or found == "wrong":
                told = ended.told[-SHOWN:].encode("unicode_escape").decode().replace("\\n", "\n    ")
                print(f"    {found} {ended.code} {told}", file=sys.stderr, flush=True)
        seconds = round(time.monotonic() - started)
    return {
        "inputs": count,
        "seconds": seconds,
        "wrong": findings,
        "outcomes": {n: dict(sorted(c.items())) for n, c in counts.items()},
    }


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=3000, help="damaged inputs (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", default=[], help="targets whose names begin so: shard:mp3, decode, ...")
    parser.add_argument("--from", dest="first", type=int, default=0, help="the first input's number")
    parser.add_argument("--show", action="store_true", help="print what the commands say")
    args = parser.parse_args()
    summary = fuzz(args.count, args.seed, args.only, args.first, args.show)
    print(json.dumps(summary))
    return 1 if summary["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
