#!/usr/bin/env python3
"""Does memory stay bounded when there is more data? Peak memory of `asr-kd label` and `asr-kd distill` at 1x and 10x.

    .venv/bin/python tests/stress/memory.py exp/quickstart [--times 10] [--config recipes/quickstart/conf/distill.yaml]

The recipe must have run up to its teacher. Its unlabelled shards are copied `--times` times under new ids (into a
temporary folder, see --work). Prints one line of JSON: MiB of all processes together, by verb and size, and ratios.
Standard library only.
"""

import argparse
import json
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from asr_kd.core.text_files import parse_json

KIB_PER_MIB = 1024
ONE_PASS = ("schedule.epochs=1", "schedule.labelled_every=4", "schedule.final_labelled_epochs=0")


def copy_shards(shards: Sequence[Path], folder: Path, times: int) -> None:
    """Write each tar `times` times into `folder`; in the copy `n` every key and id ends in `-copy<n>`."""
    folder.mkdir(parents=True)
    for copy in range(times):
        for number, shard in enumerate(shards):
            target = folder / f"shard-{copy * len(shards) + number:06d}.tar"
            with tarfile.open(shard) as source, tarfile.open(target, "w") as made:
                for member in source:
                    key, dot, extension = member.name.partition(".")
                    data = source.extractfile(member)
                    assert data is not None, f"{shard}: {member.name} is no file"
                    body = data.read()
                    if extension == "json":
                        fields = parse_json(body, member.name)
                        body = json.dumps({**fields, "id": f"{fields.get('id', key)}-copy{copy}"}).encode()
                    member.name, member.size = f"{key}-copy{copy}{dot}{extension}", len(body)
                    made.addfile(member, BytesIO(body))


def peak_mib(command: Sequence[str]) -> float:
    """Run a command in a session of its own and return the peak memory of all its processes together, in MiB.

    Sum of their proportional set sizes (Linux), ten times a second: pages that processes share count once.
    """
    print("memory:", *command, file=sys.stderr)
    child = subprocess.Popen(command, stdout=sys.stderr, start_new_session=True)
    peak = 0
    while child.poll() is None:
        peak = max(peak, session_kib(child.pid))
        time.sleep(0.1)
    if child.returncode != 0:
        raise SystemExit(f"memory: exit code {child.returncode} from: {' '.join(command)}")
    return peak / KIB_PER_MIB


def session_kib(session: int) -> int:
    """Proportional set size of the processes of a session, KiB."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[3]) == session:
                lines = (stat.parent / "smaps_rollup").read_text().split("\n")
                total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        except (OSError, StopIteration):  # it ended meanwhile
            continue
    return total


def measure(exp: Path, work: Path, times: int, config: Path | None) -> dict[str, float]:
    """Label and distil (one pass) the copied shards; peak MiB of each verb."""
    asr_kd = [sys.executable, "-m", "asr_kd.cli"]
    shards, targets = work / f"{times}x" / "unlabelled", work / f"{times}x" / "targets"
    copy_shards(sorted((exp / "shards/unlabelled").glob("*.tar")), shards, times)
    alignments = exp / "realigned" if (exp / "realigned").is_dir() else exp / "aligned"
    label = [*asr_kd, "label", shards, "--teacher", exp / "teacher", "--out", targets]
    distill = [*asr_kd, "distill", "--unlabelled", shards, "--targets", targets, "--labelled", exp / "shards/labelled"]
    distill += ["--alignments", alignments, "--dev", exp / "shards/dev", "--out", work / f"{times}x" / "student"]
    distill += [*(["--config", config] if config else []), "--set", *ONE_PASS]
    return {"label": peak_mib([str(a) for a in label]), "distill": peak_mib([str(a) for a in distill])}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exp", type=Path, help="folder of a recipe that ran up to its teacher")
    parser.add_argument("--times", type=int, default=10, help="size of the larger corpus (default 10)")
    parser.add_argument("--config", type=Path, help="of asr-kd distill")
    parser.add_argument("--work", type=Path, help="folder for copies and results (default: a temporary one, removed)")
    args = parser.parse_args()
    for needed in ("shards/unlabelled", "shards/labelled", "shards/dev", "teacher"):
        if not (args.exp / needed).is_dir():
            raise SystemExit(f"{args.exp / needed}: missing. Run the recipe up to its teacher first.")
    with tempfile.TemporaryDirectory(dir=args.work) as folder:
        once = measure(args.exp, Path(folder), 1, args.config)
        more = measure(args.exp, Path(folder), args.times, args.config)
    sizes = {v: {"1x": round(once[v], 1), f"{args.times}x": round(more[v], 1)} for v in once}
    ratios = {v: {"ratio": round(more[v] / once[v], 3)} for v in once}
    print(json.dumps({"unit": "MiB", **{v: sizes[v] | ratios[v] for v in once}}))


if __name__ == "__main__":
    main()
