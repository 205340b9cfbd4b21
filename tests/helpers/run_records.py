"""What a training run has left, and whether another has left the same bits."""

import json
from pathlib import Path
from typing import Any

import torch


def record(out: Path) -> dict[str, Any]:
    """State and metrics without times, and the bytes of the kept models by their paths."""
    content = torch.load(out / "state.pt", weights_only=True)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return {
        "parts": content["parts"],
        "state": {key: value for key, value in content["state"].items() if "wall" not in key},
        "metrics": [{key: value for key, value in line.items() if "second" not in key} for line in lines],
        "models": {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*.safetensors"))},
    }


def first_difference(left: Any, right: Any, name: str = "") -> str | None:
    """The name of the first value, in nested dicts and lists, that has other bits on the other side."""
    if type(left) is not type(right):
        return name
    if isinstance(left, torch.Tensor):
        same = (left.dtype, left.shape) == (right.dtype, right.shape) and torch.equal(bits(left), bits(right))
        return None if same else name
    if isinstance(left, dict):
        if left.keys() != right.keys():
            return f"{name}: keys"
        pairs = [(key, left[key], right[key]) for key in left]
    elif isinstance(left, (list, tuple)):
        if len(left) != len(right):
            return f"{name}: length"
        pairs = [(number, *pair) for number, pair in enumerate(zip(left, right, strict=True))]
    else:
        return None if repr(left) == repr(right) else name
    return next((found for key, a, b in pairs if (found := first_difference(a, b, f"{name}/{key}"))), None)


def bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)
