"""SIGKILL training on several ranks at random moments and go on, also on another number of ranks:

    python tests/stress/rank_kills.py --kills 20 [--strategies tree bmuf] [--seed 0]

The state is saved in every step, so that kills fall into saving too. The end must have the bits of a run that nobody
disturbed: `tree` whatever ranks go on, the other strategies on as many ranks as began. Prints one line of JSON; exit
code 1 when anything differed.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import soundfile
from safetensors.numpy import load_file

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "helpers"))
from tones import align_tones

from asr_kd.corpora.manifest import Utterance
from asr_kd.shards.writer import write_shards

RATE = 16000
TONES = {400: "AH", 900: "EE", 1600: "OH"}
SETTINGS = (
    "model={num_layers: 1, hidden_size: 16, dropout: 0.1}",
    "frontend={mel_bins: 20}",
    "epochs=4",
    "train={max_frames_per_batch: 60, num_workers: 0, precision: float32, ema_decay: 0.9, lanes: 4}",
)
RANKS = {"tree": (1, 2, 4), "allreduce": (2,), "bmuf": (2,), "threshold": (2,), "powersgd": (2,)}
"""How many ranks a run may have, each time it goes on; the first of them is the undisturbed one's."""
OPTIONS = {
    "bmuf": ("train.strategy.block_steps=3",),
    "threshold": ("train.strategy.threshold=0.01",),
    "powersgd": ("train.strategy.start_step=3",),
}


def make_corpus(folder: Path, utterances: int = 26, seed: int = 0, shard_seconds: float = 4.0) -> Path:
    """FOLDER/shards, of very different lengths, each with a tone and its word, and FOLDER/align."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    listed = []
    for n in range(utterances):
        seconds = float(rng.uniform(0.4, 1.6))
        times = np.arange(int(RATE * seconds)) / RATE
        hertz = rng.choice(list(TONES))
        wave_N = 0.3 * np.sin(2 * np.pi * hertz * times) + rng.normal(0, 0.01, len(times))
        soundfile.write(folder / f"{n}.wav", wave_N, RATE)
        path = str(folder / f"{n}.wav")
        listed.append(Utterance(id=f"u{n}", audio_filepath=path, duration=seconds, text=TONES[hertz]))
    align_tones(write_shards(listed, folder / "shards", shard_seconds), folder / "align")
    return folder


def arguments(corpus: Path, out: Path) -> list[str]:
    """Of Python, for `asr-kd train`; more settings may follow."""
    command = ["-m", "asr_kd.cli", "train", str(corpus / "shards"), "--alignments", str(corpus / "align")]
    command += ["--dev", str(corpus / "shards/shard-000000.tar"), "--out", str(out), "--threads", "1"]
    return [*command, "--set", *SETTINGS]


def start(
    corpus: Path, out: Path, ranks: int, *settings: str, torchrun: Sequence[str] = ("--standalone",)
) -> subprocess.Popen:
    """`asr-kd train` on so many ranks, in a process group of its own."""
    launcher = ["-m", "torch.distributed.run", *torchrun, "--nproc-per-node", str(ranks)] if ranks > 1 else []
    return subprocess.Popen(
        [sys.executable, *launcher, *arguments(corpus, out), *settings],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def children_of(process: subprocess.Popen) -> list[int]:
    """The processes that it has started: of torchrun, the ranks."""
    lists = Path(f"/proc/{process.pid}/task").glob("*/children")
    return [int(number) for children in lists for number in children.read_text().split()]


def kill(process: subprocess.Popen) -> None:
    """All at once: it, and the ranks that torchrun has started in sessions of their own."""
    with suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGSTOP)  # it starts no more
    for number in (*children_of(process), process.pid):
        with suppress(ProcessLookupError):
            os.killpg(number, signal.SIGKILL)
    process.communicate()


def pid_of(launcher: subprocess.Popen, rank: int) -> int:
    """The process of a rank that torchrun has started."""
    environment = lambda number: Path(f"/proc/{number}/environ").read_bytes().split(b"\0")
    (found,) = [number for number in children_of(launcher) if f"RANK={rank}".encode() in environment(number)]
    return found


def saved_at(state: Path) -> int:
    """When a state was saved; 0: it was not yet."""
    return state.stat().st_mtime_ns if state.exists() else 0


def wait_for_state(process: subprocess.Popen, state: Path, than: int = 0) -> None:
    """Until a state is saved later `than` that, or the process has ended."""
    while process.poll() is None and saved_at(state) == than:
        time.sleep(0.02)


def difference(here: Path, there: Path) -> str | None:
    """The first thing that two runs' models and metrics do not share."""
    ours, theirs = (load_file(out / "model.safetensors") for out in (here, there))
    for name in ours:
        if not np.array_equal(ours[name], theirs[name]):
            return name
    lines = [[json.loads(line) for line in (o / "metrics.jsonl").read_text().splitlines()] for o in (here, there)]
    for pair in zip(*lines, strict=True):
        for line in pair:
            for key in ("seconds", "hours_per_second", "grad_norm", "bytes_sent"):
                line.pop(key)
        if pair[0] != pair[1]:
            return f"metrics of sub-epoch {pair[0]['sub_epoch']}"
    return None


def one_run(corpus: Path, out: Path, ranks: Sequence[int], rng: random.Random, *settings: str) -> tuple[int, list[str]]:
    """A run on `ranks`, one after the other; all but the last are killed soon after they have saved a state.

    Returns how many were killed before they had ended, and what went wrong.
    """
    settings += ("train.checkpoint_every_minutes=0",)
    killed, state = 0, out / "state.pt"
    for count in ranks[:-1]:
        before = saved_at(state)
        process = start(corpus, out, count, *settings)
        wait_for_state(process, state, than=before)
        time.sleep(rng.uniform(0, 0.5))
        if process.poll() is None:
            kill(process)
            killed += 1
        elif process.returncode:
            return killed, [process.communicate()[1][-2000:]]
    process = start(corpus, out, ranks[-1], *settings)
    _, told = process.communicate()
    return killed, [told[-2000:]] if process.returncode else []


def stress(kills: int, strategies: list[str], runs: int, seed: int) -> dict[str, dict]:
    """Of each strategy an undisturbed run, and `runs` that are killed `kills` times."""
    summary: dict[str, dict] = {}
    with tempfile.TemporaryDirectory() as folder:
        corpus = make_corpus(Path(folder) / "corpus")
        for strategy in strategies:
            rng = random.Random(seed)
            whole = Path(folder) / f"{strategy}-whole"
            settings = (f"train.strategy.kind={strategy}", *OPTIONS.get(strategy, ()), f"epochs={4 + 2 * kills}")
            process = start(corpus, whole, RANKS[strategy][0], *settings)
            _, told = process.communicate()
            wrong, killed = [told[-2000:]] if process.returncode else [], 0
            for number in range(0 if wrong else runs):
                out = Path(folder) / f"{strategy}-{number}"
                ranks = [rng.choice(RANKS[strategy]) for _ in range(kills + 1)]
                more, wrong_in_it = one_run(corpus, out, ranks, rng, *settings)
                killed, wrong = killed + more, wrong + wrong_in_it
                if not wrong and (found := difference(out, whole)):
                    wrong.append(f"run {number}: {found} differs")
            summary[strategy] = {"kills": killed, "wrong": wrong}
            print(f"{strategy}: {summary[strategy]}", file=sys.stderr, flush=True)
    return summary


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=4, help="in each run (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=25, help="of each strategy (default: %(default)s)")
    parser.add_argument("--strategies", nargs="+", default=list(RANKS), choices=list(RANKS))
    parser.add_argument("--seed", type=int, default=0, help="of moments and ranks")
    args = parser.parse_args()
    summary = stress(args.kills, args.strategies, args.runs, args.seed)
    print(json.dumps(summary))
    return int(any(entry["wrong"] for entry in summary.values()))


if __name__ == "__main__":
    sys.exit(main())
