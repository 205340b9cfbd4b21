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
                why = _unfit(entry, self.tokens)
                fine, aside = fine + (why is None), aside + (why is not None)
                first = first or (f"{entry.id}: {why}" if why else "")
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
        entry = self._entries[row]
        if _unfit(entry, self._tokens) is not None:
            return None
        return TokenTargets(np.array(self._tokens.encode(normalise(entry.text or "")), dtype=np.int32))


def _unfit(entry: Entry, tokens: Tokens) -> str | None:
    """Why an utterance's text gives no targets; None: it does."""
    text = normalise(entry.text or "")
    if not text:
        return "it has no text"
    try:
        tokens.encode(text)
    except ValueError as e:
        return str(e)
    return None
