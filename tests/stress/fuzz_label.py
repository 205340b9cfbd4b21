#!/usr/bin/env python3
"""Labels damaged input: does the job end, are the sound shards labelled, is nothing wrong taken for right?

    .venv/bin/python tests/stress/fuzz_label.py [--count 2000] [--seed 0]

A quarter each: tars with the index that they had before they were damaged, tars without index, whole tars with a
damaged index, and damaged sidecars. Damage: bits flipped, the end cut off, bytes put in, taken out or overwritten with
zeros, blocks exchanged. All damaged shards are labelled in one job with sound ones among them. An outcome is

  refused     the shard failed, or the sidecar is not read, with its reason
  set aside   utterances are set aside, the others have the targets of the sound shard
  harmless    all targets are those of the sound shard
  wrong       targets differ from those of the sound shard, and nothing told

Prints one line of JSON; exit code 1 when something was wrong, a sound shard was not labelled or the job crashed.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from damage import clear, cut, exchange, flip, insert, remove
from exactly_once import INVENTORY, make_input

from asr_kd.shards.index import index_path
from asr_kd.shards.reader import open_shard
from asr_kd.targets.frame_targets import FrameTargets
from asr_kd.targets.sidecar import sidecar_path
from asr_kd.targets.soft_targets import SoftTargets

TOLERANCE = 0.05
"""Of probabilities: where an utterance is set aside, the others are padded in another way."""
PATIENCE_S = 3600


DAMAGE: tuple[Callable[[bytearray, random.Random], None], ...] = (flip, flip, cut, insert, remove, clear, exchange)


def damaged(data: bytes, rng: random.Random) -> bytes:
    """The bytes, damaged in one way."""
    changed = bytearray(data)
    while changed == data:
        rng.choice(DAMAGE)(changed, rng)
    return bytes(changed)


def targets_of(folder: Path, tar: Path) -> dict[str, FrameTargets | None]:
    """Targets of each utterance of a shard, None where it was set aside. ValueError as `SoftTargets` raises it."""
    shard = open_shard(tar)
    return dict(zip((e.id for e in shard.entries), SoftTargets(folder, INVENTORY).load(shard), strict=True))


def alike(a: FrameTargets, b: FrameTargets) -> bool:
    """Whether two targets of an utterance are the same but for rounding."""
    if a.frames != b.frames:
        return False
    sums = [np.zeros((a.frames, INVENTORY.num_classes)) for _ in (a, b)]
    for dense_TC, targets in zip(sums, (a, b), strict=True):
        for k in range(targets.k):
            filled = targets.ids_TK[:, k] >= 0
            dense_TC[filled, targets.ids_TK[filled, k]] = np.exp(targets.log_p_TK[filled, k])
    return bool(np.abs(sums[0] - sums[1]).max(initial=0) < TOLERANCE)


def verdict(load: Callable[[], dict[str, FrameTargets | None]], sound: dict[str, FrameTargets | None]) -> str:
    """What became of damaged input whose targets `load` gives."""
    try:
        found = load()
    except ValueError:
        return "refused"
    for name, targets in found.items():
        wanted = sound.get(name)
        if targets is not None and (wanted is None or not alike(targets, wanted)):
            return "wrong"
    lost = any(found.get(name) is None for name in sound)
    return "set aside" if lost else "harmless"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000, help="damaged inputs (default 2000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    counts: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tars, teacher = make_input(folder, shards=2, seconds_per_shard=8, hidden=16)
        data, index = tars[0].read_bytes(), index_path(tars[0]).read_bytes()
        shards, out = folder / "damaged", folder / "targets"
        shards.mkdir()
        made: dict[str, list[Path]] = {"tar with index": [], "tar without index": [], "index": []}
        for number in range(args.count * 3 // 4):
            kind = list(made)[number % 3]
            tar = shards / f"{number:05d}.tar"
            tar.write_bytes(data if kind == "index" else damaged(data, rng))
            if kind != "tar without index":
                index_path(tar).write_bytes(damaged(index, rng) if kind == "index" else index)
            made[kind].append(tar)
        for copy in ("00000-sound", "99999-sound"):
            (shards / f"{copy}.tar").write_bytes(data)
        command = [
            sys.executable,
            "-m",
            "asr_kd.cli",
            "label",
            str(shards),
            "--teacher",
            str(teacher),
            "--out",
            str(out),
        ]
        command += ["--max-skipped", "1", "--max-attempts", "1", "--threads", "1", "--workers", str(args.workers)]
        command += ["--precision", "float32"]  # in bf16, how an utterance is padded changes more than TOLERANCE
        job = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=PATIENCE_S, check=False)
        told = job.stderr.splitlines()
        crashes = sum("worker process ended" in line for line in told)
        sound_tar = shards / "00000-sound.tar"
        sound = targets_of(out, sound_tar)
        kept = all(sidecar_path(out, shards / f"{copy}.tar").exists() for copy in ("00000-sound", "99999-sound"))
        for kind, paths in made.items():
            counts[kind] = Counter(verdict(lambda tar=tar: targets_of(out, tar), sound) for tar in paths)
        sidecar = sidecar_path(out, sound_tar)
        whole = sidecar.read_bytes()
        counts["sidecar"] = Counter()
        for _ in range(args.count - args.count * 3 // 4):
            sidecar.write_bytes(damaged(whole, rng))
            counts["sidecar"][verdict(lambda: targets_of(out, sound_tar), sound)] += 1
    summary = {kind: dict(sorted(found.items())) for kind, found in counts.items()}
    wrong = sum(found["wrong"] for found in counts.values())
    state = {"exit_code": job.returncode, "sound_shards_labelled": kept, "worker_crashes": crashes, "wrong": wrong}
    if job.returncode not in (0, 1):
        print("\n".join(told[-20:]), file=sys.stderr)
    print(json.dumps({"inputs": args.count, **summary, **state}))
    raise SystemExit(wrong > 0 or not kept or job.returncode not in (0, 1))


if __name__ == "__main__":
    main()
