"""Which output belongs to which audio file: written down before the first one, so that a later run finds it again."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr_kd.core.files import read_json, values_of, write_json
from asr_kd.jobs.job_state import check_same_settings

STATE_FILE = "transcribe.json"
"""In the output folder: `settings` of all outputs, and under `inputs` the audio file of each output's name."""


@dataclass(frozen=True)
class AudioInput:
    """An audio file to transcribe."""

    path: Path
    name: str
    """Wanted for its output, without suffix."""


def place_outputs(
    out: Path, suffix: str, inputs: Iterable[AudioInput], settings: dict[str, Any], dry_run: bool = False
) -> dict[Path, Path]:
    """The output of each audio file; files of one name get different ones, and no file of another origin is taken.

    ValueError when the outputs that are there were made with other settings.
    """
    state_file, named = out / STATE_FILE, dict[str, str]()
    if state_file.exists():
        with values_of(state_file, "asr-kd transcribe"):
            state = read_json(state_file)
            named = {str(name): str(path) for name, path in state["inputs"].items()}
            found = state["settings"]
        check_same_settings(state_file, found, settings)
    known = {path: name for name, path in named.items()}
    taken = {name.casefold() for name in named}
    outputs: dict[Path, Path] = {}
    for item in inputs:
        path = os.path.abspath(item.path)
        if path not in known:
            known[path] = _free_name(item, out, suffix, taken)
            taken.add(known[path].casefold())
        outputs[item.path] = out / f"{known[path]}{suffix}"
    if not dry_run:
        write_json(state_file, {"settings": settings, "inputs": {name: path for path, name in known.items()}})
    return outputs


def is_done(path: Path, output: Path) -> bool:
    """Whether the output is there, and no older than its audio file."""
    try:
        return output.stat().st_mtime_ns >= path.stat().st_mtime_ns
    except OSError:  # of the audio file, its worker says what is wrong
        return False


def _free_name(item: AudioInput, out: Path, suffix: str, taken: set[str]) -> str:
    with_kind = f"{item.name}-{item.path.suffix[1:]}"
    number, name = 1, item.name
    while name.casefold() in taken or (out / f"{name}{suffix}").exists():
        name = with_kind if number == 1 else f"{with_kind}-{number}"
        number += 1
    return name
