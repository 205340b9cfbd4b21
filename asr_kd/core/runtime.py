"""The machine a verb runs on: device, precision, threads, seeds."""

import os
import random
import re
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch


def device(name: str = "auto") -> torch.device:
    """`auto` is the first GPU if there is one, else the CPU. ValueError when a named GPU is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d{1,3})?", name):
        raise ValueError(f"--device {name}: not a device. Give auto, cpu, cuda or cuda:1.")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"--device {name}: no CUDA device is visible. Use --device cpu.")
    found = torch.device(name)
    if found.index is not None and found.index >= torch.cuda.device_count():
        raise ValueError(f"--device {name}: {torch.cuda.device_count()} CUDA devices are visible, from cuda:0 on.")
    return found


def device_name(on: torch.device) -> str:
    """What the device is called: the GPU's name, or that of the processor."""
    if on.type == "cuda":
        return torch.cuda.get_device_name(on)
    try:
        with open("/proc/cpuinfo") as f:
            lines = [line.partition(":")[2].strip() for line in f if line.startswith("model name")]
    except OSError:
        lines = []
    return lines[0] if lines else on.type


def has_fast_bf16(on: torch.device) -> bool:
    """Whether bfloat16 matrix products beat float32 there: Ampere and later, or CPUs with AMX or AVX512-BF16.

    Elsewhere PyTorch emulates bfloat16 (measured on an AVX512 CPU without it: 52 against 226 GFLOP/s).
    """
    if on.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "amx_bf16" in flags or "avx512_bf16" in flags


def has_bf16(on: torch.device) -> bool:
    """Whether all layers run in bfloat16 there. oneDNN has no bfloat16 LSTM for processors without AVX512."""
    return on.type != "cpu" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def resolve_precision(on: torch.device, precision: str = "auto") -> str:
    """`bf16`, `float32` or `int8`: what a forward pass is made in. `auto` is bf16 where it is fast."""
    if precision not in ("auto", "bf16", "float32", "int8"):
        raise ValueError(f"precision is {precision}; it must be auto, bf16, float32 or int8")
    if precision == "auto":
        return "bf16" if has_fast_bf16(on) else "float32"
    if precision == "bf16" and not has_bf16(on):
        raise ValueError("precision is bf16, which this processor has no kernels for. Use float32, or auto.")
    return precision


def training_precision(on: torch.device, precision: str) -> str:
    """`auto` for training: bf16 on GPUs that have it; float32 on CPUs, where oneDNN trains LSTMs in float32 only."""
    return "float32" if precision == "auto" and on.type == "cpu" else precision


def autocast(on: torch.device, precision: str = "auto") -> AbstractContextManager[Any]:
    """Context for forward passes: `bf16`, `auto` = bf16 where it is fast, or another, which needs none."""
    if resolve_precision(on, precision) == "bf16":
        return torch.autocast(on.type, dtype=torch.bfloat16)
    return nullcontext()


def set_threads(n: int | None) -> int:
    """Threads of one operation; None keeps OMP_NUM_THREADS or the number of cores. Returns the number in force."""
    if n is not None:
        if n < 1:
            raise ValueError(f"--threads {n}: at least one thread is needed")
        torch.set_num_threads(n)
    return torch.get_num_threads()


def synchronise(on: torch.device) -> None:
    """Wait until the device has done all that was asked."""
    if on.type == "cuda":
        torch.cuda.synchronize(on)


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and PyTorch, and ask PyTorch for deterministic kernels where it has them."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
