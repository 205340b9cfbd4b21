"""Where a bundle's weights and description come from: a file that describes itself, a plain file of weights with a
description beside it, or torchaudio's public home.

  bundle:FILE.safetensors          what `save_bundle` wrote (tools/save_bundle.py)
  bundle:FILE                      a state dict (torch.save) or safetensors, and FILE.json: fields of `Wav2Vec2Config`;
                                   none is needed for a file under the name that it has in torchaudio's home
  bundle:WAV2VEC2_ASR_BASE_960H    a bundle of torchaudio.pipelines, fetched once to torch's cache (TORCH_HOME)
"""

import json
import pickle  # only for the name of the error that torch.load(weights_only=True) raises
from pathlib import Path
from typing import Any

import torch
import torchaudio.pipelines
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor
from torchaudio.pipelines import Wav2Vec2ASRBundle

from asr_kd import __version__
from asr_kd.core.config import load_config, to_dict
from asr_kd.core.files import atomic_path, read_json
from asr_kd.core.locations import BadLocation
from asr_kd.core.redirects import checked_redirects
from asr_kd.core.text_files import parse_json
from asr_kd.teachers.wav2vec2 import Wav2Vec2Config, Wav2Vec2Teacher

PREFIX = "bundle:"
KIND = "bundle"
VERSION = 1
HOME = "https://download.pytorch.org/torchaudio/models/"
_KEY = "asr_kd"


def public_bundles() -> dict[str, Wav2Vec2ASRBundle]:
    """torchaudio's ASR bundles by name."""
    named = {name: getattr(torchaudio.pipelines, name) for name in torchaudio.pipelines.__all__}
    return {name: bundle for name, bundle in named.items() if type(bundle) is Wav2Vec2ASRBundle}  # not its aligner


def load_bundle(name: str) -> Wav2Vec2Teacher:
    """The model that `bundle:NAME_OR_FILE` means, with its weights, on the CPU, in evaluation mode.

    ValueError names what is missing, damaged or does not fit, and the way out.
    """
    what = name.removeprefix(PREFIX)
    public = public_bundles()
    if Path(what).is_file():
        config, weights = _read(Path(what))
    elif what in public:
        config, weights = public_config(public[what]), _fetch(what, public[what])
    else:
        raise ValueError(f"{PREFIX}{what}: no such file, and no bundle of torchaudio. Those: {', '.join(public)}.")
    try:
        model = Wav2Vec2Teacher(config)
        model.network.load_state_dict(weights)
    except (RuntimeError, ValueError) as e:
        raise ValueError(f"{PREFIX}{what}: weights and description do not fit ({_reason(e)})") from None
    return model.eval()


def save_bundle(path: str | Path, model: Wav2Vec2Teacher, notes: dict[str, Any] | None = None) -> None:
    """Write a file that alone rebuilds the model, atomically. notes: JSON values on where it comes from."""
    description = {
        "kind": KIND,
        "version": VERSION,
        "bundle": to_dict(model.config),
        "notes": notes or {},
        "library": f"asr_kd {__version__}",
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.network.state_dict().items()}
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(tensors, metadata={_KEY: json.dumps(description, sort_keys=True)}))


def public_config(bundle: Wav2Vec2ASRBundle) -> Wav2Vec2Config:
    """The description of one of torchaudio's bundles."""
    plain = json.loads(json.dumps(bundle._params))
    return Wav2Vec2Config(plain, bundle.get_labels(), bundle._normalize_waveform)


def _read(path: Path) -> tuple[Wav2Vec2Config, dict[str, Tensor]]:
    """Description and weights of a file."""
    is_safe = path.suffix == ".safetensors"
    try:
        if is_safe:
            with safe_open(path, "pt") as f:
                metadata = f.metadata() or {}
            weights = load_file(path)
        else:
            metadata, weights = {}, torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, EOFError, RuntimeError, pickle.UnpicklingError) as e:
        raise ValueError(f"{path}: not a whole file of weights ({_reason(e)}). Fetch or save it again.") from None
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise ValueError(f"{path}: holds no state dict. Save the network's `state_dict()`.")
    beside = path.with_name(f"{path.name}.json")
    if _KEY in metadata:
        return _described(path, metadata[_KEY]), weights
    if beside.is_file():
        return _config(beside, read_json(beside)), weights
    for bundle in public_bundles().values():
        if path.name == bundle._path:
            return public_config(bundle), _trimmed(weights, bundle)
    raise ValueError(
        f"{path}: does not describe itself. Write {beside.name} beside it, with architecture, labels and "
        "normalise_waveform (teachers/wav2vec2.py: BundleConfig), or make a file with tools/save_bundle.py."
    )


def _described(path: Path, text: str) -> Wav2Vec2Config:
    try:
        description = parse_json(text, path)
        kind, version = description["kind"], description["version"]
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{path}: its description is damaged. Save it again (tools/save_bundle.py).") from None
    if (kind, version) != (KIND, VERSION):
        raise ValueError(
            f"{path}: holds a {kind} of version {version}; a {KIND} of version {VERSION} is needed here. "
            f"A model of asr_kd is given without {PREFIX}"
        )
    return _config(path, description.get("bundle"))


def _config(path: Path, data: Any) -> Wav2Vec2Config:
    if not isinstance(data, dict):
        raise ValueError(f"{path}: holds no object with architecture and labels")
    try:
        return load_config(Wav2Vec2Config, data)
    except (KeyError, TypeError, ValueError) as e:
        raise ValueError(f"{path}: {_reason(e)}") from None


def _fetch(name: str, bundle: Wav2Vec2ASRBundle) -> dict[str, Tensor]:
    url = f"{HOME}{bundle._path}"
    try:
        with checked_redirects():
            weights = torch.hub.load_state_dict_from_url(url, map_location="cpu", progress=False, weights_only=True)
    except (OSError, RuntimeError, BadLocation, pickle.UnpicklingError) as e:
        raise ValueError(
            f"{PREFIX}{name}: cannot be fetched from {url} ({_reason(e)}). "
            f"Where there is a network, get that file, then give --teacher {PREFIX}FOLDER/{bundle._path}."
        ) from None
    return _trimmed(weights, bundle)


def _trimmed(weights: dict[str, Tensor], bundle: Wav2Vec2ASRBundle) -> dict[str, Tensor]:
    """Without the outputs that fairseq's dictionaries have and nothing was trained on; torchaudio drops them too."""
    surplus = weights["aux.weight"].shape[0] - len(bundle.get_labels()) if "aux.weight" in weights else 0
    if surplus != len(bundle._remove_aux_axis):
        return weights
    trimmed = dict(weights)
    for name in ("aux.weight", "aux.bias"):
        kept = [row for row in range(len(weights[name])) if row not in bundle._remove_aux_axis]
        trimmed[name] = weights[name][kept]
    return trimmed


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(".")
