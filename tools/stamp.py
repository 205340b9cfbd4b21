"""Is a stage of a recipe done, with the same command and the same inputs? Standard library only.

    stamp.py check STAMP COMMAND ...   exit 0: done, prints its seconds; exit 1: to be run, prints why if it ran before
    stamp.py again STAMP COMMAND ...   the same, and what is done is to be run again
    stamp.py done STAMP SECONDS        what the last `check` or `again` saw is done

What follows --out is removed before a stage that ran before runs with another command or other inputs, if it lies in
the recipe's own folder (STAMP is RECIPE_FOLDER/.stages/NAME.json). After an interruption it stays: verbs go on from it.

Inputs are the arguments, and the PATH of every NAME=PATH, that exist as a file or folder, save what follows --out.
A file up to 1 MB counts by its content; a larger one, and each file of a folder, by size and time of change.
"""

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

LARGEST_READ_BYTES = 1_000_000
NOT_COMPARED = "--started"
"""Its value differs in each run and changes nothing that is computed."""
LIBRARY = Path(__file__).resolve().parent.parent / "asr_kd" / "__init__.py"


def describe(command: Sequence[str]) -> dict:
    """What a stage depends on: its command, the library's version, the state of its inputs; and what it makes."""
    outputs = list(_values_of("--out", command))
    inputs = {}
    for argument in _without_values_of(("--out", NOT_COMPARED), command):
        for text in dict.fromkeys([argument, argument.partition("=")[2]]):
            if text and os.path.exists(text) and not any(os.path.abspath(text) == os.path.abspath(o) for o in outputs):
                inputs[text] = _state(Path(text), outputs)
    return {
        "command": list(_without_values_of((NOT_COMPARED,), command)),
        "version": _library_version(),
        "inputs": inputs,
        "outputs": outputs,
    }


def what_changed(before: dict, now: dict) -> str | None:
    """One line on the first difference, None where there is none."""
    if before["command"] != now["command"]:
        return "its command changed"
    if before["version"] != now["version"]:
        return f"asr_kd is {now['version']}, it was {before['version']}"
    for path in sorted(set(before["inputs"]) | set(now["inputs"])):
        if before["inputs"].get(path) != now["inputs"].get(path):
            return f"{path} changed"
    return None


def _values_of(option: str, command: Sequence[str]) -> Iterator[str]:
    for argument, following in zip(command, [*command[1:], None], strict=True):
        if argument == option and following is not None:
            yield following
        elif argument.startswith(f"{option}="):
            yield argument.partition("=")[2]


def _without_values_of(options: Sequence[str], command: Sequence[str]) -> Iterator[str]:
    skip = False
    for argument in command:
        if not skip and not argument.startswith(tuple(f"{o}=" for o in options)):
            yield argument
        skip = argument in options


def _state(path: Path, outputs: Sequence[str]) -> str:
    digest = hashlib.sha256()
    if path.is_file():
        if path.stat().st_size <= LARGEST_READ_BYTES:
            digest.update(path.read_bytes())
        else:
            digest.update(_size_and_time(path))
        return digest.hexdigest()
    made = {os.path.abspath(o) for o in outputs}
    for folder, folders, files in os.walk(path):
        # What the stage makes itself, logs and hidden bookkeeping are no inputs.
        folders[:] = sorted(
            f for f in folders if f[0] != "." and f != "logs" and os.path.abspath(Path(folder, f)) not in made
        )
        for name in sorted(files):
            file = Path(folder, name)
            if name[0] != "." and os.path.abspath(file) not in made and file.exists():
                digest.update(f"{file.relative_to(path)}\0".encode(errors="surrogateescape") + _size_and_time(file))
    return digest.hexdigest()


def _size_and_time(path: Path) -> bytes:
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns}\0".encode()


def _library_version() -> str:
    found = re.search(r'^__version__ = "(.*)"', LIBRARY.read_text(), re.MULTILINE) if LIBRARY.exists() else None
    return found[1] if found else "unknown"


def _read(path: Path) -> dict | None:
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def _write(path: Path, description: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(description, indent=1))
    temporary.replace(path)


def _remove(outputs: Sequence[str], inside: Path) -> None:
    for output in map(Path, outputs):
        if inside.resolve() in output.resolve().parents:
            if output.is_dir() and not output.is_symlink():
                shutil.rmtree(output)
            else:
                output.unlink(missing_ok=True)


def check(stamp: Path, command: Sequence[str], again: bool) -> int:
    """0: done, 1: to be run; prints seconds or reason and notes what is about to be run."""
    now, before = describe(command), _read(stamp)
    if before is not None:
        changed, missing = what_changed(before, now), [o for o in now["outputs"] if not os.path.exists(o)]
        finished = before["seconds"] is not None
        if not (changed or missing or again) and finished:
            print(before["seconds"])
            return 0
        if changed or (again and finished):
            print(changed or "asked for")
            _remove(now["outputs"], inside=stamp.parent.parent)
            now = describe(command)  # an input may have lain in there
        else:
            print(f"{missing[0]} is missing" if missing else "goes on where it stopped")
    _write(stamp, {**now, "seconds": None})
    return 1


def main(arguments: Sequence[str]) -> int:
    """Exit code, see above."""
    verb, stamp, *rest = arguments
    if verb == "done":
        begun = json.loads(Path(stamp).read_text())
        # An input that was not there before is one that the stage fetched itself, such as a corpus.
        inputs = describe(begun["command"])["inputs"] | begun["inputs"]
        _write(Path(stamp), {**begun, "inputs": inputs, "seconds": int(rest[0])})
        return 0
    return check(Path(stamp), rest, again=verb == "again")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
