"""Supervision of labelled shards: alignments of senones, or text, spelt in tokens: the shards' own, or
pseudo-labels."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asr_kd.core.storage import PathOrUrl
from asr_kd.data.sampler import TrainingSet
from asr_kd.frontend.augment import AugmentConfig
from asr_kd.inventory.inventory import Inventory
from asr_kd.inventory.registry import load_inventory, require_tokens
from asr_kd.shards.reader import find_shards
from asr_kd.targets.alignments import AlignmentFolders, find_inventory
from asr_kd.targets.text_targets import TextTargets
from asr_kd.transcripts.transcript_sources import ReferenceText, Texts, add_transcript_arguments, given_texts


@dataclass(frozen=True)
class SupervisedSource:
    """The classes of a run, and what says which of them labelled shards hold."""

    inventory: Inventory
    targets: AlignmentFolders | TextTargets

    def stream(self, name: str, shards: Sequence[PathOrUrl], augment: AugmentConfig) -> TrainingSet:
        """Labelled shards, or folders of them, as a stream. ValueError when a shard has no targets of this source."""
        paths = find_shards(*shards)
        self.targets.check(paths)
        return TrainingSet(name, paths, self.targets, augment)


def supervised_source(
    alignments: Sequence[Path] | None,
    tokens: Path | None,
    inventory: Inventory | None = None,
    texts: Texts | None = None,
) -> SupervisedSource:
    """The truth in folders of `asr-kd align`, or by an inventory of `asr-kd tokens`; exactly one of them is given.

    inventory: whose classes the alignments must have, where it is not the one beside them.
    texts: what is spelt in tokens (default: the shards' own text).
    """
    if (alignments is None) == (tokens is None):
        raise ValueError("labels: give either --alignments or --tokens")
    if tokens is not None:
        found = require_tokens(load_inventory(tokens), tokens)
        return SupervisedSource(found, TextTargets(found, texts))
    assert alignments is not None
    inventory = inventory or find_inventory(alignments)
    return SupervisedSource(inventory, AlignmentFolders(alignments, inventory))


def add_supervision_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of every verb that learns from labelled shards."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--alignments",
        nargs="+",
        type=Path,
        metavar="DIR",
        help="alignments of the shards: what `asr-kd align` wrote, or folders inside; several are searched in turn",
    )
    source.add_argument(
        "--tokens", type=Path, metavar="DIR", help="learn the shards' own text by CTC, spelt in these (`asr-kd tokens`)"
    )
    add_transcript_arguments(
        parser, "with --tokens: what a teacher heard is the text of those shards, and others keep their own"
    )
    parser.add_argument(
        "--dev-alignments",
        nargs="+",
        type=Path,
        metavar="DIR",
        help="alignments of the held-out shards (default: those of --alignments)",
    )


def supervision_from_args(args: argparse.Namespace) -> tuple[SupervisedSource, SupervisedSource]:
    """The truth of the labelled and of the held-out shards, by the options of `add_supervision_arguments`."""
    if args.tokens is None and args.transcripts:
        raise ValueError("--transcripts: only used with --tokens; `asr-kd align --transcripts` makes alignments")
    texts = given_texts(args, others=ReferenceText())
    if args.tokens is None:
        labelled = supervised_source(args.alignments, None)
        if args.dev_alignments is None:
            return labelled, labelled
        return labelled, supervised_source(args.dev_alignments, None, labelled.inventory)
    if args.dev_alignments is not None:
        raise ValueError("--dev-alignments: with --tokens, the held-out shards' own text is the truth")
    return supervised_source(None, args.tokens, texts=texts), supervised_source(None, args.tokens)
