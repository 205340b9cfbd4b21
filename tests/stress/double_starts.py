"""Start each command that writes twice at once into one --out, with the same and with other settings:

  python tests/stress/double_starts.py --starts 100

One of the two must be refused with both named, or find the work done; what stands there must have the bytes that one
of the two gives alone. Labelling, made to be run many times at once, is tests/stress/exactly_once.py. Prints one
line of JSON.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from commands import Command, Run, Wanted, digests, left_over, make_commands, temporary_folder, wanted_by


def double_start(command: Command, out: Path, other: bool, wanted: Wanted) -> tuple[str, list[str]]:
    """Who ended how, and what is wrong."""
    scratch = out.with_name(f"{out.name}-scratch")
    scratch.mkdir()
    runs = [Run(command.argv(out), scratch), Run(command.argv(out, other), scratch)]
    codes = [run.wait() for run in runs]
    refused = ["is writing there, so this one" in run.told for run in runs]
    wrong = []
    if 0 not in codes:
        wrong.append(f"neither ended well: {[run.told for run in runs]}")
    for code, no, run in zip(codes, refused, runs, strict=True):
        if code not in (0, 2) or "Traceback" in run.told or (no and f"process {run.pid}" not in run.told):
            wrong.append(f"exit code {code}: {run.told}")
    found = digests(out)
    if found not in [wanted(command, which) for which, code in ((False, codes[0]), (other, codes[1])) if code == 0]:
        wrong.append(f"the output is neither's: {sorted(found)}")
    wrong += [f"left: {name}" for name in left_over(out, scratch)]
    return "refused" if any(refused) else "one after the other", wrong


def stress(starts: int, names: list[str] | None = None) -> dict[str, dict]:
    """So many double starts of each command, every other one with other settings."""
    summary: dict[str, dict] = {}
    with temporary_folder() as folder:
        commands, wanted = make_commands(folder / "corpus", names), wanted_by(folder)
        for command in commands:
            ends, wrong = [], []
            for number in range(starts):
                end, faults = double_start(command, folder / f"{command.name}-{number}", bool(number % 2), wanted)
                ends.append(end)
                wrong += [f"start {number}: {fault}" for fault in faults]
            summary[command.name] = {end: ends.count(end) for end in sorted(set(ends))} | {"wrong": wrong}
            print(f"{command.name}: {summary[command.name]}", file=sys.stderr, flush=True)
    return summary


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=100, help="of each command (default: %(default)s)")
    parser.add_argument("--commands", nargs="+", help="only these")
    args = parser.parse_args()
    summary = stress(args.starts, args.commands)
    print(json.dumps(summary))
    return int(any(entry["wrong"] for entry in summary.values()))


if __name__ == "__main__":
    sys.exit(main())
