"""Train on several ranks over links of a given speed, and compare seconds of a step with those that the simulator of
`asr-kd plan --train` gives:

    python tests/stress/links.py [--ranks 1 2 4] [--mbit 100 1000] [--repeats 3]

Needs root on Linux, with `ip` and `tc`: each rank is in a network namespace of its own, on a bridge, by a link that
`tc` limits in both directions. The ranks share the cores, so the simulator is given how long each rank was at work on
its batches and updates in the same run, without what it waited; and what was measured beside it: the speed of the link
by a plain socket, and without a limit the rate of a sum over ranks and what an exchange of `threshold` needs by itself.
What is checked is the model of exchanging and waiting. Prints a table and one line of JSON; exit code 1 when a step
took more than `--within` more or less than was predicted.
"""

import argparse
import json
import math
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "helpers"))
from rank_kills import make_corpus
from tones import FRONTEND, INVENTORY

from asr_kd.bench.training_simulator import BYTES_PER_ENTRY, Link, MeasuredStep, exchange, simulate
from asr_kd.core.ranks import ranks, start_ranks
from asr_kd.core.runtime import seed_everything, set_threads
from asr_kd.core.signal_stack import enable_sigaltstack
from asr_kd.frontend.augment import AugmentConfig
from asr_kd.models.acoustic import build_model
from asr_kd.models.config import ModelConfig
from asr_kd.train.config import TrainConfig
from asr_kd.train.strategies.config import StrategyConfig
from asr_kd.train.supervision import supervised_source
from asr_kd.train.trainer import Trainer

STRATEGIES = ("allreduce", "tree", "bmuf", "threshold")
LANES = 4
FRAMES = 60
"""Of a lane's batch."""
MODEL = ModelConfig(num_layers=3, hidden_size=256, dropout=0.0)
BLOCK_STEPS = 5
WARM_UP, STEPS = 5, 10
"""Both whole blocks."""
PASSES = 0.32
"""A few steps more than those."""
PORT = 29_777
PINGS, PROBE_BYTES = 50, 2_000_000
INTERFACE = "eth0"


class Network:
    """Namespaces `PREFIX0`, `PREFIX1`, ..., one for each rank, and one for the bridge that joins them."""

    def __init__(self, prefix: str, ranks: int) -> None:
        self.prefix, self.ranks = prefix, ranks
        self.hub = f"{prefix}hub"

    def make(self) -> None:
        """Without limits."""
        _run("ip", "netns", "add", self.hub)
        _run("ip", "-n", self.hub, "link", "add", "br0", "type", "bridge")
        _run("ip", "-n", self.hub, "link", "set", "br0", "up")
        for rank in range(self.ranks):
            name = f"{self.prefix}{rank}"
            _run("ip", "netns", "add", name)
            _run(
                *("ip", "-n", self.hub, "link", "add", f"to{rank}", "type", "veth"),
                *("peer", "name", INTERFACE, "netns", name),
            )
            _run("ip", "-n", self.hub, "link", "set", f"to{rank}", "master", "br0", "up")
            _run("ip", "-n", name, "address", "add", f"{address(rank)}/24", "dev", INTERFACE)
            _run("ip", "-n", name, "link", "set", INTERFACE, "up")
            _run("ip", "-n", name, "link", "set", "lo", "up")

    def limit(self, mbit: float | None) -> None:
        """Of every link in each direction; None takes the limit away."""
        ends = [(self.hub, f"to{rank}") for rank in range(self.ranks)]
        for namespace, device in ends + [(f"{self.prefix}{rank}", INTERFACE) for rank in range(self.ranks)]:
            words = ["tc", "-n", namespace, "qdisc"]
            subprocess.run([*words, "del", "dev", device, "root"], capture_output=True)
            if mbit is not None:
                burst = max(32_000, int(mbit * 250))  # 2 ms
                rate = ("tbf", "rate", f"{mbit:g}mbit", "burst", str(burst), "limit", "4000000")
                _run(*words, "add", "dev", device, "root", *rate)

    def remove(self) -> None:
        """All of it, as far as it was made."""
        for name in [self.hub, *(f"{self.prefix}{rank}" for rank in range(self.ranks))]:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


def prefix() -> str:
    """Of the names of this process's namespaces."""
    return f"kd{os.getpid() % 10_000}"


class TimedTrainer(Trainer):
    """The real loop; notes how long this rank worked in each step before it waited for others, and when steps ended."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self.worked = time.perf_counter()
        self.ended = [self.worked]
        self.own_s: list[float] = []
        self.update_s: list[float] = []
        self.sync_s: list[float] = []
        self.sent = [ranks().bytes_sent]

    def forward_backward(self, *given: Any) -> Any:
        """As that of Trainer."""
        losses = super().forward_backward(*given)
        self.worked = time.perf_counter()
        return losses

    def _step(self, step: Any) -> Any:
        self.worked = time.perf_counter()  # where no lane has data
        agreed = super()._step(step)
        self.own_s.append(self.worked - self.ended[-1])
        self.ended.append(time.perf_counter())
        self.sent.append(ranks().bytes_sent)
        return agreed

    def synchronise(self, frames: Any) -> None:
        """As that of Trainer."""
        started = time.perf_counter()
        super().synchronise(frames)
        self.sync_s.append(time.perf_counter() - started)

    def update(self) -> None:
        """As that of Trainer."""
        started = time.perf_counter()
        super().update()
        self.update_s.append(time.perf_counter() - started)


def address(rank: int) -> str:
    """Of a rank in its namespace."""
    return f"10.77.0.{rank + 1}"


def train(corpus: Path, out: Path, strategy: StrategyConfig) -> dict[str, Any]:
    """A run in the ranks that were started: means over its steps, and each rank's own time in each step."""
    shards = sorted((corpus / "shards").glob("*.tar"))
    source = supervised_source((corpus / "align",), None)
    stream, dev = (
        source.stream(name, some, AugmentConfig()) for name, some in (("labelled", shards), ("dev", shards[:1]))
    )
    config = TrainConfig(
        max_frames_per_batch=FRAMES, num_workers=0, precision="float32", lanes=LANES, strategy=strategy,
        checkpoint_every_minutes=1e6, device="cpu",
    )  # fmt: skip
    seed_everything(0)
    trainer = TimedTrainer(build_model(MODEL, INVENTORY, FRONTEND), [(stream, float(PASSES))], dev, config, out, False)
    ranks().gather(None)
    trainer.ended = [time.perf_counter()]
    trainer.run()
    measured = slice(WARM_UP, WARM_UP + STEPS)
    assert len(trainer.own_s) >= WARM_UP + STEPS, len(trainer.own_s)
    gathered = ranks().gather((trainer.own_s[measured], trainer.sync_s[measured], trainer.sent))
    own_s, sync_s, sent = zip(*gathered, strict=True)
    if strategy.kind == "bmuf":  # in the update that ends a block
        sync_s = ranks().gather([s - statistics.median(trainer.update_s) for s in trainer.update_s[measured]])
        sync_s = [one[BLOCK_STEPS - 1 :: BLOCK_STEPS] for one in sync_s]
    each_sent = [[after - before for before, after in pairwise(one)][measured] for one in sent]
    return {
        "step_s": (trainer.ended[WARM_UP + STEPS] - trainer.ended[WARM_UP]) / STEPS,
        "own_s": [seconds for one in own_s for seconds in one],
        "update_s": statistics.median(trainer.update_s[measured]),
        "exchange_s": statistics.median(map(min, zip(*sync_s, strict=True))),  # of the rank that came last
        "bytes": statistics.mean(map(max, zip(*each_sent, strict=True))),
        "weights": sum(weight.numel() for weight in trainer.trained),
        "tensors": len(trainer.trained),
    }


def measure_sum(weights: int) -> float:
    """Seconds of a sum over ranks of so many weights."""
    took = []
    for _ in range(5):
        weights_N = torch.zeros(weights)
        ranks().gather(None)
        started = time.perf_counter()
        ranks().sum([weights_N])
        took.append(time.perf_counter() - started)
    return statistics.median(took)


def measure_link() -> tuple[float, float]:
    """Bytes per second, and seconds of a message one way, between the first two ranks, by a plain socket."""
    found = None
    listener = socket.create_server((address(0), PORT + 1)) if ranks().rank == 0 else None
    ranks().gather(None)
    if listener is not None:
        with listener, listener.accept()[0] as there:
            there.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            started = time.perf_counter()
            for _ in range(PINGS):
                there.sendall(b"?")
                there.recv(1)
            latency_s = (time.perf_counter() - started) / PINGS / 2
            left = there.recv_into(bytearray(PROBE_BYTES), PROBE_BYTES, socket.MSG_WAITALL)  # the burst, and more
            started = time.perf_counter()
            left = there.recv_into(bytearray(PROBE_BYTES), PROBE_BYTES, socket.MSG_WAITALL)
            assert left == PROBE_BYTES, left
            found = (PROBE_BYTES / (time.perf_counter() - started), latency_s)
    elif ranks().rank == 1:
        with socket.create_connection((address(0), PORT + 1)) as there:
            there.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(PINGS):
                there.sendall(there.recv(1))
            there.sendall(bytes(2 * PROBE_BYTES))
            there.recv(1)  # until the other side has all
    answer: tuple[float, float] = ranks().on_first(lambda: found)
    return answer


def work(job: dict[str, Any]) -> None:
    """Of one rank: every link and strategy in turn; the first rank writes what was measured."""
    set_threads(1)
    start_ranks(120)
    network = Network(job["prefix"], ranks().world)
    found: dict[str, Any] = {}

    def run(strategy: StrategyConfig, name: str) -> dict[str, Any]:
        return train(Path(job["corpus"]), Path(job["out"]) / name, strategy)

    if ranks().world == 1:
        found["any None"] = run(StrategyConfig(), "alone")
    for mbit in (None, *job["mbit"]) if ranks().world > 1 else ():
        ranks().on_first(lambda mbit=mbit: network.limit(mbit))
        if mbit is not None:
            found[f"link {mbit}"] = measure_link()
        for kind in job["strategies"] if mbit is not None else ("threshold",):
            config = StrategyConfig(kind=kind, block_steps=BLOCK_STEPS)
            found[f"{kind} {mbit}"] = run(config, f"{kind}-{ranks().world}-{mbit}")
        if mbit is None:
            found["sum_s"] = measure_sum(found["threshold None"]["weights"])
    if ranks().is_first:
        Path(job["result"]).write_text(json.dumps(found))


def measure(corpus: Path, folder: Path, world: int, mbit: list[float], strategies: list[str]) -> dict[str, Any]:
    """Everything on so many ranks, in a network made for it."""
    network = Network(f"{prefix()}x", world)
    job = {
        "corpus": str(corpus), "out": str(folder), "prefix": network.prefix, "mbit": mbit, "strategies": strategies,
        "result": str(folder / "result.json"),
    }  # fmt: skip
    running: list[subprocess.Popen] = []
    try:
        network.make()
        for rank in range(world):
            given = {"RANK": rank, "LOCAL_RANK": 0, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": 1}
            given |= {"MASTER_ADDR": address(0), "MASTER_PORT": PORT, "GLOO_SOCKET_IFNAME": INTERFACE}
            given |= {"OMP_NUM_THREADS": 1, "TORCHELASTIC_RUN_ID": "links"}
            words = ["ip", "netns", "exec", f"{network.prefix}{rank}", sys.executable, __file__, "--work"]
            env = os.environ | {name: str(value) for name, value in given.items()}
            running.append(subprocess.Popen([*words, json.dumps(job)], env=env))
        for process in running:
            if process.wait():
                raise SystemExit(f"a rank of {world} failed; see above")
    finally:
        for process in running:
            process.kill()
            process.wait()
        network.remove()
    return json.loads((folder / "result.json").read_text())


def predict(found: dict[str, Any], world: int, strategy: str, mbit: float | None) -> tuple[float, float]:
    """Seconds of a step and of an exchange, from the ranks' own work and the link's speed."""
    run = found[f"{strategy} {mbit}"]
    own_s = tuple(run["own_s"])
    step = MeasuredStep(own_s, (1.0,) * len(own_s), run["update_s"], run["weights"], run["tensors"])
    if world == 1:
        return simulate(step, "allreduce", 1, 1, Link(math.inf, 0.0)).seconds, 0.0
    free = found["threshold None"]
    step = replace(
        step,
        sent_share=free["bytes"] / BYTES_PER_ENTRY / step.weights,
        threshold_s=free["exchange_s"],
        host_bytes_per_second=exchange("allreduce", world, step).bytes / found["sum_s"],
    )
    link = Link(*found[f"link {mbit}"])
    exchange_s = exchange(strategy, world, step).seconds(link, step)
    return simulate(step, strategy, world, world, link, BLOCK_STEPS).seconds, exchange_s


def rows_of(found: dict[str, Any], world: int) -> dict[tuple[int, str, float | None], list[float]]:
    """By ranks, strategy and limit: seconds of a step, measured and predicted, and of an exchange."""
    rows = {}
    for name, run in found.items():
        strategy, _, limit = name.partition(" ")
        if strategy in (*STRATEGIES, "any") and (world == 1 or limit != "None"):
            mbit = None if limit == "None" else float(limit)
            step_s, exchange_s = predict(found, world, strategy, mbit)
            rows[world, strategy, mbit] = [run["step_s"], step_s, run["exchange_s"], exchange_s]
    return rows


def check(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Medians over the repeats, of each number of ranks, strategy and link."""
    seen: dict[tuple[int, str, float | None], list[list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        corpus = make_corpus(Path(folder) / "corpus", utterances=240)
        for repeat in range(args.repeats):
            for world in args.ranks:
                out = Path(folder) / f"{repeat}-{world}"
                out.mkdir()
                found = measure(corpus, out, world, args.mbit, args.strategies)
                for key, times in rows_of(found, world).items():
                    seen.setdefault(key, []).append(times)
    names = ("measured_s", "predicted_s", "exchange_s", "predicted_exchange_s")
    rows = []
    for (world, strategy, mbit), times in seen.items():
        medians = dict(zip(names, map(statistics.median, zip(*times, strict=True)), strict=True))
        ratios = [measured / predicted for measured, predicted, *_ in times]
        about = {"ranks": world, "strategy": strategy, "mbit": mbit}
        rows.append(about | medians | {"ratio": statistics.median(ratios), "ratios": ratios})
    return rows


def missing() -> str | None:
    """Why this machine cannot do it."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "network namespaces need root on Linux"
    without = [name for name in ("ip", "tc") if shutil.which(name) is None]
    if without:
        return f"{' and '.join(without)} not found: install iproute2"
    network = Network(f"{prefix()}t", 1)
    try:
        network.make()
        network.limit(100)
    except OSError as e:
        return str(e)
    finally:
        network.remove()
    return None


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", nargs="+", type=int, default=[1, 2, 4], help="(default: 1 2 4)")
    parser.add_argument("--mbit", nargs="+", type=float, default=[100.0, 1000.0], help="of links (default: 100 1000)")
    parser.add_argument("--strategies", nargs="+", default=STRATEGIES, choices=STRATEGIES)
    parser.add_argument("--repeats", type=int, default=3, help="medians are shown (default: %(default)s)")
    parser.add_argument("--within", type=float, default=0.2, help="share (default: %(default)s)")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        enable_sigaltstack()
        work(json.loads(args.work))
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was made is taken away then too
    if why := missing():
        print(json.dumps({"skipped": why}))
        return 0
    rows = check(args)
    print("ranks strategy   Mbit/s  exchange s (predicted)    step s (predicted)  measured / predicted (each run)")
    for r in rows:
        ratios = ", ".join(f"{ratio:.2f}" for ratio in r["ratios"])
        mbit = "-" if r["mbit"] is None else f"{r['mbit']:g}"
        print(
            f"{r['ranks']:5} {r['strategy']:10} {mbit:>6} {r['exchange_s']:11.3f} ({r['predicted_exchange_s']:9.3f}) "
            f"{r['measured_s']:9.3f} ({r['predicted_s']:9.3f})  {r['ratio']:.2f} ({ratios})"
        )
    outside = [r for r in rows if abs(r["ratio"] - 1) > args.within]
    print(json.dumps({"rows": rows, "outside": len(outside), "prefix": prefix()}))
    return int(bool(outside))


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{' '.join(words)}: {done.stderr.strip()}")


if __name__ == "__main__":
    sys.exit(main())
