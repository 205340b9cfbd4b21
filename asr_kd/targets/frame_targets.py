"""What a model should answer: one form for the hard and soft targets of frames, one for tokens without times."""

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from asr_kd.core.files import fingerprint
from asr_kd.core.storage import PathOrUrl, parse_path_or_url
from asr_kd.inventory.inventory import Inventory
from asr_kd.shards.reader import Shard, ShardKey
from asr_kd.targets.sidecar import read_description, read_sidecar, sidecar_path

ALIGNMENT_KIND = "alignment"
SHARDS_KEPT_OPEN = 4
"""Sidecars that a source keeps in memory; a batch plan works on a few shards at a time."""


@dataclass
class FrameTargets:
    """Targets of one utterance: for each of its T frames up to K classes with their log-probabilities."""

    ids_TK: np.ndarray
    """int32 class ids, -1 in an empty slot; the filled slots of a frame come first, the likeliest at the front."""
    log_p_TK: np.ndarray
    """float32 natural logs of the probabilities; -inf in an empty slot."""
    log_tail_T: np.ndarray
    """float32 natural log of the probability of all other classes together; -inf where nothing is left over."""

    @classmethod
    def hard(cls, states_T: np.ndarray) -> "FrameTargets":
        """One class per frame with probability 1."""
        ids_T1 = np.asarray(states_T, dtype=np.int32)[:, None]
        frames = len(ids_T1)
        return cls(ids_T1, np.zeros((frames, 1), np.float32), np.full(frames, -np.inf, np.float32))

    @property
    def frames(self) -> int:
        """T, the number of frames."""
        return self.ids_TK.shape[0]

    @property
    def k(self) -> int:
        """K, the number of slots of a frame."""
        return self.ids_TK.shape[1]


@dataclass
class TokenTargets:
    """Targets of one utterance whose times are not known: what its frames say, one after the other."""

    tokens_U: np.ndarray
    """int32 classes, none of them the blank."""

    @property
    def min_frames(self) -> int:
        """Frames that a path of these tokens needs: one each, and a blank between two that are the same."""
        return len(self.tokens_U) + int((self.tokens_U[1:] == self.tokens_U[:-1]).sum())


@dataclass(frozen=True)
class Targets:
    """All that is known of one utterance: its frames, its text, both or neither."""

    frames: FrameTargets | None = None
    tokens: TokenTargets | None = None

    @classmethod
    def of(cls, known: "FrameTargets | TokenTargets | Targets") -> "Targets":
        """A source that knows one of them gives it bare."""
        if isinstance(known, Targets):
            return known
        return cls(frames=known) if isinstance(known, FrameTargets) else cls(tokens=known)


class TargetSource(Protocol):
    """Whoever can say the targets of a shard's utterances, the same of each."""

    def load(self, shard: Shard) -> Sequence[FrameTargets | TokenTargets | Targets | None]:
        """One entry per row of the shard, in its order; None = this utterance is set aside."""
        ...

    def digest(self, shard: ShardKey) -> str:
        """Of what decides the targets of a shard; cheap: no rows are read. A run goes on with the same alone."""
        ...


class SidecarTargets(ABC):
    """Targets kept in a folder of sidecars, one per shard; the last few that were asked for stay in memory.

    A subclass says which descriptions it accepts (`expect`) and how to read a table (`rows`).
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = parse_path_or_url(folder)
        self._open: OrderedDict[str, Sequence[FrameTargets | None]] = OrderedDict()
        self._digests: dict[str, str] = {}
        """Of descriptions that were read, by shard."""

    @abstractmethod
    def expect(self) -> dict[str, Any]:
        """The keys and values that a sidecar's description must have."""

    @abstractmethod
    def rows(self, path: PathOrUrl, table: Any, description: dict[str, Any]) -> Sequence[FrameTargets | None]:
        """The targets in `table`; rows are decoded when they are asked for."""

    def digest(self, shard: ShardKey) -> str:
        """As TargetSource says: of the sidecar's description, which holds a digest of its rows."""
        if shard.digest not in self._digests:
            self.describe(shard.digest, read_description(sidecar_path(self.folder, shard)))
        return self._digests[shard.digest]

    def describe(self, shard: str, description: dict[str, Any]) -> None:
        """Note the description of the sidecar of the shard with that digest."""
        self._digests[shard] = fingerprint({k: v for k, v in description.items() if k != "library"})

    def load(self, shard: Shard) -> Sequence[FrameTargets | None]:
        """The targets of `shard`. ValueError when its sidecar is missing, broken, or made of or for something else."""
        if shard.digest in self._open:
            self._open.move_to_end(shard.digest)
            return self._open[shard.digest]
        path = sidecar_path(self.folder, shard)
        table, description = read_sidecar(path, shard, self.expect())
        rows = self.rows(path, table, description)
        while len(self._open) >= SHARDS_KEPT_OPEN:
            self._open.popitem(last=False)
        self._open[shard.digest] = rows
        return rows


class AlignmentTargets(SidecarTargets):
    """Hard targets: the state of each frame by forced alignment."""

    def __init__(self, folder: str | Path, inventory: Inventory) -> None:
        super().__init__(folder)
        self.inventory = inventory

    def expect(self) -> dict[str, Any]:
        """Alignments over the same inventory."""
        return {"kind": ALIGNMENT_KIND, "inventory": self.inventory.fingerprint}

    def rows(self, path: PathOrUrl, table: Any, description: dict[str, Any]) -> "AlignedRows":
        """Check that every state is a class of the inventory. ValueError when one is not."""
        states = table.column("states").combine_chunks()
        values = states.flatten().to_numpy(zero_copy_only=False)  # flatten() leaves out what null rows hide
        if len(values) and (values.min() < 0 or values.max() >= self.inventory.num_classes):
            raise ValueError(
                f"{path}: holds states {values.min()} to {values.max()}, the inventory has "
                f"{self.inventory.num_classes} classes. Align again with `asr-kd align`."
            )
        return AlignedRows(states)


class AlignedRows(Sequence[FrameTargets | None]):
    """The rows of an alignment sidecar; a row without states is set aside."""

    def __init__(self, states: Any) -> None:
        """states: an array of lists of whole numbers."""
        self._values = states.values.to_numpy(zero_copy_only=False)
        self._starts = states.offsets.to_numpy()
        self._is_valid = states.is_valid().to_numpy(zero_copy_only=False)

    def __len__(self) -> int:
        return len(self._is_valid)

    def __getitem__(self, row: Any) -> Any:
        if not self._is_valid[row]:
            return None
        row = range(len(self))[row]
        return FrameTargets.hard(self._values[self._starts[row] : self._starts[row + 1]])
