"""Is a stage done, with the same command and the same inputs? One record for recipes and experiments.

Recipes call this file as a program, before and beside the environment; it needs the standard library only:

    stages.py check RECORD COMMAND ...   exit 0: done, prints its seconds; exit 1: to run, prints why if it ran before
    stages.py again RECORD COMMAND ...   the same, and what is done is to be run again
    stages.py done RECORD SECONDS        what the last `check` or `again` saw is done

What follows --out is removed before a stage that ran before runs with another command or other inputs, if it lies in
the stage's own folder (RECORD is FOLDER/.stages/NAME.json); what other stages wrote in there is kept. After an
interruption all of it is kept: commands go on from it.

Done also means that the outputs, with all their files, stand there as the stage left them, and that the library's code
is the same. Inputs are the arguments, and the PATH of every NAME=PATH, that exist as a file or folder, save what
follows --out. A file up to 1 MB counts by its content; a larger one, and each file of a folder, by size and time of
change. A file of an output counts by its size and SHA-256, which is looked at when its time of change is another.
"""

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LARGEST_READ_BYTES = 1_000_000
NOT_COMPARED = "--started"
"""Its value differs in each run and changes nothing that is computed."""
LIBRARY = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Stage:
    """A command of a chain and the file that says how it ended."""

    record: Path
    """FOLDER/.stages/NAME.json"""
    command: tuple[str, ...]

    @classmethod
    def begun(cls, record: Path) -> "Stage":
        """The stage that `begin` noted there."""
        return cls(record, tuple(json.loads(record.read_text())["command"]))

    def begin(self, again: bool = False) -> tuple[int | None, str]:
        """The seconds that it took, when it is done; else None and why it is to be run ("" when it never was).

        What is about to be run is noted, and what another command left is removed.  again: run it although it is done.
        """
        now, before = describe(self.command, self.record), _read(self.record)
        reason = ""
        if before is not None:
            finished = before["seconds"] is not None
            changed, missing = what_changed(before, now), [o for o in now["outputs"] if not os.path.exists(o)]
            if finished and not (changed or missing):
                changed = what_is_wrong(before["files"])
            if not (changed or missing or again) and finished:
                return before["seconds"], ""
            if changed or (again and finished):
                reason = changed or "asked for"
                theirs = [o for other in _others(self.record) for o in other["outputs"]]
                _remove(now["outputs"], inside=self.record.parent.parent, save=theirs)
                now = describe(self.command, self.record)  # an input may have lain in there
            else:
                reason = f"{missing[0]} is missing" if missing else "goes on where it stopped"
        _write(self.record, {**now, "seconds": None})
        return None, reason

    def finish(self, seconds: int) -> None:
        """Note that what was begun has ended well, and what it left."""
        begun = json.loads(self.record.read_text())
        # An input that was not there before is one that the stage fetched itself, such as a corpus.
        inputs = describe(begun["command"], self.record)["inputs"] | begun["inputs"]
        files = record_of(self.record, begun["outputs"])
        _write(self.record, {**begun, "inputs": inputs, "files": files, "seconds": seconds})


def describe(command: Sequence[str], record: Path) -> dict[str, Any]:
    """What a stage depends on: its command, the library's version, the state of its inputs; and what it makes."""
    outputs = list(_values_of("--out", command))
    others = _others(record)
    inputs = {}
    for argument in _without_values_of(("--out", NOT_COMPARED), command):
        for text in dict.fromkeys([argument, argument.partition("=")[2]]):
            if text and os.path.exists(text) and not any(os.path.abspath(text) == os.path.abspath(o) for o in outputs):
                made_from_it = [o for other in others if text in other["inputs"] for o in other["outputs"]]
                inputs[text] = _state(Path(text), [*outputs, *made_from_it])
    return {
        "command": list(_without_values_of((NOT_COMPARED,), command)),
        "version": _library_version(),
        "code": _library_code(),
        "inputs": inputs,
        "outputs": outputs,
    }


def what_changed(before: dict[str, Any], now: dict[str, Any]) -> str | None:
    """One line on the first difference, None where there is none."""
    if before["command"] != now["command"]:
        return "its command changed"
    if before["version"] != now["version"]:
        return f"asr_kd is {now['version']}, it was {before['version']}"
    if before.get("code") != now["code"]:
        return "the code of asr_kd changed"
    for path in sorted(set(before["inputs"]) | set(now["inputs"])):
        if before["inputs"].get(path) != now["inputs"].get(path):
            return f"{path} changed"
    return None


def record_of(record: Path, outputs: Sequence[str]) -> dict[str, list[Any]]:
    """Size, time of change and SHA-256 of each file of the outputs."""
    found = {}
    for path in _files_of(record, outputs):
        status = path.stat()
        found[str(path)] = [status.st_size, status.st_mtime_ns, _sha256(path)]
    return found


def what_is_wrong(record: dict[str, list[Any]]) -> str | None:
    """One line on the first file that is not as the stage left it, None where there is none."""
    for name, (size, changed_at, sha256) in record.items():
        path = Path(name)
        if not path.is_file():
            return f"{name} is missing"
        status = path.stat()
        if status.st_size != size or (status.st_mtime_ns != changed_at and _sha256(path) != sha256):
            return f"{name} is not as the stage left it"
    return None


def _files_of(record: Path, outputs: Sequence[str]) -> Iterator[Path]:
    """Files of the outputs; those of other stages that lie in there, logs and hidden bookkeeping left out."""
    theirs = {os.path.abspath(o) for other in _others(record) for o in other["outputs"]}
    theirs -= {os.path.abspath(o) for o in outputs}
    for output in outputs:
        if os.path.isfile(output):
            yield Path(output)
        for folder, folders, files in os.walk(output):
            folders[:] = sorted(
                f for f in folders if f[0] != "." and f != "logs" and os.path.abspath(Path(folder, f)) not in theirs
            )
            for name in sorted(files):
                path = Path(folder, name)
                if name[0] != "." and os.path.abspath(path) not in theirs and path.is_file():
                    yield path


def _others(record: Path) -> list[dict[str, Any]]:
    """What the other stages of the chain noted."""
    return [found for path in record.parent.glob("*.json") if path != record and (found := _read(path))]


def _sha256(path: Path) -> str:
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


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


def _state(path: Path, made: Sequence[str]) -> str:
    """Digest of a file or folder.  made: what the stage makes itself, and what others made from it: no inputs."""
    digest = hashlib.sha256()
    if path.is_file():
        if path.stat().st_size <= LARGEST_READ_BYTES:
            digest.update(path.read_bytes())
        else:
            digest.update(_size_and_time(path))
        return digest.hexdigest()
    left_out = {os.path.abspath(o) for o in made} - {os.path.abspath(path)}
    for folder, folders, files in os.walk(path):  # logs and hidden bookkeeping are left out too
        folders[:] = sorted(
            f for f in folders if f[0] != "." and f != "logs" and os.path.abspath(Path(folder, f)) not in left_out
        )
        for name in sorted(files):
            file = Path(folder, name)
            if name[0] != "." and os.path.abspath(file) not in left_out and file.exists():
                digest.update(f"{file.relative_to(path)}\0".encode(errors="surrogateescape") + _size_and_time(file))
    return digest.hexdigest()


def _size_and_time(path: Path) -> bytes:
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns}\0".encode()


def _library_version() -> str:
    file = LIBRARY / "__init__.py"
    found = re.search(r'^__version__ = "(.*)"', file.read_text(), re.MULTILINE) if file.exists() else None
    return found[1] if found else "unknown"


def _library_code() -> str:
    digest = hashlib.sha256()
    for path in sorted(LIBRARY.rglob("*.*")):
        if "__pycache__" in path.parts or not path.is_file():
            continue
        digest.update(f"{path.relative_to(LIBRARY)}\0{_sha256(path)}\0".encode())
    return digest.hexdigest()


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, ValueError, RecursionError):
        return None


def _write(path: Path, description: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(description, indent=1))
    temporary.replace(path)


def _remove(outputs: Sequence[str], inside: Path, save: Sequence[str]) -> None:
    """Remove the outputs that lie in `inside`, with all that is in them but `save`: other stages' own outputs."""
    saved = {Path(o).resolve() for o in save} - {Path(o).resolve() for o in outputs}
    for output in map(Path, outputs):
        if inside.resolve() in output.resolve().parents:
            _remove_all_but(output, saved)


def _remove_all_but(path: Path, saved: set[Path]) -> None:
    here = path.parent.resolve() / path.name  # a link is removed, not what it leads to
    if here in saved:
        return
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    elif not any(here in other.parents for other in saved):
        shutil.rmtree(path)
    else:
        for inner in path.iterdir():
            _remove_all_but(inner, saved)


def main(arguments: Sequence[str]) -> int:
    """Exit code, see above."""
    verb, record, *rest = arguments
    if verb == "done":
        Stage.begun(Path(record)).finish(int(rest[0]))
        return 0
    seconds, reason = Stage(Path(record), tuple(rest)).begin(again=verb == "again")
    if seconds is not None:
        print(seconds)
        return 0
    if reason:
        print(reason)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
