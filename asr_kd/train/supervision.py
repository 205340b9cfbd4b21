"""Supervision of labelled shards: alignments of senones, or text, spelt in tokens: the shards' own, or
pseudo-labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asr_kd.core.options import option
from asr_kd.core.storage import PathOrUrl
from asr_kd.data.sampler import TrainingSet
from asr_kd.frontend.augment import AugmentConfig
from asr_kd.inventory.inventory import Inventory
from asr_kd.inventory.registry import load_inventory, require_tokens
from asr_kd.shards.catalogue import open_catalogue
from asr_kd.targets.alignments import AlignmentFolders, find_inventory
from asr_kd.targets.text_targets import TextTargets
from asr_kd.transcripts.transcript_sources import (
    ReferenceText,
    Texts,
    TranscriptOptions,
    given_texts,
    transcripts_option,
)


@dataclass(frozen=True)
class SupervisedSource:
    """The classes of a run, and what says which of them labelled shards hold."""

    inventory: Inventory
    targets: AlignmentFolders | TextTargets

    def stream(
        self, name: str, shards: Sequence[PathOrUrl], augment: AugmentConfig, weights: tuple[float, ...] = ()
    ) -> TrainingSet:
        """Labelled shards, or folders of them, as a stream. ValueError when a shard has no targets of this source."""
        found = open_catalogue(*shards)
        self.targets.check(found)
        return TrainingSet(name, found, self.targets, augment, weights=weights)


def supervised_source(
    alignments: Sequence[Path],
    tokens: Path | None,
    inventory: Inventory | None = None,
    texts: Texts | None = None,
) -> SupervisedSource:
    """Alignments in folders of `asr-kd align`, or text spelt by an inventory of `asr-kd tokens`; exactly one is given.

    inventory: whose classes the alignments must have, where it is not the one beside them.
    texts: what is spelt in tokens (default: the shards' own text).
    """
    if tokens is not None:
        found = require_tokens(load_inventory(tokens), tokens)
        return SupervisedSource(found, TextTargets(found, texts))
    inventory = inventory or find_inventory(alignments)
    return SupervisedSource(inventory, AlignmentFolders(alignments, inventory))


@dataclass(frozen=True, kw_only=True)
class SupervisionOptions(TranscriptOptions):
    """Of every command that learns from labelled shards."""

    transcripts: tuple[PathOrUrl, ...] = transcripts_option("with --tokens: ")
    alignments: tuple[Path, ...] = option(
        "frame alignments of the labelled shards: the output folder of `asr-kd align`, or one of its "
        "folders per data set; several are searched in turn",
        (),
        metavar="DIR",
    )
    tokens: Path | None = option(
        "instead of --alignments: train with CTC on the shards' text in these tokens (folder of `asr-kd tokens`)",
        None,
        metavar="DIR",
    )
    dev_alignments: tuple[Path, ...] = option(
        "alignments of the held-out shards (default: those of --alignments)", (), metavar="DIR"
    )


def supervision(options: SupervisionOptions) -> tuple[SupervisedSource, SupervisedSource]:
    """Supervision of the labelled and of the held-out shards. ValueError when the options do not fit."""
    if bool(options.alignments) == (options.tokens is not None):
        raise ValueError("--alignments and --tokens: give one of them")
    if options.tokens is None and options.transcripts:
        raise ValueError("--transcripts: only used with --tokens; `asr-kd align --transcripts` makes alignments")
    if options.tokens is None:
        labelled = supervised_source(options.alignments, None)
        if not options.dev_alignments:
            return labelled, labelled
        return labelled, supervised_source(options.dev_alignments, None, labelled.inventory)
    if options.dev_alignments:
        raise ValueError("--dev-alignments: with --tokens, the held-out shards' own text is the reference")
    language = load_inventory(options.tokens).language
    texts = given_texts(options, ReferenceText(language), language)
    return supervised_source((), options.tokens, texts=texts), supervised_source((), options.tokens)
