"""Models on disk: one safetensors file whose header describes the model in JSON, so that it alone rebuilds it."""

import hashlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save

from asr_kd import __version__
from asr_kd.core.config import load_config, to_dict
from asr_kd.core.files import atomic_path
from asr_kd.core.renames import current_keys
from asr_kd.core.text_files import parse_json
from asr_kd.frontend.fbank import FrontEndConfig
from asr_kd.inventory.registry import inventory_from_dict
from asr_kd.models.acoustic import AcousticModel, build_model
from asr_kd.models.config import ModelConfig
from asr_kd.models.quantisation import freeze_quantised, restored_state, stored_state

MODEL_FILE = "model.safetensors"
MODEL_VERSIONS = {"float32": 3, "int8": 4}
"""By what weights are stored as: who reads only version 3 does not know codes and scales."""
READ_VERSIONS = (1, 2, 3, 4)
"""1 and 2 are 3 and 4 with the config keys of asr_kd 0.2."""
KIND = "acoustic model"
MALFORMED = (AttributeError, IndexError, KeyError, OverflowError, RuntimeError, SafetensorError, TypeError, ValueError)
"""What a description, or weights, of odd form raise when a model is made of them."""
_KEY = "asr_kd"
_HEADER_LENGTH_BYTES = 8  # a safetensors file begins with its header's length, little-endian
_BLOCK = 1 << 20
_OF_LAYER = re.compile(r"(encoder\.(?:layers|lookaheads)\.)(\d+)(\..+)")


def save_model(path: str | os.PathLike[str], model: AcousticModel, notes: dict[str, Any] | None = None) -> None:
    """Write a model, atomically. The same model and notes give the same bytes.

    path: the file, or a folder for its `model.safetensors`.  notes: JSON values on how it was made.
    A model whose config says int8 is stored in codes and scales, see `models.quantisation`.
    """
    description = {
        "kind": KIND,
        "version": MODEL_VERSIONS[model.config.weight_dtype],
        "model": to_dict(model.config),
        "inventory": model.inventory.to_dict(),
        "frontend": to_dict(model.frontend),
        "notes": notes or {},
        "library": f"asr_kd {__version__}",
    }
    tensors = stored_state(model)
    with atomic_path(model_file(path)) as temporary:
        # not save_file(), which leaves a file that only its owner may read
        temporary.write_bytes(save(tensors, metadata={_KEY: json.dumps(description, sort_keys=True)}))


def load_model(path: str | os.PathLike[str]) -> AcousticModel:
    """Rebuild a model on the CPU, in evaluation mode. path: the file, or the folder that holds `model.safetensors`.

    ValueError names the file when it is missing, cut off, no acoustic model of asr_kd, or of another version.
    """
    file = model_file(path)
    description = read_description(file)
    try:
        model = build_model(
            load_config(ModelConfig, current_keys("ModelConfig", description["model"])),
            inventory_from_dict(description["inventory"]),
            load_config(FrontEndConfig, current_keys("FrontEndConfig", description["frontend"])),
        )
        model.load_state_dict(restored_state(model, load_file(file)))
    except OSError:
        raise
    except MALFORMED as e:
        raise ValueError(
            f"{file}: its weights or description are damaged ({_reason(e)}). Train or fetch it again."
        ) from None
    for name, tensor in model.state_dict().items():
        if not tensor.isfinite().all():
            raise ValueError(f"{file}: {name} holds weights that are not finite, so it says nothing. Train it again.")
    freeze_quantised(model.eval())
    return model


def read_description(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What the file says of its model: `model`, `inventory`, `frontend`, `notes`. Errors as for `load_model`."""
    file = model_file(path)
    if not file.is_file():
        raise ValueError(f"{path}: no model there ({MODEL_FILE}). `asr-kd train` makes one.")
    try:
        with safe_open(file, "pt") as f:
            metadata = f.metadata() or {}
    except (SafetensorError, OSError) as e:
        raise ValueError(f"{file}: not a whole safetensors file ({_reason(e)}). Train or fetch it again.") from None
    try:
        description = parse_json(metadata[_KEY], file)
        kind, version = description["kind"], description["version"]
    except MALFORMED:
        raise ValueError(
            f"{file}: a safetensors file, but no model of asr_kd (its header has no description)"
        ) from None
    if kind != KIND:
        raise ValueError(
            f"{file}: holds a {kind!s:.40}, not an {KIND}. Give the path of a model made by train or distill."
        )
    if version not in READ_VERSIONS:
        known = ", ".join(map(str, READ_VERSIONS))
        raise ValueError(
            f"{file}: model version {version!s:.20}, this asr_kd reads {known}. Use the asr_kd that made it."
        )
    for key in ("model", "inventory", "frontend", "notes"):
        if not isinstance(description.get(key), dict):
            raise ValueError(f"{file}: its description is damaged (no {key}). Train or fetch it again.")
    return description


def model_fingerprint(path: str | os.PathLike[str]) -> str:
    """SHA-256 over description and weights, 64 hex digits. Notes and library version do not count."""
    file = model_file(path)
    description = read_description(file)
    counted = {key: description[key] for key in ("kind", "version", "model", "inventory", "frontend")}
    digest = hashlib.sha256(json.dumps(counted, sort_keys=True).encode())
    with open(file, "rb") as f:
        header = parse_json(f.read(int.from_bytes(f.read(_HEADER_LENGTH_BYTES), "little")), file)
        header.pop("__metadata__")
        digest.update(json.dumps(header, sort_keys=True).encode())
        while block := f.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def model_file(path: str | os.PathLike[str]) -> Path:
    """The file itself: `path`, or the `model.safetensors` in that folder."""
    path = Path(path)
    return path if path.suffix == ".safetensors" else path / MODEL_FILE


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(".")


def init_from_checkpoint(model: AcousticModel, path: str | Path, layers: Sequence[int] | None = None) -> None:
    """Copy weights and normalisation of the model at `path` into `model`, to train on from there.

    layers: of the model at `path`, which of its layers each layer of `model` begins as: 0 2 4 makes a student of three
    layers from every other one of a teacher (DistilBERT, arXiv 1910.01108, section 3); all but the number of layers
    must be alike. What looks ahead is shared out among layers by their number and is taken over where shapes fit.
    ValueError names what differs when the two are not made alike, and layers that do not exist or do not fit.
    """
    other = load_model(path)
    free = {"dropout", "weight_dtype"}  # matters of training and of storage
    if layers is not None:
        free |= {"num_layers", "lookahead"}
    ours, theirs = ({k: v for k, v in to_dict(m.config).items() if k not in free} for m in (model, other))
    for what, same in (
        ("architecture", ours == theirs),
        ("inventory", other.inventory == model.inventory),
        ("front end", other.frontend == model.frontend),
    ):
        if not same:
            raise ValueError(
                f"{path}: its {what} differs from this run's ({other.config} over "
                f"{other.inventory.num_classes} classes; here {model.config} over {model.inventory.num_classes}). "
                "Initialise from a model of the same architecture, or without --init."
            )
    model.load_state_dict(other.state_dict() if layers is None else _select_layers(model, other, layers, path))


def _select_layers(
    model: AcousticModel, other: AcousticModel, layers: Sequence[int], path: str | Path
) -> dict[str, torch.Tensor]:
    """A state for `model` with these layers of the other."""
    asked, there = f"--init-from-layers {' '.join(map(str, layers))}", other.config.num_layers
    if len(layers) != model.config.num_layers:
        raise ValueError(
            f"{asked}: these are {len(layers)} layers of {path}, this model has {model.config.num_layers}. "
            "Name one for each, or set model.num_layers to their number."
        )
    if not 0 <= min(layers) <= max(layers) < there:
        raise ValueError(f"{asked}: {path} has layers 0 to {there - 1}. Name some of those.")
    theirs, picked = other.state_dict(), {}
    for name, value in model.state_dict().items():
        of_layer = _OF_LAYER.fullmatch(name)
        source = f"{of_layer[1]}{layers[int(of_layer[2])]}{of_layer[3]}" if of_layer else name
        found = theirs.get(source)
        if found is not None and found.shape == value.shape:
            picked[name] = found
        elif name.startswith("encoder.lookaheads."):
            picked[name] = value
        else:
            raise ValueError(
                f"{asked}: {source} of {path} is {'absent' if found is None else tuple(found.shape)}, {name} of this "
                f"model {tuple(value.shape)}. Begin each layer as one with the same number of inputs and outputs."
            )
    return picked
