"""Senones: the classes of an HMM, tied states of phones in context."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from asr_kd.corpora.languages import ENGLISH
from asr_kd.inventory.inventory import Inventory, described_language, language_entry
from asr_kd.inventory.lexicon import SILENCE
from asr_kd.inventory.tree import NO_PHONE, Tree, phone_tree

MAX_STATES = 64


@dataclass(frozen=True)
class Senones(Inventory):
    """Tied states of phones in context, at the stacked frame shift.

    A phone has `states` HMM states left to right, silence `silence_states`.  With `skip` a phone may leave from any
    state, so that at 30 ms a frame a short phone passes in one frame.
    """

    kind: ClassVar[str] = "senones"
    accuracy_unit: ClassVar[str] = "frames"
    default_prior_scale: ClassVar[float] = 1.0  # a search wants likelihoods
    phones: tuple[str, ...]
    """Phone names; the first is silence."""
    trees: tuple[tuple[Any, ...], ...]
    """One decision tree per state of the ordinary phones (`Tree.to_list()`); leaves are numbered from 0."""
    states: int = 2
    silence_states: int = 1
    skip: bool = True
    frame_shift_s: float = 0.030
    language: str = ENGLISH

    def __post_init__(self) -> None:
        if not self.phones or self.phones[0] != SILENCE:
            raise ValueError(f"inventory: the first phone is {self.phones[:1]}; it must be {SILENCE}")
        if len(self.phones) < 2 or len(set(self.phones)) < len(self.phones):
            raise ValueError(f"inventory: {len(self.phones)} phones; silence and one more are needed, each once")
        if not all(isinstance(phone, str) for phone in self.phones):
            raise ValueError("inventory: phones are not all text")
        if not 1 <= self.silence_states <= MAX_STATES or not 1 <= self.states <= MAX_STATES:
            raise ValueError(f"inventory: {self.states} states, {self.silence_states} of silence; at most {MAX_STATES}")
        if len(self.trees) != self.states:
            raise ValueError(f"inventory: {len(self.trees)} trees for {self.states} states; each state has one tree")
        leaves = sorted(node.leaf for tree in self._trees for node in tree.nodes if node.leaf >= 0)
        if leaves != list(range(len(leaves))):
            raise ValueError("inventory: the trees' leaves are not numbered from 0, each once")

    @classmethod
    def monophone(cls, phones: Sequence[str], states: int = 2, silence_states: int = 1, **other: Any) -> "Senones":
        """Without context: every phone has its own states."""
        trees = []
        spoken = list(range(1, len(phones)))
        for position in range(states):
            tree = phone_tree(spoken)
            shift = position * len(spoken)
            trees.append(tuple((c, tuple(p), y, n, leaf + shift * (leaf >= 0)) for c, p, y, n, leaf in tree.to_list()))
        return cls(tuple(phones), tuple(trees), states, silence_states, **other)

    @cached_property
    def _trees(self) -> list[Tree]:
        return [Tree.from_list(t) for t in self.trees]

    @cached_property
    def num_classes(self) -> int:
        """Number of classes: silence states first, then the trees' leaves."""
        return self.silence_states + sum(t.leaves for t in self._trees)

    @cached_property
    def symbols(self) -> tuple[str, ...]:
        """One name a class: `SIL.0`, ..., then `s<state>.<leaf>`."""
        names = [f"{SILENCE}.{i}" for i in range(self.silence_states)]
        for position, tree in enumerate(self._trees):
            names += [f"s{position}.{node.leaf}" for node in tree.nodes if node.leaf >= 0]
        return tuple(names)

    def senones(self, left: int, phone: int, right: int) -> tuple[int, ...]:
        """Class numbers of the states of `phone` between its neighbours (phone numbers, NO_PHONE at the edges)."""
        if phone == 0:
            return tuple(range(self.silence_states))
        return tuple(self.silence_states + tree.leaf((left, phone, right)) for tree in self._trees)

    @cached_property
    def phones_of_class_CP(self) -> np.ndarray:
        """Which phones a class can be a state of, (C, P) bool: several, where the tree never asked which it is."""
        possible_CP = np.zeros((self.num_classes, len(self.phones)), dtype=bool)
        possible_CP[: self.silence_states, 0] = True
        for tree in self._trees:
            for leaf, centres in tree.centres(range(1, len(self.phones))).items():
                possible_CP[self.silence_states + leaf, list(centres)] = True
        return possible_CP

    @property
    def silence_classes(self) -> range:
        """The states of silence."""
        return range(self.silence_states)

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "phones": list(self.phones),
            "states": self.states,
            "silence_states": self.silence_states,
            "skip": self.skip,
            "frame_shift_s": self.frame_shift_s,
            "trees": [[[c, list(p), y, n, leaf] for c, p, y, n, leaf in tree] for tree in self.trees],
            **language_entry(self.language),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Senones":
        """ValueError, KeyError or TypeError when `data` does not describe senones."""
        return cls(
            phones=tuple(data["phones"]),
            trees=tuple(tuple((c, tuple(p), y, n, leaf) for c, p, y, n, leaf in tree) for tree in data["trees"]),
            states=int(data["states"]),
            silence_states=int(data["silence_states"]),
            skip=bool(data["skip"]),
            frame_shift_s=float(data["frame_shift_s"]),
            language=described_language(data),
        )


__all__ = ["NO_PHONE", "Senones"]
