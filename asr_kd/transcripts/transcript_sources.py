"""Transcripts of the utterances of shards: their reference text, or pseudo-labels of a teacher."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from asr_kd.core.files import fingerprint
from asr_kd.core.options import option
from asr_kd.core.storage import PathOrUrl
from asr_kd.corpora.languages import ENGLISH, LANG, language_name, language_of, one_language
from asr_kd.corpora.text import normalise
from asr_kd.inventory.inventory import Inventory
from asr_kd.shards.index import Entry
from asr_kd.shards.reader import Shard, ShardKey
from asr_kd.transcripts.pseudo_labels import read_transcripts


class Texts(Protocol):
    """Whoever can say what was said in a shard's utterances."""

    def for_shard(self, shard: Shard) -> list[str | None]:
        """Normalised text of each row, None where there is none."""

    def describe(self, shard: ShardKey) -> dict[str, Any]:
        """What the shard's alignments say of their text; nothing where it is the shard's own."""

    def check(self, shards: Iterable[ShardKey]) -> None:
        """ValueError when these texts are of none of the shards."""


class ReferenceText:
    """The text that the shards hold."""

    def __init__(self, language: str | None = None) -> None:
        """language: the one that the texts must be in; None: each is in its own."""
        self.language = language

    def for_shard(self, shard: Shard) -> list[str | None]:
        """As `Texts` says. ValueError when a text is in another language."""
        return [normalise(e.text, self._of(e, shard)) or None if e.text else None for e in shard.entries]

    def _of(self, entry: Entry, shard: Shard) -> str:
        language = language_of(entry.meta, f"{shard.path}: {entry.id}: lang")
        if self.language not in (None, language):
            raise ValueError(
                f"{shard.path}: {entry.id} is in {language_name(language)}, the classes of this run are of "
                f"{language_name(self.language or language)}. Give shards and inventory of one language."
            )
        return language

    def describe(self, shard: ShardKey) -> dict[str, Any]:
        """As `Texts` says."""
        return {}

    def check(self, shards: Iterable[ShardKey]) -> None:
        """As `Texts` says: always fine."""


class PseudoLabels:
    """Pseudo-labels: lines of `asr-kd label` or `asr-kd filter`. The reference text of those shards is not read."""

    def __init__(
        self,
        places: Sequence[PathOrUrl],
        least_confidence: float = 0.0,
        others: Texts | None = None,
        language: str = ENGLISH,
    ) -> None:
        """others: the texts of shards that no line is of (default: they have none).  language: of the pseudo-labels.

        ValueError when a line is damaged or does not say which tar it is of.
        """
        if not 0 <= least_confidence <= 1:
            raise ValueError(f"--min-confidence {least_confidence}: it must lie in [0, 1]")
        self.places, self.least_confidence, self.others = places, least_confidence, others
        self._texts: dict[str, dict[str, str]] = {}
        for line in read_transcripts(*places):
            if line.shard is None:
                raise ValueError(f"{places[0]}: {line.id} does not name its shard. Give what `asr-kd label` wrote.")
            texts = self._texts.setdefault(line.shard, {})
            if line.text is not None and line.confidence is not None and line.confidence >= least_confidence:
                texts[line.id] = normalise(line.text, language)

    def for_shard(self, shard: Shard) -> list[str | None]:
        """As `Texts` says."""
        if shard.digest not in self._texts and self.others is not None:
            return self.others.for_shard(shard)
        texts = self._texts.get(shard.digest, {})
        return [texts.get(e.id) or None for e in shard.entries]

    def describe(self, shard: ShardKey) -> dict[str, Any]:
        """As `Texts` says."""
        if shard.digest not in self._texts and self.others is not None:
            return self.others.describe(shard)
        texts = dict(sorted(self._texts.get(shard.digest, {}).items()))
        return {"pseudo_text": {"least_confidence": self.least_confidence, "digest": fingerprint(texts)}}

    def check(self, shards: Iterable[ShardKey]) -> None:
        """As `Texts` says."""
        first = None
        for shard in shards:  # which may be opened one after the other
            if shard.digest in self._texts:
                return
            first = first or shard.path
        raise ValueError(
            f"{self.places[0]}: of {len(self._texts)} shards, none of them {first} or another one given. "
            "Give the shards that were labelled; a tar that was written anew must be labelled again."
        )


def transcripts_option(condition: str) -> Any:
    """The field `transcripts` of a command that takes it under a condition, such as `with --tokens: `."""
    return option(
        f"{condition}pseudo-labels, used as the text of their shards: *.hyp.jsonl of `asr-kd label`, "
        "their folder, or a list of `asr-kd filter` (default: the shards' own text)",
        (),
        metavar="HYP",
    )


@dataclass(frozen=True, kw_only=True)
class TranscriptOptions:
    """Of every command that takes pseudo-labels as text."""

    transcripts: tuple[PathOrUrl, ...] = transcripts_option("")
    min_confidence: float = option(
        "with --transcripts: skip utterances whose confidence is lower, in [0, 1]", 0.0, metavar="X"
    )


def given_texts(options: TranscriptOptions, others: Texts | None = None, language: str = ENGLISH) -> Texts:
    """The reference text or pseudo-labels in `language`, as the options ask. others: of `PseudoLabels`."""
    if options.transcripts:
        return PseudoLabels(options.transcripts, options.min_confidence, others, language)
    if options.min_confidence:
        raise ValueError("--min-confidence: only used with --transcripts")
    return ReferenceText(language)


def check_declared_language(shard: Shard, inventory: Inventory) -> None:
    """ValueError when an utterance names another language than the inventory's. One that names none may be in any."""
    for entry in shard.entries:
        if LANG in entry.meta:
            whose = f"{shard.path}: {entry.id}"
            inventory.check_language(language_of(entry.meta, f"{whose}: lang"), whose)


def language_of_shards(shards: Iterable[Shard]) -> str:
    """The one language that the utterances of shards are in. ValueError when they are in two."""
    where, found = "", set()
    for shard in shards:
        where = where or str(shard.path)
        found |= {language_of(e.meta, f"{shard.path}: {e.id}: lang") for e in shard.entries}
    return one_language(found, where)
