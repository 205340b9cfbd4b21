"""SIGKILL each command that writes at a moment drawn evenly from the time that it takes, and run it again:

  python tests/stress/kills.py --kills 40
  python tests/stress/kills.py --kills 0 --recipe recipes/quickstart/run.sh --recipe-kills 10

Afterwards its output must have the bytes of the undisturbed one, no process of it may run, and no temporary file may be
left. A recipe is killed, bash alone, and called again; its hypotheses must be those of a whole run. Kills in labelling
are in tests/stress/exactly_once.py. Prints one line of JSON.
"""

import argparse
import json
import os
import random
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from commands import Command, Run, Wanted, digests, left_over, make_commands, temporary_folder, wanted_by

ROOT = Path(__file__).resolve().parent.parent.parent


def kill_once(command: Command, out: Path, after_s: float, wanted: Wanted) -> tuple[bool, list[str]]:
    """Whether the command was killed before it had ended, and what is wrong after it ran again."""
    scratch = out.with_name(f"{out.name}-scratch")
    scratch.mkdir()
    run = Run(command.argv(out), scratch)
    time.sleep(after_s)
    run.kill()
    code = run.wait()
    wrong = [f"exit code {code}: {run.told}"] if code not in (0, -9) else []
    again = Run(command.argv(out), scratch)  # at once: workers of the killed one may still be there
    if again.wait() != 0:
        wrong.append(f"again: exit code {again.code}: {again.told}")
    if any([run.leaves_running(), again.leaves_running()]):
        wrong.append("processes left running")
    if digests(out) != wanted(command, False):
        wrong.append("the output differs")
    wrong += [f"left: {name}" for name in left_over(out, scratch)]
    return code == -9, wrong


def stress(kills: int, names: list[str] | None = None, seed: int = 0) -> dict[str, dict]:
    """So many kills in each command."""
    rng, summary = random.Random(seed), {}
    with temporary_folder() as folder:
        commands, wanted = make_commands(folder / "corpus", names), wanted_by(folder)
        for command in commands:
            wanted(command, False)
            began = time.monotonic()
            Run(command.argv(folder / f"timed-{command.name}"), None).wait()
            whole_s, done, tries, wrong = time.monotonic() - began, 0, 0, []
            while done < kills and tries < 3 * kills + 3:
                out = folder / f"{command.name}-{tries}"
                was_killed, faults = kill_once(command, out, rng.uniform(0, whole_s), wanted)
                wrong += [f"try {tries}: {fault}" for fault in faults]
                done, tries = done + was_killed, tries + 1
            summary[command.name] = {"kills": done, "wrong": wrong}
            print(f"{command.name}: {summary[command.name]}", file=sys.stderr, flush=True)
    return summary


def kill_recipe(recipe: Path, kills: int, seed: int = 0, arguments: Sequence[str] = ()) -> dict:
    """Run a recipe whole, then once with so many kills of its bash, each followed by another call."""
    rng = random.Random(seed)
    with temporary_folder() as folder:
        run = lambda name: subprocess.Popen(
            ["bash", str(recipe), *arguments, "--exp", str(folder / name)],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"TMPDIR": str(folder)},
        )
        began = time.monotonic()
        if run("whole").wait() != 0:
            raise SystemExit(f"{recipe}: failed without any kill")
        whole_s, done = time.monotonic() - began, 0
        while done < kills:
            bash = run("killed")
            try:
                bash.wait(timeout=rng.uniform(0, whole_s / max(1, kills) * 2))
            except subprocess.TimeoutExpired:
                bash.kill()
                bash.wait()
                done += 1
            else:
                break
        wrong = [] if run("killed").wait() == 0 else ["the last call failed"]
        hypotheses = lambda name: {
            str(p.relative_to(folder / name)): p.read_bytes() for p in (folder / name).rglob("hyp.jsonl")
        }
        if hypotheses("killed") != hypotheses("whole"):
            wrong.append("the hypotheses differ")
        here = str(folder / "killed").encode()
        if any(here in line for line in _command_lines()):
            wrong.append("processes left running")
        return {"kills": done, "wrong": wrong + [f"left: {name}" for name in left_over(folder)]}


def _command_lines() -> list[bytes]:
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes())
        except OSError:
            continue
    return lines


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=40, help="in each command (default: %(default)s)")
    parser.add_argument("--commands", nargs="+", help="only these")
    parser.add_argument("--recipe", type=Path, help="a recipe's run.sh, to be killed as well")
    parser.add_argument("--recipe-arguments", default="", help="words for the recipe, such as a folder")
    parser.add_argument("--recipe-kills", type=int, default=10, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    args = parser.parse_args()
    summary = stress(args.kills, args.commands, args.seed) if args.kills else {}
    if args.recipe:
        words = shlex.split(args.recipe_arguments)
        summary[str(args.recipe)] = kill_recipe(args.recipe.resolve(), args.recipe_kills, args.seed, words)
    print(json.dumps(summary))
    return int(any(entry["wrong"] for entry in summary.values()))


if __name__ == "__main__":
    sys.exit(main())
