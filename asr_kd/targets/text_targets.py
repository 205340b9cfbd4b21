"""Targets from text alone, reference or pseudo-label: the tokens of an utterance's words."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from asr_kd.core.files import fingerprint
from asr_kd.core.terminal import say
from asr_kd.inventory.tokens import Tokens
from asr_kd.shards.catalogue import Catalogue
from asr_kd.shards.reader import Shard, ShardKey
from asr_kd.targets.frame_targets import TokenTargets
from asr_kd.transcripts.transcript_sources import ReferenceText, Texts


class TextTargets:
    """Texts of shards, spelt. Utterances without words, or with one that cannot be spelt, are set aside."""

    def __init__(self, tokens: Tokens, texts: Texts | None = None) -> None:
        """texts: by default the shards' own."""
        self.tokens, self.texts = tokens, texts or ReferenceText(tokens.language)

    def load(self, shard: Shard) -> Sequence[TokenTargets | None]:
        """Targets of a shard's rows, as TargetSource says."""
        return TextRows(self.texts.for_shard(shard), self.tokens)

    def digest(self, shard: ShardKey) -> str:
        """As TargetSource says, of pseudo-labels. Reference text is part of the shard, tokens are the run's."""
        return fingerprint(self.texts.describe(shard))

    def check(self, shards: Catalogue) -> None:
        """Tell how many utterances of the shards, or of many of them (`Catalogue.spread`) are set aside.

        ValueError names the first of them when no shard has another.
        """
        self.texts.check(map(shards.key, range(len(shards))))
        fine, aside, first = 0, 0, ""
        for shard in map(shards.open, shards.spread()):  # one at a time: a corpus is larger than memory
            for entry, text in zip(shard.entries, self.texts.for_shard(shard), strict=True):
                spelt = _tokenise(text, self.tokens)
                if not isinstance(spelt, str):
                    fine += 1
                    continue
                aside += 1
                first = first or f"{entry.id}: {spelt}"
        if not fine:
            raise ValueError(
                f"{shards.path(0)}: no utterance has text that the tokens can spell; the first, {first}. Make tokens "
                "of this text with `asr-kd tokens`, or give labelled shards."
            )
        if aside:
            say(f"{aside} of {fine + aside} utterances are set aside; the first, {first}")


class TextRows(Sequence[TokenTargets | None]):
    """The rows of a shard, spelt when they are asked for."""

    def __init__(self, texts: Sequence[str | None], tokens: Tokens) -> None:
        self._texts, self._tokens = texts, tokens

    def __len__(self) -> int:
        return len(self._texts)

    def __getitem__(self, row: Any) -> Any:
        spelt = _tokenise(self._texts[row], self._tokens)
        return None if isinstance(spelt, str) else TokenTargets(np.array(spelt, dtype=np.int32))


def _tokenise(text: str | None, tokens: Tokens) -> tuple[int, ...] | str:
    """Classes of a normalised text, or why it gives no targets."""
    if not text:
        return "it has no text"
    try:
        return tokens.encode(text)
    except ValueError as e:
        return str(e)
