"""How much arithmetic a forward pass is, and how much of it a GPU could do."""

from torch import nn

# Name as torch.cuda.get_device_name() gives it, in part -> dense TFLOP/s in (bf16, TF32), which cuDNN uses for float32
# unless it is told not to. From NVIDIA's data sheets; where they give figures "with sparsity", half of them.
# The first that fits counts.
PEAK_TFLOPS: tuple[tuple[str, float, float], ...] = (
    ("H100 PCIe", 756, 378),
    ("H100 NVL", 835.5, 417.5),
    ("H200 NVL", 835.5, 417.5),
    ("H100", 989.5, 494.5),
    ("H200", 989.5, 494.5),
    ("A100", 312, 156),
    ("L40S", 362, 183),
    ("L4", 121, 60),
    ("A10", 125, 62.5),
    ("RTX 4090", 165.2, 82.6),
)


def flops_per_frame(model: nn.Module) -> int:
    """Arithmetic of the forward pass for one frame: a product and a sum for each weight that is in a matrix.

    Holds for models that use each weight once a frame, as LSTMs and linear layers do; padding is not counted.
    """
    return 2 * sum(p.numel() for p in model.parameters() if p.dim() >= 2)


def peak_flops(device_name: str, precision: str) -> float | None:
    """FLOP/s of that GPU in `bf16` or `float32` by its maker's data sheet; None for one that is not in the table."""
    for name, bf16, tf32 in PEAK_TFLOPS:
        if name in device_name:
            return (bf16 if precision == "bf16" else tf32) * 1e12
    return None
