"""Data that comes in splits with names (`train`, `validation`, `test`): which part of the corpus each becomes."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from asr_kd.core.options import option
from asr_kd.core.terminal import say
from asr_kd.corpora.corpus import Corpus, Recording, Rejected, measure
from asr_kd.corpora.folder import SplitOptions, split
from asr_kd.corpora.manifest import Utterance

PARTS = {
    "test": {"test", "tst", "testing"},
    "dev": {"dev", "devel", "development", "valid", "validation", "val", "eval", "evaluation"},
    "unlabelled": {"unlabelled", "unlabeled", "unsupervised"},
    "train": {"train", "training", "tr", "labelled", "labeled"},
}
"""Words in the name of a split that say what it is for; the first part whose word occurs is taken."""


@dataclass(frozen=True, kw_only=True)
class NamedSplitOptions(SplitOptions):
    """Of readers of data that may have splits."""

    train_splits: tuple[str, ...] = option(
        "splits that become labelled.jsonl, and unlabelled.jsonl where a row has no text (default: by their names)",
        (),
        metavar="SPLIT",
    )
    dev_splits: tuple[str, ...] = option("splits that become dev.jsonl (default: by their names)", (), metavar="SPLIT")
    test_splits: tuple[str, ...] = option(
        "splits that become test.jsonl (default: by their names)", (), metavar="SPLIT"
    )
    unlabelled_splits: tuple[str, ...] = option(
        "splits whose text is hidden: unlabelled.jsonl (default: by their names)", (), metavar="SPLIT"
    )

    def parts_of(self, splits: Sequence[str]) -> dict[str, str | None]:
        """The part of each split: train, dev, test, unlabelled; None where the names do not tell.

        Where no name tells anything, all splits are for training. Where splits of a part were asked for, no others are
        taken for it. ValueError when a split that was asked for is not there, or was asked for twice.
        """
        parts: dict[str, str | None] = {name: part_of(name) for name in splits}
        if not any(parts.values()):
            parts = dict.fromkeys(splits, "train")
        asked: dict[str, str] = {}
        for part in ("train", "dev", "test", "unlabelled"):
            for name in getattr(self, f"{part}_splits"):
                if name not in parts:
                    raise ValueError(f"--{part}-splits {name}: no such split; there are {', '.join(sorted(parts))}")
                if name in asked:
                    raise ValueError(f"--{part}-splits {name}: also in --{asked[name]}-splits")
                asked[name] = part
        return {name: None if part in asked.values() else part for name, part in parts.items()} | asked


def part_of(split_name: str) -> str | None:
    """The part that the name of a split tells; None where it tells none."""
    words = set(re.split(r"[^a-z]+", split_name.lower()))
    return next((part for part, known in PARTS.items() if words & known), None)


def split_of_folder(folder: Path, root: Path) -> str:
    """The split that the files in a folder below `root` belong to: the nearest name that tells one, else the first."""
    names = folder.relative_to(root).parts
    return next((name for name in reversed(names) if part_of(name)), names[0] if names else "train")


def corpus_of_splits(
    splits: Mapping[str, Sequence[Recording]], config: NamedSplitOptions, rejected: Sequence[Rejected] = ()
) -> Corpus:
    """The corpus of recordings by the name of their split, measured. rejected: what was left out before.

    Speakers of the training splits are held out for dev and test as the config says, where no split is for them.
    Splits whose names do not tell what they are for are left out, by name.
    """
    parts = config.parts_of(list(splits))
    corpus = Corpus(rejected=list(rejected))
    train: list[Utterance] = []
    owners: dict[str, str] = {}
    seen: set[str] = set()
    for name, recordings in splits.items():
        part = parts[name]
        if part is None:
            _leave_out(corpus, name, recordings)
            continue
        utterances, bad = measure(_not_known(recordings, name, owners, corpus.rejected))
        corpus.rejected += bad
        for u in utterances:
            if u.id in seen:
                reason = f"id {u.id} occurs twice; the first utterance that has it is used"
            elif u.text is None and part in ("dev", "test"):
                reason = f"no text, and split {name} is for {part}"
            else:
                seen.add(u.id)
                (train if part == "train" else getattr(corpus, part)).append(u)
                continue
            corpus.rejected.append(Rejected(u.id, u.audio_filepath, f"{u.audio_filepath}: {reason}"))
    dev, test = 0.0 if corpus.dev else config.dev_fraction, 0.0 if corpus.test else config.test_fraction
    drawn = split(train, dev, test, config.seed, config.labelled_fraction)
    places = {u.id: i for i, u in enumerate(train)}
    for part in ("labelled", "dev", "test", "unlabelled"):  # in the order of the files, where they are read fastest
        getattr(corpus, part).extend(sorted(getattr(drawn, part), key=lambda u: places[u.id]))
    return corpus


def _not_known(
    recordings: Sequence[Recording], split_name: str, owners: dict[str, str], rejected: list[Rejected]
) -> Iterator[Recording]:
    """Those whose id no split before had. owners: the split of each id."""
    for r in recordings:
        owner = owners.setdefault(r.id, split_name)
        if owner is split_name:
            yield r
        else:
            path = None if r.path is None else str(r.path)
            reason = f"{r.id}: in split {owner} and in {split_name}. Choose with --train-splits, --dev-splits, ..."
            rejected.append(Rejected(r.id, path, reason))


def _leave_out(corpus: Corpus, name: str, recordings: Sequence[Recording]) -> None:
    reason = f"split {name}: no part takes it. Take it with --train-splits {name}, or for another part."
    say(f"{len(recordings)} utterances are left out, {reason}")
    corpus.rejected += [Rejected(r.id, None if r.path is None else str(r.path), reason) for r in recordings[:1]]
