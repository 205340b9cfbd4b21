"""A teacher's soft targets, read back from its sidecars for training."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asr_kd.core.storage import PathOrUrl, parallel_map
from asr_kd.inventory.inventory import Inventory
from asr_kd.shards.reader import open_shard
from asr_kd.targets.codec import EncodedRows, ProbabilityQuantiser, check_format
from asr_kd.targets.frame_targets import FrameTargets, SidecarTargets
from asr_kd.targets.sidecar import read_description, sidecar_path
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

    def check(self, shards: Sequence[PathOrUrl]) -> str:
        """Check the descriptions of all shards' sidecars before work begins; no rows are read.

        Returns the fingerprint of the teacher that made them. ValueError names both sides when one was made of or for
        something else, or by another teacher than the others.
        """
        teacher = self.teacher
        paths = [sidecar_path(self.folder, tar) for tar in shards]
        descriptions = parallel_map(read_description, paths, isinstance(self.folder, str))
        for tar, path, description in zip(shards, paths, descriptions, strict=True):
            self._check_belongs(path, description, tar)
            self._check_made(path, description, teacher)
            teacher = description["teacher"]
            self.describe(description["shard"], description)
        assert teacher is not None
        return teacher

    def _check_belongs(self, path: PathOrUrl, description: dict[str, Any], tar: PathOrUrl) -> None:
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
        digest = open_shard(tar).digest
        if description["shard"] != digest:
            raise ValueError(
                f"{path}: made from a tar with digest {description['shard'][:12]}…, {tar} has {digest[:12]}… . "
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
