#!/usr/bin/env python3
"""What does a catalogue of a million shards cost? Seconds and memory to write one, and for a process that opens it.

    .venv/bin/python tests/stress/scale_catalogue.py [--shards 1000000] [--utterances 70]

The tars are holes of the right size: opening lists their folder and reads none. Prints one line of JSON.
"""

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from asr_kd.shards.catalogue import open_catalogue
from asr_kd.shards.catalogue_writer import CATALOGUE_NAME, HERE, CatalogueRow, write_catalogue

KIB_PER_MIB = 1024
SAMPLE_RATE = 16000


def rows(folder: Path, shards: int, utterances: int) -> Iterator[CatalogueRow]:
    """Rows of shards, and a hole for the tar of each."""
    rng = np.random.default_rng(0)
    for n in range(shards):
        seconds_N = np.clip(rng.lognormal(1.9, 0.6, utterances), 0.5, 30)
        lengths_N = np.round(seconds_N * SAMPLE_RATE) / SAMPLE_RATE
        name, size = f"shard-{n:07d}.tar", 10240 * (1 + n % 7)
        with open(folder / name, "wb") as f:
            f.truncate(size)
        yield CatalogueRow(name, size, hashlib.sha256(name.encode()).hexdigest(), float(lengths_N.sum()), lengths_N)


def opened(folder: Path) -> dict[str, Any]:
    """Of this process: opening with its check, the fingerprint, lengths of shards in any order; MiB at most."""
    started = time.monotonic()
    catalogue = open_catalogue(folder)
    found = {"open_s": time.monotonic() - started, "open_mib": _peak_mib()}
    started = time.monotonic()
    assert catalogue.fingerprint
    found["fingerprint_s"] = time.monotonic() - started
    order_N = np.random.default_rng(0).permutation(len(catalogue))[:200]
    started = time.monotonic()
    for n in order_N.tolist():
        assert len(catalogue.lengths(n)) == catalogue.utterances_N[n]
    found["lengths_in_any_order_ms"] = (time.monotonic() - started) / len(order_N) * 1000
    started = time.monotonic()
    for n in range(min(len(catalogue), 20_000)):
        catalogue.lengths(n)
    found["lengths_in_order_ms"] = (time.monotonic() - started) / min(len(catalogue), 20_000) * 1000
    return found | {"peak_mib": _peak_mib()}


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB_PER_MIB


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=1_000_000)
    parser.add_argument("--utterances", type=int, default=70, help="of each shard")
    parser.add_argument("--work", type=Path, help="where a folder for the shards is made, and removed")
    parser.add_argument("--open", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.open is not None:
        print(json.dumps(opened(args.open)))
        return
    with tempfile.TemporaryDirectory(dir=args.work) as name:
        folder = Path(name)
        started = time.monotonic()
        write_catalogue(folder / CATALOGUE_NAME, rows(folder, args.shards, args.utterances), [HERE])
        found = {"shards": args.shards, "write_s": time.monotonic() - started, "write_mib": _peak_mib()}
        found["megabytes"] = (folder / CATALOGUE_NAME).stat().st_size / 1e6
        command = [sys.executable, __file__, "--open", name]
        found |= json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    print(json.dumps({key: round(value, 2) for key, value in found.items()}))


if __name__ == "__main__":
    main()
