"""Targets from nothing but text: the tokens that an utterance's words are spelt with."""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from asr_kd.core.storage import Location
from asr_kd.corpora.text import normalise
from asr_kd.inventory.tokens import Tokens
from asr_kd.shards.reader import Entry, Shard, open_shard
from asr_kd.train.targets import TokenTargets


class TextTargets:
    """The text in shards, spelt. Utterances without words, or with one that cannot be spelt, are set aside."""

    def __init__(self, tokens: Tokens) -> None:
        self.tokens = tokens

    def load(self, shard: Shard) -> Sequence[TokenTargets | None]:
        """Targets of a shard's rows, as TargetSource says."""
        return TextRows(shard.entries, self.tokens)

    def check(self, paths: Sequence[Location]) -> None:
        """Tell how many utterances are set aside. ValueError names the first of them when no shard has another."""
        fine, aside, first = 0, 0, ""
        for path in paths:
            for entry in open_shard(path).entries:
                spelt = _spelt(entry, self.tokens)
                if not isinstance(spelt, str):
                    fine += 1
                    continue
                aside += 1
                first = first or f"{entry.id}: {spelt}"
        if not fine:
            raise ValueError(
                f"{paths[0]}: no utterance has text that the tokens can spell; the first, {first}. Make tokens of this "
                "text with `asr-kd tokens`, or give labelled shards."
            )
        if aside:
            print(f"{aside} of {fine + aside} utterances are set aside; the first, {first}", file=sys.stderr)


class TextRows(Sequence[TokenTargets | None]):
    """The rows of a shard, spelt when they are asked for."""

    def __init__(self, entries: Sequence[Entry], tokens: Tokens) -> None:
        self._entries, self._tokens = entries, tokens

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, row: Any) -> Any:
        spelt = _spelt(self._entries[row], self._tokens)
        return None if isinstance(spelt, str) else TokenTargets(np.array(spelt, dtype=np.int32))


def _spelt(entry: Entry, tokens: Tokens) -> tuple[int, ...] | str:
    """Classes of an utterance's text, or why it gives no targets."""
    text = normalise(entry.text or "")
    if not text:
        return "it has no text"
    try:
        return tokens.encode(text)
    except ValueError as e:
        return str(e)
