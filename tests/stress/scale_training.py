#!/usr/bin/env python3
"""How long does training on a million shards take to start, and to go on after SIGTERM? Seconds and memory of each.

    .venv/bin/python tests/stress/scale_training.py [--shards 1000000] [--lanes 16] [--work FOLDER]

The shards, their indexes and alignments are links to a few real ones; the catalogue lists all. `asr-kd train` runs as
users run it, with one loader process, until it has saved its first step. Prints one line of JSON.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rank_kills import SETTINGS, make_corpus

from asr_kd.shards.catalogue_writer import CATALOGUE_NAME, HERE, CatalogueRow, write_catalogue
from asr_kd.shards.index import index_path
from asr_kd.shards.reader import Shard, open_shard

LINKS = 50_000
"""Of one file at most; file systems allow some 65,000."""
KIB_PER_MIB = 1024


def make_many(folder: Path, shards: int) -> Path:
    """FOLDER/shards with so many links, their catalogue, and FOLDER/align/shards with a sidecar of each."""
    real = make_corpus(folder / "real", utterances=40 * (1 + shards // LINKS), shard_seconds=30.0)
    found = [open_shard(tar) for tar in sorted((real / "shards").glob("*.tar"))]
    assert len(found) * LINKS >= shards, f"{len(found)} real shards are too few"
    (folder / "shards").mkdir()
    (folder / "align/shards").mkdir(parents=True)
    os.link(real / "align/inventory.json", folder / "align/inventory.json")
    rows = linked(folder, real, found, shards)
    write_catalogue(folder / "shards" / CATALOGUE_NAME, rows, [HERE])
    return folder


def linked(folder: Path, real: Path, found: list[Shard], shards: int) -> Iterator[CatalogueRow]:
    """The rows of the catalogue, while links are made."""
    for n in range(shards):
        shard = found[n % len(found)]
        tar = Path(shard.path)
        name = f"shard-{n:07d}"
        os.link(tar, folder / "shards" / f"{name}.tar")
        os.link(index_path(tar), folder / "shards" / f"{name}.index.json")
        os.link(real / "align/shards" / f"{tar.stem}.parquet", folder / "align/shards" / f"{name}.parquet")
        yield CatalogueRow.of(shard, f"{name}.tar")


def first_step(folder: Path, lanes: int) -> dict[str, float]:
    """`asr-kd train` until the next state is saved, then SIGTERM: seconds until then, seconds in all, MiB at most."""
    state = folder / "out/state.pt"
    before = state.stat().st_mtime_ns if state.exists() else 0
    command = [sys.executable, "-m", "asr_kd.cli", "train", str(folder / "shards")]
    command += [
        "--alignments",
        str(folder / "align"),
        str(folder / "real/align"),
        "--dev",
        str(folder / "real/shards/shard-000000.tar"),
    ]
    command += ["--out", str(folder / "out"), "--threads", "1", "--num-workers", "1", "--set", *SETTINGS]
    command += [f"train.lanes={lanes}", "train.checkpoint_every_minutes=0"]
    started = time.monotonic()
    with open(folder / "log", "ab") as log:
        process = subprocess.Popen(command, stderr=log, stdout=log)
    ended = (0, 0, None)
    while not ended[0] and not (state.exists() and state.stat().st_mtime_ns != before):
        time.sleep(0.05)
        ended = os.wait4(process.pid, os.WNOHANG)
    seconds = time.monotonic() - started
    if not ended[0]:
        process.send_signal(signal.SIGTERM)
        ended = os.wait4(process.pid, 0)
    _, status, used = ended
    if os.waitstatus_to_exitcode(status) not in (130, 143, -signal.SIGTERM):
        raise SystemExit((folder / "log").read_text()[-3000:])
    return {"first_step_s": seconds, "cpu_s": used.ru_utime + used.ru_stime, "peak_mib": used.ru_maxrss / KIB_PER_MIB}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=1_000_000)
    parser.add_argument("--lanes", type=int, default=16)
    parser.add_argument("--work", type=Path, help="where a folder for the shards is made, and removed")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.work) as name:
        folder = make_many(Path(name), args.shards)
        found: dict[str, Any] = {"shards": args.shards, "lanes": args.lanes}
        for what in ("start", "resume", "resume_again"):
            found[what] = {key: round(value, 1) for key, value in first_step(folder, args.lanes).items()}
        print((folder / "log").read_text(), file=sys.stderr)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
