"""Where an interrupted flat start goes on: its state after each round, in one file that appears whole or not at all."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asr_kd.align.gaussians import Gaussians
from asr_kd.core.errors import is_system_error
from asr_kd.core.files import atomic_path
from asr_kd.core.terminal import say
from asr_kd.core.text_files import parse_json
from asr_kd.inventory.senones import Senones


@dataclass
class FlatStartState:
    """All that the next round depends on, besides the speech."""

    inventory: Senones
    gaussians: Gaussians
    alignments: list[np.ndarray | None]
    """Those that the last round was trained on; before the first, those that it begins with."""
    tied: bool = False
    """Whether this is the second stage, that of states tied over phones in context."""
    rounds: int = 0
    """Rounds of the stage that are done."""


class StateFile:
    """A file that holds the state of one flat start."""

    def __init__(self, path: Path, run: str) -> None:
        """run: digest of all that the result depends on."""
        self.path, self._run = path, run

    def save(self, state: FlatStartState) -> None:
        """Replace what is there."""
        arrays, random = state.gaussians.to_arrays()
        lengths_U = np.array([-1 if a is None else len(a) for a in state.alignments])
        arrays |= {"lengths": lengths_U, "classes": np.concatenate([a for a in state.alignments if a is not None])}
        about = {
            "run": self._run,
            "inventory": state.inventory.to_dict(),
            "tied": state.tied,
            "rounds": state.rounds,
            "random": random,
            "digest": _digest(arrays),
        }
        with atomic_path(self.path) as temporary, open(temporary, "wb") as f:
            np.savez(f, allow_pickle=False, about=np.array(json.dumps(about)), **arrays)

    def load(self) -> FlatStartState | None:
        """The state, or None when there is none, it is damaged, or of another flat start; the last two are told."""
        try:
            with np.load(self.path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            about: dict[str, Any] = parse_json(str(arrays.pop("about")), self.path)
            if about["digest"] != _digest(arrays):
                raise ValueError("its digest is another")
        except FileNotFoundError:
            return None
        except Exception as e:  # what a damaged archive raises has no bounds
            if is_system_error(e):
                raise
            say(f"{self.path}: damaged. The flat start begins anew.")
            return None
        if about["run"] != self._run:
            say(f"{self.path}: of other speech, texts or settings. The flat start begins anew.")
            return None
        lengths_U = arrays["lengths"]
        parts = np.split(arrays["classes"], np.cumsum(np.maximum(lengths_U, 0))[:-1])
        return FlatStartState(
            inventory=Senones.from_dict(about["inventory"]),
            gaussians=Gaussians.from_arrays(arrays, about["random"]),
            alignments=[None if n < 0 else part for n, part in zip(lengths_U, parts, strict=True)],
            tied=about["tied"],
            rounds=about["rounds"],
        )

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


def _digest(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape} ".encode())
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()
