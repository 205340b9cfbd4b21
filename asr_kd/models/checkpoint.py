"""Models on disk: one safetensors file whose header describes the model in JSON, so that it alone rebuilds it."""

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save

from asr_kd import __version__
from asr_kd.core.config import load_config, to_dict
from asr_kd.core.files import atomic_path
from asr_kd.frontend.fbank import FrontEndConfig
from asr_kd.inventory.kinds import inventory_from_dict
from asr_kd.models.acoustic import AcousticModel, build_model
from asr_kd.models.config import ModelConfig

MODEL_FILE = "model.safetensors"
MODEL_VERSION = 1
KIND = "acoustic model"
_KEY = "asr_kd"
_HEADER_LENGTH_BYTES = 8  # a safetensors file begins with its header's length, little-endian
_BLOCK = 1 << 20


def save_model(path: str | os.PathLike[str], model: AcousticModel, notes: dict[str, Any] | None = None) -> None:
    """Write a model, atomically. The same model and notes give the same bytes.

    path: the file, or a folder for its `model.safetensors`.  notes: JSON values on how it was made.
    """
    description = {
        "kind": KIND,
        "version": MODEL_VERSION,
        "model": to_dict(model.config),
        "inventory": model.inventory.to_dict(),
        "frontend": to_dict(model.frontend),
        "notes": notes or {},
        "library": f"asr_kd {__version__}",
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    with atomic_path(_file(path)) as temporary:
        # not save_file(), which leaves a file that only its owner may read
        temporary.write_bytes(save(tensors, metadata={_KEY: json.dumps(description, sort_keys=True)}))


def load_model(path: str | os.PathLike[str]) -> AcousticModel:
    """Rebuild a model on the CPU, in evaluation mode. path: the file, or the folder that holds `model.safetensors`.

    ValueError names the file when it is missing, cut off, no acoustic model of asr_kd, or of another version.
    """
    file = _file(path)
    description = read_description(file)
    try:
        model = build_model(
            load_config(ModelConfig, description["model"]),
            inventory_from_dict(description["inventory"]),
            load_config(FrontEndConfig, description["frontend"]),
        )
        model.load_state_dict(load_file(file))
    except (KeyError, RuntimeError, SafetensorError, ValueError) as e:
        raise ValueError(
            f"{file}: its weights or description are damaged ({_reason(e)}). Train or fetch it again."
        ) from None
    return model.eval()


def read_description(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What the file says of its model: `model`, `inventory`, `frontend`, `notes`. Errors as for `load_model`."""
    file = _file(path)
    if not file.is_file():
        raise ValueError(f"{path}: no model there ({MODEL_FILE}). `asr-kd train` makes one.")
    try:
        with safe_open(file, "pt") as f:
            metadata = f.metadata() or {}
    except (SafetensorError, OSError) as e:
        raise ValueError(f"{file}: not a whole safetensors file ({_reason(e)}). Train or fetch it again.") from None
    try:
        description = json.loads(metadata[_KEY])
        kind, version = description["kind"], description["version"]
    except (KeyError, TypeError, ValueError):
        raise ValueError(
            f"{file}: a safetensors file, but no model of asr_kd (its header has no description)"
        ) from None
    if kind != KIND:
        raise ValueError(f"{file}: holds a {kind}, not an {KIND}. Give the path of a model made by train or distill.")
    if version != MODEL_VERSION:
        raise ValueError(
            f"{file}: model version {version}, this asr_kd reads {MODEL_VERSION}. Use the asr_kd that made it."
        )
    return description


def model_fingerprint(path: str | os.PathLike[str]) -> str:
    """SHA-256 over description and weights, 64 hex digits. Notes and library version do not count."""
    file = _file(path)
    description = read_description(file)
    counted = {key: description[key] for key in ("kind", "version", "model", "inventory", "frontend")}
    digest = hashlib.sha256(json.dumps(counted, sort_keys=True).encode())
    with open(file, "rb") as f:
        header = json.loads(f.read(int.from_bytes(f.read(_HEADER_LENGTH_BYTES), "little")))
        header.pop("__metadata__")
        digest.update(json.dumps(header, sort_keys=True).encode())
        while block := f.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _file(path: str | os.PathLike[str]) -> Path:
    path = Path(path)
    return path if path.suffix == ".safetensors" else path / MODEL_FILE


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(".")


def load_weights(model: AcousticModel, path: str | Path) -> None:
    """Copy weights and normalisation of the model at `path` into `model`, to train on from there.

    ValueError names what differs when the two are not made alike.
    """
    other = load_model(path)
    alike = replace(other.config, dropout=model.config.dropout) == model.config  # dropout is a matter of training
    for what, same in (
        ("architecture", alike),
        ("inventory", other.inventory == model.inventory),
        ("front end", other.frontend == model.frontend),
    ):
        if not same:
            raise ValueError(
                f"{path}: its {what} differs from this run's ({other.config} over {other.inventory.size} classes; here "
                f"{model.config} over {model.inventory.size}). Begin with a model made alike, or without --init."
            )
    model.load_state_dict(other.state_dict())
