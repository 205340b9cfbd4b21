"""Whether a run that goes on is the one that was begun: what identifies it, and the one comparison of it."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import asr_kd
from asr_kd.core.config import to_dict
from asr_kd.core.files import fingerprint
from asr_kd.core.ranks import Ranks
from asr_kd.data.sampler import BatchSampler
from asr_kd.evaluation.provenance import versions
from asr_kd.models.acoustic import AcousticModel
from asr_kd.train.config import TrainConfig
from asr_kd.train.objective import Objective

FREE_TO_CHANGE = ("checkpoint_every_minutes", "device", "num_workers", "max_skipped", "rank_timeout_minutes")
"""Of a TrainConfig: where a run is and how often it saves do not change what it computes."""


def identity(
    model: AcousticModel,
    config: TrainConfig,
    objective: Objective,
    plans: Iterable[BatchSampler],
    begun_with: Mapping[str, Any],
) -> dict[str, Any]:
    """Everything that must be the same for a run to go on, as JSON values.

    plans: of all its training sets.  begun_with: what its command was given besides, such as --init.
    """
    return {
        **begun_with,
        "model": to_dict(model.config),
        "inventory": model.inventory.fingerprint,
        "frontend": to_dict(model.frontend),
        "train": {key: value for key, value in to_dict(config).items() if key not in FREE_TO_CHANGE},
        **objective.resume_signature(),
        "sets": {plan.stream.name: plan.identity() for plan in plans},
    }


def check_same_run(path: Path, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """ValueError naming the first key of two identities that differs, and both values. path: where `then` was read."""
    begun, given = _flat(then), _flat(now)
    for key in begun | given:  # what the command was given comes first, before what follows from it
        if begun.get(key) != given.get(key):
            raise ValueError(
                f"{path}: this run was begun with {key} = {begun.get(key)}, here it is {given.get(key)}. "
                "Give the same to go on, another --out for another run, or --restart to begin this one anew."
            )


def check_same_ranks(ranks: Ranks, identity: Mapping[str, Any], model: AcousticModel) -> None:
    """ValueError naming what is not the same on all ranks, and both sides: code, data, options or first weights."""
    if ranks.world == 1:
        return
    ranks.check_same({f"version of {name}": version for name, version in versions(["torch", "numpy"]).items()})
    ranks.check_same(_source_digests())
    flat = {key: fingerprint([value]) if isinstance(value, list) else value for key, value in _flat(identity).items()}
    weights = [tensor.detach().cpu().numpy().tobytes() for tensor in model.state_dict().values()]
    ranks.check_same(flat | {"initial weights": hashlib.sha256(b"".join(weights)).hexdigest()})


def _source_digests() -> dict[str, str]:
    """Of every module of the library, by its path."""
    package = Path(asr_kd.__file__).parent
    modules = sorted(package.rglob("*.py"))
    return {str(path.relative_to(package.parent)): hashlib.sha256(path.read_bytes()).hexdigest() for path in modules}


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, keys joined by dots."""
    if not isinstance(value, Mapping):
        return {prefix: value}
    return {k: v for key, item in value.items() for k, v in _flat(item, f"{prefix}.{key}" if prefix else key).items()}
