"""A teacher's soft targets, read back from its sidecars for training."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asr_kd.core.storage import PathOrUrl, parallel_map
from asr_kd.inventory.inventory import Inventory
from asr_kd.shards.catalogue import Catalogue
from asr_kd.shards.reader import ShardKey
from asr_kd.targets.codec import EncodedRows, ProbabilityQuantiser, check_format
from asr_kd.targets.frame_targets import FrameTargets, SidecarTargets
from asr_kd.targets.sidecar import read_description, sidecar_path, sidecars_in
from asr_kd.targets.sidecar_kinds import KIND, check_teacher


class SoftTargets(SidecarTargets):
    """Posteriors from `asr-kd label`. Each frame's kept classes and tail sum to 1: quantisation errors are scaled out.

    teacher: the fingerprint that the sidecars must name; None takes any.  hard: the arg-max with probability 1.
    k: keep only the k likeliest of what was stored, the rest joins the tail.
    """

    def __init__(
        self,
        folder: str | Path,
        inventory: Inventory,
        teacher: str | None = None,
        hard: bool = False,
        k: int | None = None,
    ) -> None:
        super().__init__(folder)
        if k is not None and k < 1:
            raise ValueError(f"targets: k is {k}; at least one class of a frame is needed")
        self.inventory, self.teacher, self.hard, self.k = inventory, teacher, hard, k

    def expect(self) -> dict[str, Any]:
        """Posteriors over the same inventory."""
        return {"kind": KIND, "inventory": self.inventory.fingerprint}

    def check(self, shards: Catalogue) -> str:
        """Check before work begins that each shard has a sidecar, and the descriptions of those of `spread`.

        Returns the fingerprint of the teacher that made them. ValueError names both sides when one was made of or for
        something else, or by another teacher than the others.
        """
        there = sidecars_in(self.folder)
        missing = [] if there is None else [name for _, name in shards.stems() if name not in there]
        if missing:
            others = f" ({len(missing)} of {len(shards)} shards have none)" if len(missing) > 1 else ""
            first = sidecar_path(self.folder, f"{missing[0]}.tar")
            raise ValueError(f"{first}: no such sidecar{others}. Was this shard labelled (or aligned)?")
        keys = [shards.key(number) for number in shards.spread()]
        paths = [sidecar_path(self.folder, key) for key in keys]
        descriptions = parallel_map(read_description, paths, isinstance(self.folder, str))
        for key, path, description in zip(keys, paths, descriptions, strict=True):
            self._check_belongs(path, description, key)
            self._check_made(path, description, self.teacher)
            self.teacher = description["teacher"]  # all others must have it too
            self.describe(description["shard"], description)
        assert self.teacher is not None
        return self.teacher

    def _check_belongs(self, path: PathOrUrl, description: dict[str, Any], shard: ShardKey) -> None:
        if description["kind"] != KIND:
            raise ValueError(
                f"{path}: holds {description['kind']}, not {KIND}. Give the folder of `asr-kd label --out`."
            )
        if description["inventory"] != self.inventory.fingerprint:
            raise ValueError(
                f"{path}: posteriors over inventory {description['inventory'][:12]}…, the alignments are over "
                f"{self.inventory.fingerprint[:12]}… . Teacher and alignments must share one inventory: "
                "label again with a teacher of these alignments, or give the alignments that it was trained on."
            )
        if description["shard"] != shard.digest:
            raise ValueError(
                f"{path}: made from a tar with digest {description['shard'][:12]}…, "
                f"{shard.path} has {shard.digest[:12]}… . "
                "Label that tar again, or give the shards that were labelled."
            )

    def _check_made(self, path: PathOrUrl, description: dict[str, Any], teacher: str | None) -> None:
        check_format(path, description)
        if teacher is not None:
            check_teacher(path, description, teacher)
        selection = description["selection"]
        stored = selection.get("top_k", selection.get("k"))  # k: asr_kd 0.2
        if self.k is not None and self.k > stored:
            raise ValueError(
                f"{path}: holds {stored} classes a frame, {self.k} are asked for. "
                f"Lower k, or label again with `asr-kd label --top-k {self.k}`."
            )

    def rows(self, path: PathOrUrl, table: Any, description: dict[str, Any]) -> "Sequence[FrameTargets | None]":
        """Check format, teacher and selection. ValueError when they are not what this run distils from, or damaged."""
        self._check_made(path, description, self.teacher)
        try:
            encoded = EncodedRows(table, ProbabilityQuantiser.of(description), self.k, self.inventory.num_classes)
        except ValueError as e:
            raise ValueError(f"{path}: {e}. Remove it and label its shard again.") from None
        return HardRows(encoded) if self.hard else encoded


class HardRows(Sequence[FrameTargets | None]):
    """The arg-max of soft rows, with probability 1."""

    def __init__(self, soft: EncodedRows) -> None:
        self._soft = soft

    def __len__(self) -> int:
        return len(self._soft)

    def __getitem__(self, row: Any) -> Any:
        targets = self._soft[row]
        return None if targets is None else FrameTargets.hard(targets.ids_TK[:, 0])
