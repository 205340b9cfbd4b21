"""Where a run is: everything that the next step depends on, saved and restored bit for bit."""

import errno
import hashlib
import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from asr_kd.core.files import atomic_path
from asr_kd.core.text_files import parse_json
from asr_kd.data.sampler import Position
from asr_kd.train.same_run import check_same_run

STATE_FILE = "state.pt"
STATE_VERSION = 5
RANKS_FOLDER = "ranks"
"""In OUT: where ranks have states of their own, a file of each."""
_WAY_OUT = "Delete it, or start anew with --restart."


@dataclass
class RunState:
    """Counters of a run; weights and optimiser are saved beside it."""

    step: int = 0
    """Updates of the weights."""
    sub_epoch: int = 0
    """Sub-epochs that are finished."""
    positions: dict[str, Position] = field(default_factory=dict)
    """Where each training set goes on."""
    audio_seconds: float = 0.0
    """Audio trained on."""
    wall_seconds: float = 0.0
    """Time spent in training, all sittings together."""
    losses: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Of each term of the loss in the sub-epoch under way, its weighted sum and what it counts (`LossSum`)."""
    grad_norm: dict[str, float] = field(default_factory=dict)
    """Norm of each term's gradient at the model's weights, taken once a sub-epoch where there are several terms."""
    sub_audio_seconds: float = 0.0
    sub_wall_seconds: float = 0.0
    skipped: dict[str, dict[str, str]] = field(default_factory=dict)
    """By stream, utterances that could not be learnt from and why, in the order in which they were met."""
    best: float | None = None
    """Best held-out loss, or accuracy, so far."""
    last_dev_loss: float | None = None
    best_step: int = 0
    best_dev_loss: float = float("inf")
    best_dev_frame_accuracy: float = 0.0
    sub_epochs_since_best: int = 0
    """Sub-epochs since then."""
    lr_factor: float = 1.0
    """What newbob has come down to."""
    stopped_early: bool = False
    finished: bool = False
    ranks: int = 1
    """That trained when the state was saved."""

    def mean_losses(self) -> dict[str, float]:
        """Of each term in the sub-epoch under way, weighted: they add up to the loss."""
        return {name: total / max(count, 1) for name, (total, count) in self.losses.items()}


def save_state(out: Path, state: RunState, run: dict[str, Any], parts: dict[str, Any]) -> None:
    """Write OUT/state.pt, atomically.

    run: its identity (`same_run`); going on asks for the same.  parts: state_dicts by name.
    """
    _write(out / STATE_FILE, {"run": json.dumps(run), "state": asdict(state), "parts": parts})


def save_rank_state(out: Path, step: int, rank: int, parts: dict[str, Any]) -> None:
    """Write what a rank of its own has to remember at that step; it counts when OUT/state.pt has the step."""
    (out / RANKS_FOLDER).mkdir(exist_ok=True)
    _write(_rank_file(out, step, rank), {"parts": parts})


def load_rank_state(out: Path, step: int, rank: int) -> dict[str, Any]:
    """The parts that `save_rank_state` wrote. ValueError when the file is missing or damaged."""
    path = _rank_file(out, step, rank)
    if not path.is_file():
        raise ValueError(f"{path}: is missing, which the run goes on with. {_WAY_OUT}")
    return _checked(path)["parts"]


def drop_rank_states(out: Path, but: int | None = None) -> None:
    """Delete those of all steps but one."""
    for path in (out / RANKS_FOLDER).glob("*.pt"):
        if but is None or not path.name.startswith(f"{but:09d}-"):
            path.unlink(missing_ok=True)


def _rank_file(out: Path, step: int, rank: int) -> Path:
    return out / RANKS_FOLDER / f"{step:09d}-{rank:04d}.pt"


def _write(path: Path, content: dict[str, Any]) -> None:
    content = {"version": STATE_VERSION} | content
    content["digest"] = _digest(content)
    with atomic_path(path) as temporary:
        try:
            torch.save(content, temporary)
        except RuntimeError as e:  # PyTorch's writer does not say what the system said
            free = shutil.disk_usage(temporary.parent).free
            raise OSError(f"{path}: cannot be written, {free / 1e6:.0f} MB are free there ({_reason(e)})") from None


def load_state(out: Path, run: dict[str, Any]) -> tuple[RunState, dict[str, Any]] | None:
    """The saved state and its parts, on the CPU; None when the run has not begun.

    ValueError when the file is damaged, or belongs to a run with another identity (`same_run`).
    """
    path = out / STATE_FILE
    if not path.is_file():
        return None
    content = _checked(path)
    check_same_run(path, parse_json(content["run"], path), parse_json(json.dumps(run), path))
    values = content["state"]
    positions = {
        name: Position(**position | {"windows": tuple(map(tuple, position["windows"]))})
        for name, position in values.pop("positions").items()
    }
    return RunState(**values, positions=positions), content["parts"]


def _checked(path: Path) -> dict[str, Any]:
    """What `_write` wrote. ValueError when it is damaged or of another version."""
    content = _loaded(path)
    version = content.get("version")
    if version != STATE_VERSION:
        raise ValueError(
            f"{path}: state version {version!r:.20}, this asr_kd reads {STATE_VERSION}. "
            "Go on with the asr_kd that made it, or start anew with --restart."
        )
    if content.pop("digest", None) != _digest(content):
        raise ValueError(f"{path}: damaged (its digest is another). {_WAY_OUT}")
    return content


def _loaded(path: Path) -> dict[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except OSError as e:
        if e.errno not in (None, errno.EINVAL):  # of the system; a damaged file names places that no file has
            raise OSError(e.errno, e.strerror, str(path)) from None
        raise ValueError(f"{path}: damaged ({_reason(e)}). {_WAY_OUT}") from None
    except Exception as e:  # what a damaged pickle raises has no bounds
        raise ValueError(f"{path}: damaged ({_reason(e)}). {_WAY_OUT}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: damaged (holds a {type(content).__name__}). {_WAY_OUT}")
    return content


def _digest(value: Any) -> str:
    """SHA-256 over nested dicts and lists of plain values and tensors, their bits included."""
    digest = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            digest.update(f"{value.dtype} {tuple(value.shape)} ".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        elif isinstance(value, dict):
            digest.update(f"{len(value)} keys ".encode())
            for key, item in value.items():
                add(key)
                add(item)
        elif isinstance(value, (list, tuple)):
            digest.update(f"{len(value)} items ".encode())
            for item in value:
                add(item)
        else:
            digest.update(f"{value!r} ".encode())

    add(value)
    return digest.hexdigest()


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:100].rstrip(".") or type(error).__name__
