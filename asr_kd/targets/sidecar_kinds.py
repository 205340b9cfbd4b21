"""What the sidecars of labelling say of themselves: soft targets, and transcripts."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from asr_kd.core.config import to_dict
from asr_kd.inventory.inventory import Inventory
from asr_kd.shards.reader import Shard
from asr_kd.targets.codec import FORMAT, ProbabilityQuantiser, check_format
from asr_kd.targets.topk import SelectionConfig

KIND = "posteriors"
TRANSCRIPTS_KIND = "transcripts"
TRANSCRIPTS_FORMAT = 1
"""Version of the columns of transcripts."""


def describe(
    teacher: str,
    inventory: Inventory,
    selection: SelectionConfig,
    quantiser: ProbabilityQuantiser,
    frame_shift_s: float,
    precision: str,
    lattices: dict[str, Any] | None = None,
    mapping: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """What the description of every sidecar of a job says.

    teacher: its fingerprint.  inventory, frame_shift_s: of the targets.  precision: of the forward pass.
    mapping: how the targets came from the teacher's own inventory; None where that is theirs.
    """
    return {
        "kind": KIND,
        "format": FORMAT,
        "inventory": inventory.fingerprint,
        "teacher": teacher,
        "selection": to_dict(selection),
        "quantisation": quantiser.describe(),
        "frame_shift_s": frame_shift_s,
        "precision": precision,
        "lattices": lattices,
        "mapping": mapping,
    }


def check_kind(path: str | Path, description: dict[str, Any]) -> None:
    """ValueError when the sidecar at `path` was not made by labelling, or in another format than this code reads."""
    kind = description.get("kind")
    if kind == KIND:
        check_format(path, description)
    elif kind != TRANSCRIPTS_KIND:
        raise ValueError(f"{path}: holds {kind}, not {KIND} or {TRANSCRIPTS_KIND}. Give what `asr-kd label` wrote.")
    elif description.get("format") != TRANSCRIPTS_FORMAT:
        raise ValueError(
            f"{path}: transcripts in format {description.get('format')}, this asr_kd reads {TRANSCRIPTS_FORMAT}. "
            "Remove it and run `asr-kd label` again."
        )


def check_teacher(path: str | Path, description: dict[str, Any], teacher: str) -> None:
    """ValueError when the sidecar at `path` was made by another teacher."""
    made_by = str(description.get("teacher"))
    if made_by != teacher:
        raise ValueError(
            f"{path}: made by teacher {made_by[:12]}…, this run distils from {teacher[:12]}… . "
            "Label again with `asr-kd label --teacher` that teacher, or point --targets at that teacher's folder."
        )


def statistics(table: pa.Table, shard: Shard) -> dict[str, Any]:
    """What a finished table holds, for its description: so that a report reads no rows."""
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
