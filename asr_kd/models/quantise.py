"""A trained model's matrices are rounded as they are, a row of each at a time; nothing is trained. The file shrinks
to little more than a quarter and is a model like any other: tune, decode, label and score take it.

What rounding costs in accuracy, training gets back: give the original as --init and let the student train rounded.
What that writes has weights of eight bits already.

  asr-kd quantise exp/student --out exp/student_int8
  asr-kd distill ... --init exp/student --set model.preset=student-tiny model.weight_dtype=int8
"""

import argparse
from dataclasses import replace
from pathlib import Path

from asr_kd.core.terminal import say
from asr_kd.models.acoustic import AcousticModel, build_model
from asr_kd.models.checkpoint import load_model, model_file, model_fingerprint, read_description, save_model
from asr_kd.models.size import model_size

MEGABYTE = 1e6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `asr-kd quantise`."""
    parser.add_argument("model", type=Path, help="the model: its folder or its .safetensors file")
    parser.add_argument("--out", type=Path, required=True, help="folder, or .safetensors file, for the rounded one")


def run(args: argparse.Namespace) -> int:
    """The verb."""
    if model_file(args.model).resolve() == model_file(args.out).resolve():
        raise ValueError(f"--out {args.out}: is the model itself, whose weights would be lost. Give another folder.")
    notes = read_description(args.model)["notes"] | {"quantised_from": model_fingerprint(args.model)}
    model = load_model(args.model)
    try:
        save_model(args.out, quantised(model), notes)
    except ValueError as e:
        raise ValueError(f"{args.model}: {e}") from None
    before, after = model_size(args.model), model_size(args.out)
    say(
        f"{args.out}: {after.parameters / 1e6:.2f}M parameters, {before.bytes / MEGABYTE:.2f} -> "
        f"{after.bytes / MEGABYTE:.2f} MB",
    )
    return 0


def quantised(model: AcousticModel) -> AcousticModel:
    """The same model with `weights: int8`, in evaluation mode. ValueError when it has them already."""
    if model.config.weight_dtype == "int8":
        raise ValueError("has weights of eight bits already. Use it as it is.")
    rounded = build_model(replace(model.config, weight_dtype="int8"), model.inventory, model.frontend)
    rounded.load_state_dict(model.state_dict())
    return rounded.eval()
