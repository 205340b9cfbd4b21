"""The ceilings of the machine, measured: a large matrix product, a large copy; and its name."""

from typing import Any

import torch

from asr_kd.bench.gpu.sections import Report, Setup, seconds_of
from asr_kd.core.runtime import device_name

PRODUCT_SIZE = 8192
COPY_BYTES = 1 << 32


def machine(setup: Setup, report: Report) -> dict[str, Any]:
    """Rates of a matrix product (TFLOP/s) in each precision and of a copy (GB/s read plus written)."""
    on = setup.device
    size, copied = (256, 1 << 20) if setup.tiny else (PRODUCT_SIZE, COPY_BYTES)
    found: dict[str, Any] = {
        "name": device_name(on),
        "cores": setup.cores,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if on.type == "cuda" else None,
        "memory_gib": torch.cuda.get_device_properties(on).total_memory / 2**30 if on.type == "cuda" else None,
    }
    for name, dtype in (("bf16", torch.bfloat16), ("float32", torch.float32)):
        # Random values: on zeros a GPU draws less power and runs faster than on data.
        a_NN, b_NN = (torch.randn(size, size, device=on, dtype=dtype) for _ in range(2))
        seconds = seconds_of(on, lambda a=a_NN, b=b_NN: a @ b)  # type: ignore[misc]
        found[f"product_tflops_{name}"] = 2 * size**3 / seconds / 1e12
    source_N = torch.randint(255, (copied,), dtype=torch.uint8, device=on)
    target_N = torch.empty_like(source_N)
    found["copy_gb_per_s"] = 2 * copied / seconds_of(on, lambda: target_N.copy_(source_N)) / 1e9
    report.add(
        f"{found['name']}, {setup.cores} cores: matrix product {found['product_tflops_bf16']:.1f} TFLOP/s bf16, "
        f"{found['product_tflops_float32']:.1f} float32; copy {found['copy_gb_per_s']:.0f} GB/s"
    )
    return found
