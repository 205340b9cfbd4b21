"""Models that `asr-kd export` wrote, run by onnxruntime: the plain form, whose windows of features overlap.

`OnnxModel` takes the place of an `AcousticModel` wherever one is only run.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from asr_kd.core.config import load_config
from asr_kd.core.extras import how_to_install
from asr_kd.core.text_files import parse_json
from asr_kd.frontend.fbank import FrontEndConfig
from asr_kd.inventory.registry import inventory_from_dict

KIND = "asr_kd exported model"
VERSION = 1
KEY = "asr_kd"
"""Of the metadata that describes the model."""
MODEL_FILE = "model.onnx"
INT8_FILE = "model.int8.onnx"
GRAPH_FOLDER = "graph"
SCALES_FILE = "tune.json"
"""Beside the model."""
_FEATURES, _FRAMES = "features", "frames"


def is_onnx(path: str | Path) -> bool:
    """Whether this names an exported model: an .onnx file, or a folder with `model.onnx`."""
    return Path(path).suffix == ".onnx" or (Path(path) / MODEL_FILE).is_file()


def onnx_file(path: str | Path) -> Path:
    """The file itself."""
    return Path(path) if Path(path).suffix == ".onnx" else Path(path) / MODEL_FILE


def packed_with(
    models: Sequence[str | Path], graph: str | Path | None, scales: str | Path | None
) -> tuple[str | Path | None, str | Path | None]:
    """The graph and the scales to decode with: those given, else those in the folder of a single exported model."""
    if len(models) == 1 and is_onnx(models[0]):
        folder = onnx_file(models[0]).parent
        packed_graph, packed_scales = folder / GRAPH_FOLDER, folder / SCALES_FILE
        if graph is None and packed_graph.is_dir():
            graph = packed_graph
        if scales is None and packed_scales.is_file():
            scales = packed_scales
    return graph, scales


def onnx_fingerprint(path: str | Path) -> str:
    """SHA-256 of the file, 64 hex digits."""
    return hashlib.sha256(onnx_file(path).read_bytes()).hexdigest()


class OnnxModel(nn.Module):
    """A streaming model in onnxruntime, on the CPU. It gives log-posteriors where an `AcousticModel` gives logits.

    An nn.Module without parameters: whatever device it is moved to, it computes on the CPU and answers where asked.
    """

    log_prior_C: Tensor

    def __init__(self, path: str | Path) -> None:
        """ValueError when the file is missing, damaged, or was not written by `asr-kd export`."""
        super().__init__()
        ort = _onnxruntime(path)
        file = onnx_file(path)
        if not file.is_file():
            raise ValueError(f"{file}: no such file. `asr-kd export` makes one.")
        options = ort.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        try:
            # Bytes, not the path: a model must not read weights from other files.
            self._session = ort.InferenceSession(file.read_bytes(), options, providers=["CPUExecutionProvider"])
        except Exception as e:  # onnxruntime's errors have no common class but this
            raise ValueError(f"{file}: onnxruntime cannot read it ({_reason(e)}). Export the model again.") from None
        description = _description(self._session.get_modelmeta().custom_metadata_map, file)
        try:
            self._describe(description)
        except (KeyError, TypeError, ValueError) as e:
            raise ValueError(f"{file}: its description is damaged ({_reason(e)}). Export the model again.") from None

    def _describe(self, description: dict[str, Any]) -> None:
        self.inventory = inventory_from_dict(description["inventory"])
        self.frontend = replace(load_config(FrontEndConfig, description["frontend"]), cmn="none")
        """Makes the network's input: the mean is taken off inside."""
        self.register_buffer("log_prior_C", torch.tensor(description["log_prior"], dtype=torch.float32))
        self.chunk = int(description["chunk"])
        """Frames that are answered at a time."""
        self.lookahead = int(description["lookahead"])
        self.parameter_count = int(description["parameters"])
        shapes = {i.name: i.shape for i in self._session.get_inputs()}
        window = (self.chunk + self.lookahead) * self.frontend.frame_stacking
        if shapes[_FEATURES][1:] != [window, self.frontend.mel_bins] or _FRAMES not in shapes:
            raise ValueError("the network's inputs are others")
        if len(self.log_prior_C) != self.inventory.num_classes:
            raise ValueError("it has not one prior for each class")

    def forward(self, x_BTF: Tensor, frames_B: Tensor) -> Tensor:
        """Log-posteriors (B, T, C), natural log; frames behind the end are undefined.

        x_BTF: output of `frontend`, stacked and without a mean taken off.
        """
        run, steps = WindowRun(self, len(x_BTF)), x_BTF.shape[1]
        x_NTF, frames_N = x_BTF.cpu().float().numpy(), frames_B.cpu().numpy()
        found = [
            run.step(x_NTF[:, start : start + run.window], frames_N - start) for start in range(0, steps, self.chunk)
        ]
        return torch.from_numpy(np.concatenate(found, axis=1)[:, :steps]).to(x_BTF.device)


class WindowRun:
    """Streams of one batch at the same place, window after window."""

    def __init__(self, model: OnnxModel, batch: int = 1) -> None:
        self._session, self._bins = model._session, model.frontend.mel_bins
        self.window = model.chunk + model.lookahead
        """Frames of a window."""
        inputs = self._session.get_inputs()
        self._states = {
            i.name: np.zeros(
                [batch if isinstance(n, str) else n for n in i.shape], np.int64 if "int64" in i.type else np.float32
            )
            for i in inputs
            if i.name not in (_FEATURES, _FRAMES)
        }

    def step(self, x_NTF: np.ndarray, frames_N: np.ndarray) -> np.ndarray:
        """Log-posteriors (N, chunk, C) of the window's first frames.

        x_NTF: stacked frames, as many as a window, or fewer at the end.  frames_N: how many of them are real.
        """
        missing = self.window - x_NTF.shape[1]
        if missing:
            x_NTF = np.pad(x_NTF, ((0, 0), (0, missing), (0, 0)))
        fed = {
            _FEATURES: np.ascontiguousarray(x_NTF.reshape(len(x_NTF), -1, self._bins)),
            _FRAMES: frames_N.clip(0, self.window).astype(np.int64),
        }
        log_p_NTC, *states = self._session.run(None, fed | self._states)
        self._states = dict(zip(self._states, states, strict=True))
        return log_p_NTC


class OnnxStream:
    """One stream, a `FrameStream`."""

    def __init__(self, model: OnnxModel) -> None:
        self._run, self._chunk = WindowRun(model), model.chunk
        self._x_TF = np.zeros((0, model.frontend.mel_bins * model.frontend.frame_stacking), np.float32)
        self._classes = model.inventory.num_classes

    @property
    def wanted(self) -> int:
        """As in `FrameStream`: the rest of a window."""
        return self._run.window - len(self._x_TF)

    def accept(self, x_TF: Tensor) -> Tensor:
        """As in `FrameStream`."""
        self._x_TF = np.concatenate([self._x_TF, x_TF.numpy()])
        found = []
        while len(self._x_TF) >= self._run.window:
            found.append(self._next(self._run.window))
        return self._together(found)

    def finish(self) -> Tensor:
        """As in `FrameStream`."""
        found, left = [], len(self._x_TF)
        while len(self._x_TF):
            found.append(self._next(len(self._x_TF)))
        return self._together(found)[:left]

    def _next(self, frames: int) -> np.ndarray:
        (log_p_TC,) = self._run.step(self._x_TF[None, : self._run.window], np.array([frames]))
        self._x_TF = self._x_TF[self._chunk :]
        return log_p_TC

    def _together(self, found: list[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.concatenate(found)) if found else torch.zeros(0, self._classes)


def _onnxruntime(path: str | Path) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise ValueError(f"{path}: to run it, onnxruntime is needed. {how_to_install('onnx')}") from None
    return onnxruntime


def _description(metadata: dict[str, str], file: Path) -> dict[str, Any]:
    try:
        description = parse_json(metadata[KEY], file)
        kind, version = description["kind"], description["version"]
    except (KeyError, ValueError, TypeError):
        raise ValueError(
            f"{file}: has no description of asr_kd, so its inputs are not known. Give a folder or file of "
            "`asr-kd export` (not the form for sherpa-onnx)."
        ) from None
    if kind != KIND or version != VERSION:
        raise ValueError(
            f"{file}: holds {kind!s:.40} {version!s:.20}, this asr_kd runs {KIND} {VERSION}. Export again."
        )
    return description


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(".")
