"""The soft-target sidecars of a folder: what they say of themselves, and which of them are done."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from asr_kd.core.config import to_dict
from asr_kd.core.progress import SECONDS_PER_HOUR
from asr_kd.inventory.senones import Inventory
from asr_kd.label.encoding import FORMAT, Quantiser, check_format
from asr_kd.label.selection import SelectionConfig
from asr_kd.shards.reader import Shard
from asr_kd.shards.sidecar import read_description, sidecar_path

KIND = "posteriors"


def describe(
    shard: Shard,
    teacher: str,
    inventory: Inventory,
    selection: SelectionConfig,
    quantiser: Quantiser,
    frame_shift_s: float,
    precision: str,
) -> dict[str, Any]:
    """The description of a shard's sidecar. teacher: its fingerprint; precision: of the forward pass."""
    return {
        "kind": KIND,
        "format": FORMAT,
        "inventory": inventory.fingerprint,
        "teacher": teacher,
        "shard": shard.digest,
        "selection": to_dict(selection),
        "quantisation": quantiser.describe(),
        "frame_shift_s": frame_shift_s,
        "precision": precision,
    }


def check_teacher(path: Path, description: dict[str, Any], teacher: str) -> None:
    """ValueError when the sidecar at `path` was made by another teacher."""
    made_by = str(description.get("teacher"))
    if made_by != teacher:
        raise ValueError(
            f"{path}: made by teacher {made_by[:12]}…, this run distils from {teacher[:12]}… . "
            "Label again with `asr-kd label --teacher` that teacher, or point --targets at that teacher's folder."
        )


def is_labelled(path: Path, wanted: dict[str, Any]) -> bool:
    """Whether a sidecar with the description `wanted` is there already.

    A finished sidecar is always whole (its rename is the commit), so its description is all that is read.
    ValueError when there is one of another teacher, tar, selection, format or kind: nothing is overwritten.
    """
    if not path.exists():
        return False
    found = read_description(path)
    if found["kind"] == KIND:
        check_format(path, found)
    for key in ("kind", "teacher", "inventory", "selection", "quantisation", "lattices", "shard"):
        if found.get(key) != wanted.get(key):
            raise ValueError(
                f"{path}: is there already with {key} {_short(found.get(key))}, this run makes {key} "
                f"{_short(wanted.get(key))}. Choose another --out, or remove that file to label its shard again."
            )
    return True


def _short(value: Any) -> str:
    if isinstance(value, dict):
        value = dict(sorted(value.items()))
    return f"{value[:12]}…" if isinstance(value, str) and len(value) == 64 else str(value)


def statistics(table: pa.Table, shard: Shard) -> dict[str, Any]:
    """What a finished table holds, for its description: so that `summarise` reads no rows."""
    reasons = pc.drop_null(table.column("reason"))
    frames = pc.sum(table.column("frames")).as_py() or 0
    mass = pc.sum(pc.multiply(table.column("mass"), table.column("frames"))).as_py() or 0.0
    return {
        "seconds": shard.seconds,
        "frames": frames,
        "classes_kept": pc.sum(table.column("kept")).as_py() or 0,
        "mass_kept": round(mass / frames, 6) if frames else 0.0,
        "set_aside": len(reasons),
        "first_reason": reasons[0].as_py() if len(reasons) else None,
    }


def summarise(shards: Sequence[Path], folder: Path) -> str:
    """In a line or two: how many of the shards have a sidecar, their hours and bytes, and what was set aside."""
    totals: Counter[str] = Counter()
    reason, mass = None, 0.0
    for path in (sidecar_path(folder, tar) for tar in shards):
        if path.exists():
            description = read_description(path)
            if description["kind"] != KIND:
                raise ValueError(
                    f"{path}: holds {description['kind']}, not {KIND}. Give the folder of `asr-kd label --out`."
                )
            check_format(path, description)
            totals.update({key: description[key] for key in ("seconds", "frames", "classes_kept", "set_aside")})
            totals.update(shards=1, bytes=path.stat().st_size)
            mass += description["mass_kept"] * description["frames"]
            reason = reason or description["first_reason"]
    hours, frames = totals["seconds"] / SECONDS_PER_HOUR, totals["frames"]
    text = f"{totals['shards']} of {len(shards)} shards labelled in {folder}: {hours:.2f} h of audio"
    if frames:
        text += (
            f", {totals['classes_kept'] / frames:.1f} classes a frame that hold {100 * mass / frames:.2f}% "
            f"of the mass, {totals['bytes'] / hours / 1e6:.2f} MB per hour"
        )
    if reason:
        text += f"\n{totals['set_aside']} utterances set aside; the first: {reason}"
    return text
