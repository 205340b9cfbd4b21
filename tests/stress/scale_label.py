#!/usr/bin/env python3
"""Does `asr-kd label` care how many shards there are? Peak memory at 20 and 2,000 shards, start-up time at 100,000.

    .venv/bin/python tests/stress/scale_label.py [--few 20] [--many 2000] [--start 100000]

Shards hold a few seconds each and the same audio (hard links, an index each). Start-up is the time that `--dry-run`
takes less that for one shard; it is measured with no shard done and with all done but one. Prints one line of JSON.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from exactly_once import make_input
from memory import peak_mib

from asr_kd.shards.index import index_path
from asr_kd.targets.sidecar import sidecar_path

MOST_LINKS = 20_000
"""Names that one file may have: file systems allow some 65,000."""


def multiply(tar: Path, folder: Path, count: int) -> Path:
    """A folder with `count` shards of the same bytes."""
    folder.mkdir()
    for number in range(count):
        target = folder / f"shard-{number:06d}.tar"
        pairs = ((tar, target), (index_path(tar), index_path(target)))
        for source, name in pairs:
            if number % MOST_LINKS:
                os.link(folder / source.name.replace(tar.stem, f"shard-{number // MOST_LINKS * MOST_LINKS:06d}"), name)
            else:
                name.write_bytes(source.read_bytes())
    return folder


def dry_run_s(shards: Path, teacher: Path, out: Path) -> float:
    """Seconds that a dry run takes."""
    command = [sys.executable, "-m", "asr_kd.cli", "label", str(shards), "--teacher", str(teacher), "--out", str(out)]
    started = time.monotonic()
    subprocess.run([*command, "--dry-run"], check=True)
    return time.monotonic() - started


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--few", type=int, default=20, help="shards of the small corpus (default 20)")
    parser.add_argument("--many", type=int, default=2000, help="shards of the large corpus (default 2000)")
    parser.add_argument("--start", type=int, default=100_000, help="shards of the start-up measurement")
    parser.add_argument("--hidden", type=int, default=64, help="cells of the teacher")
    parser.add_argument("--work", type=Path, help="folder for shards and sidecars (default: a temporary one, removed)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.work) as name:
        folder = Path(name)
        tars, teacher = make_input(folder, shards=1, seconds_per_shard=4, hidden=args.hidden)
        mib = {}
        for count in (args.few, args.many):
            shards, out = multiply(tars[0], folder / f"shards-{count}", count), folder / f"out-{count}"
            command = [sys.executable, "-m", "asr_kd.cli", "label", str(shards), "--teacher", str(teacher)]
            mib[count] = peak_mib([*command, "--out", str(out), "--threads", "1"])
        one = dry_run_s(multiply(tars[0], folder / "one", 1), teacher, folder / "nothing")
        shards = multiply(tars[0], folder / "start", args.start)
        none_done = dry_run_s(shards, teacher, folder / "nothing") - one
        out = folder / "all"
        out.mkdir()
        whole = sidecar_path(folder / f"out-{args.few}", tars[0].with_name("shard-000000.tar")).read_bytes()
        for number in range(args.start - 1):
            target = out / f"shard-{number:06d}.parquet"
            if number % MOST_LINKS:
                os.link(out / f"shard-{number // MOST_LINKS * MOST_LINKS:06d}.parquet", target)
            else:
                target.write_bytes(whole)
        all_done = dry_run_s(shards, teacher, out) - one
    print(
        json.dumps(
            {
                "peak_mib": {str(count): round(value, 1) for count, value in mib.items()},
                "memory_ratio": round(mib[args.many] / mib[args.few], 3),
                "start_shards": args.start,
                "start_s": round(none_done, 2),
                "start_all_done_s": round(all_done, 2),
            }
        )
    )


if __name__ == "__main__":
    main()
