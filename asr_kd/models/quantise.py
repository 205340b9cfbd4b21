"""Post-training quantisation: the weight matrices of a trained model are rounded to int8 with a scale per row. The file
shrinks to little more than a quarter. `tune`, `decode` and `label` take it like any other model.

Quantisation-aware training, the second example, recovers accuracy: start from the original with --init and set
model.weight_dtype=int8. The model that it writes is int8 already.

  asr-kd quantise exp/student --out exp/student_int8
  asr-kd distill ... --init exp/student --set model.preset=student-tiny model.weight_dtype=int8
"""

from dataclasses import dataclass, replace
from pathlib import Path

from asr_kd.core.commands import command
from asr_kd.core.options import argument, option
from asr_kd.core.terminal import say
from asr_kd.models.acoustic import AcousticModel, build_model
from asr_kd.models.checkpoint import load_model, model_file, model_fingerprint, read_description, save_model
from asr_kd.models.size import model_size

MEGABYTE = 1e6


@dataclass(frozen=True, kw_only=True)
class QuantiseRun:
    """What `asr-kd quantise` is given."""

    model: Path = argument("a model's folder or .safetensors file")
    out: Path = option("output folder, or .safetensors file: the quantised model")


@command(is_file=lambda config: config.out.suffix == ".safetensors")
def quantise(config: QuantiseRun) -> None:
    """Write the model with weights of eight bits."""
    if model_file(config.model).resolve() == model_file(config.out).resolve():
        raise ValueError(f"--out {config.out}: is the model itself, whose weights would be lost. Give another folder.")
    notes = read_description(config.model)["notes"] | {"quantised_from": model_fingerprint(config.model)}
    model = load_model(config.model)
    try:
        save_model(config.out, quantised(model), notes)
    except ValueError as e:
        raise ValueError(f"{config.model}: {e}") from None
    before, after = model_size(config.model), model_size(config.out)
    say(
        f"{config.out}: {after.parameters / 1e6:.2f}M parameters, {before.bytes / MEGABYTE:.2f} -> "
        f"{after.bytes / MEGABYTE:.2f} MB",
    )


def quantised(model: AcousticModel) -> AcousticModel:
    """The same model with `weights: int8`, in evaluation mode. ValueError when it has them already."""
    if model.config.weight_dtype == "int8":
        raise ValueError("has weights of eight bits already. Use it as it is.")
    rounded = build_model(replace(model.config, weight_dtype="int8"), model.inventory, model.frontend)
    rounded.load_state_dict(model.state_dict())
    return rounded.eval()
