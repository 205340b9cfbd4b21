"""Does the device compute what float64 on a CPU computes: posteriors, losses and gradients, on fresh random inputs?"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from asr_kd.bench.gpu.sections import Report, Setup, relative_error
from asr_kd.bench.synthetic import random_teacher
from asr_kd.core.runtime import autocast
from asr_kd.models.acoustic import AcousticModel
from asr_kd.train.ctc import ctc_loss
from asr_kd.train.loss_sum import LossSum
from asr_kd.train.losses import LossConfig, frame_losses

TOLERANCES = {"float32": 2e-3, "bf16": 4e-2}
"""Relative errors of norms. float32: cuDNN's LSTM multiplies in TF32 (about 3e-4 a product) unless told not to."""
MODELS = ("teacher-tiny", "student-tiny", "student-conformer", "student-paper")
FRAMES = (61, 40, 17, 5)


def agreement(setup: Setup, report: Report) -> dict[str, Any]:
    """Relative errors of logits, losses and gradients of each model and precision; those above tolerance are wrong."""
    found: dict[str, Any] = {}
    for preset in MODELS[:2] if setup.tiny else MODELS:
        model = random_teacher(preset, 41).eval()  # without dropout, which draws other numbers on other devices
        inputs = _inputs(model)
        reference = _computed(copy.deepcopy(model).double(), inputs, torch.device("cpu"), "float32", torch.float64)
        for precision in setup.precisions:
            found[f"{preset} {precision}"] = errors = {
                name: relative_error(value, reference[name])
                for name, value in _computed(copy.deepcopy(model), inputs, setup.device, precision).items()
            }
            worst = max(errors, key=lambda name: errors[name] if errors[name] == errors[name] else float("inf"))
            good = all(error <= TOLERANCES[precision] for error in errors.values())
            if not good:
                report.wrong.append(f"{preset} {precision}: {worst} differs by {errors[worst]:.1e}")
            report.add(
                f"agreement {preset:17} {precision:8} worst {worst} {errors[worst]:.1e} "
                f"(at most {TOLERANCES[precision]:.0e}) {'ok' if good else 'WRONG'}"
            )
    return found


def _inputs(model: AcousticModel) -> dict[str, Tensor]:
    """A random batch with frame targets of 5 classes and a residual, and with tokens."""
    frames_B = torch.tensor(FRAMES)
    batch, steps, classes = len(FRAMES), max(FRAMES), model.inventory.num_classes
    inside_BT = torch.arange(steps) < frames_B[:, None]
    width = model.feature_mean_F.shape[0]
    x_BTF = torch.randn(batch, steps, width) * inside_BT[..., None]
    top_p_BTK, ids_BTK = torch.randn(batch, steps, classes).mul(3).softmax(-1).topk(5)
    log_tail_BT = (1 - top_p_BTK.sum(-1)).clamp(min=1e-6).log()
    return {
        "x_BTF": x_BTF,
        "frames_B": frames_B,
        "ids_BTK": torch.where(inside_BT[..., None], ids_BTK, -1),
        "log_p_BTK": top_p_BTK.log().masked_fill(~inside_BT[..., None], -torch.inf),
        "log_tail_BT": log_tail_BT.masked_fill(~inside_BT, -torch.inf),
        "tokens_BU": torch.tensor([[1, 2, 2, 3], [4, 5, -1, -1], [6, 7, -1, -1], [8, -1, -1, -1]]),
        "inside_BT": inside_BT,
    }


def _computed(
    model: AcousticModel,
    inputs: dict[str, Tensor],
    on: torch.device,
    precision: str,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Tensor]:
    """Posteriors, and the frame loss and CTC with their gradients at all weights as one vector each."""
    model.to(on)
    given = {k: v.to(on, dtype if v.is_floating_point() else v.dtype) for k, v in inputs.items()}
    found: dict[str, Tensor] = {}
    targets = given["ids_BTK"], given["log_p_BTK"], given["log_tail_BT"]
    losses: dict[str, Callable[[Tensor], Tensor]] = {
        "kl": lambda logits_BTC: (
            LossSum.over(frame_losses(logits_BTC, *targets, LossConfig()), given["inside_BT"]).mean
        ),
        "ctc": lambda logits_BTC: ctc_loss(logits_BTC, given["frames_B"], given["tokens_BU"]).mean,
    }
    for name, loss_of in losses.items():
        with autocast(on, precision), torch.backends.cudnn.flags(enabled=True, allow_tf32=True):
            # cuDNN's LSTM only has a backward pass in training mode.
            logits_BTC = _without_dropout(model)(given["x_BTF"], given["frames_B"])
            loss = loss_of(logits_BTC)
        parts = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
        found["posteriors"] = logits_BTC.to(torch.float64).log_softmax(-1)[given["inside_BT"]]
        found[f"{name} loss"] = loss
        found[f"{name} gradient"] = torch.cat([part.double().flatten() for part in parts if part is not None])
    return found


def _without_dropout(model: AcousticModel) -> AcousticModel:
    for module in model.train().modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model
