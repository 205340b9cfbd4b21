"""Change one place of the code at a time and see whether the tests notice (mutmut, in a folder of its own):

  pip install mutmut==3.8.*
  python tests/stress/mutation.py --count 300 --seed 0

Mutants are drawn evenly from all that mutmut makes of the modules that the promises rest on ([tool.mutmut] of
pyproject.toml). Those that live are printed as diffs. Prints one line of JSON; exit code 1 when fewer than 85% die.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WANTED_SHARE = 0.85
COPIED = ("asr_kd", "tests", "tools", "docs", "recipes", "manifests", "pyproject.toml", "README.md", "CHANGELOG.md")
KILLED = (1, 2, 3, 24, -24, 36, 152, 255, -9, -11)
"""mutmut's exit codes of a mutant that was noticed: a test failed or was interrupted, was too late, or crashed."""


def mutmut(folder: Path, *words: str) -> str:
    """Run mutmut in the copy; what it printed. ValueError when it failed."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "mutmut", *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ValueError(f"mutmut {' '.join(words[:2])}: {done.stdout[-2000:]}")
    return done.stdout


def exit_codes(folder: Path) -> dict[str, int | None]:
    """Of each mutant by its name; None where it was not run."""
    found: dict[str, int | None] = {}
    for file in sorted((folder / "mutants").rglob("*.meta")):
        found |= json.loads(file.read_text())["exit_code_by_key"]
    return found


def main() -> int:
    """Draw, run and count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=300, help="mutants drawn (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="at a time (default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/asr_kd-mutation"), help="of the copy (%(default)s)")
    args = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # else ignored in the background, where a test needs it
    folder: Path = args.folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "exp"))
        else:
            shutil.copy(source, folder / name)
    with open(ROOT / "pyproject.toml", "rb") as f:
        modules = tomllib.load(f)["tool"]["mutmut"]["only_mutate"]
    first = f"{Path(modules[0]).with_suffix('').as_posix().replace('/', '.')}.*__mutmut_1"
    mutmut(folder, "run", "--max-children", str(args.jobs), first)  # makes all, runs few
    names = sorted(exit_codes(folder))
    drawn = random.Random(args.seed).sample(names, min(args.count, len(names)))
    mutmut(folder, "run", "--max-children", str(args.jobs), *drawn)
    codes = exit_codes(folder)
    alive = [name for name in drawn if codes[name] not in KILLED]
    for name in alive:
        print(f"alive ({'no test' if codes[name] == 33 else codes[name]}): {name}")
        print(mutmut(folder, "show", name))
    share = 1 - len(alive) / len(drawn)
    figures = {"mutants": len(names), "drawn": len(drawn), "killed": len(drawn) - len(alive), "share": round(share, 4)}
    print(json.dumps(figures | {"seed": args.seed}))
    return 0 if share >= WANTED_SHARE else 1


if __name__ == "__main__":
    sys.exit(main())
