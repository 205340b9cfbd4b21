"""Networks that come with a package of Python as ONNX files: found and opened without the package's code."""

import importlib.metadata
import importlib.util
from pathlib import Path
from typing import Any


def packaged_file(package: str, name: str) -> Path | None:
    """The file of an installed package, None without it or without onnxruntime, which runs it."""
    if importlib.util.find_spec("onnxruntime") is None:
        return None
    try:
        found = Path(str(importlib.metadata.distribution(package).locate_file(name)))
    except importlib.metadata.PackageNotFoundError:
        return None
    return found if found.is_file() else None


def open_network(path: Path) -> Any:
    """An onnxruntime session on one thread of the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
