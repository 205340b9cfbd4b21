"""Common Voice: the folder of one language as downloaded, with clips/*.mp3 and train.tsv, dev.tsv, test.tsv, ...

The official train part is labelled, dev and test are dev and test; their speakers (client_id) are disjoint. Clips of
validated.tsv that are in none of them are unlabelled, their sentences in unlabelled_references.jsonl; clips of
other.tsv, whose sentences nobody has checked, are unlabelled without. Invalidated clips are left out and counted.
Audio of speakers of dev and test is kept out of the unlabelled part. The language is that of the column locale.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from asr_kd.core.commands import command
from asr_kd.core.options import argument, option
from asr_kd.core.terminal import say
from asr_kd.corpora.audio import SUFFIXES
from asr_kd.corpora.corpus import Corpus, Recording, Rejected, measure
from asr_kd.corpora.delimited import DelimitedTable, TableRow
from asr_kd.corpora.folder import normalised, split
from asr_kd.corpora.languages import ENGLISH, LANG, language_code
from asr_kd.corpora.prepare import PrepareOptions, prepare

CLIPS = "clips"
OFFICIAL = ("train", "dev", "test")
UNLABELLED = ("validated", "other")
INVALIDATED = "invalidated"
NEEDED = ("path", "client_id", "sentence")
ABOUT = ("age", "gender", "accents", "accent", "variant")
"""Columns that go to `meta`; so do the votes, as numbers."""
VOTES = ("up_votes", "down_votes")


@dataclass(frozen=True, kw_only=True)
class CommonVoiceRun(PrepareOptions):
    """What `asr-kd prepare common-voice` is given."""

    root: Path = argument("folder of one language, with clips/ and train.tsv", metavar="ROOT")
    unlabelled: Literal["validated", "other", "both", "none"] = option(
        "clips without a part that become unlabelled.jsonl: of validated.tsv, other.tsv, both or none", "both"
    )
    labelled_fraction: float | None = option(
        "share of the train part that stays labelled; the text of its other speakers is hidden (default: all)", None
    )
    seed: int = option("random seed of the choice of speakers", 0)


@command()
def prepare_common_voice(config: CommonVoiceRun) -> None:
    """Write the manifests of Common Voice in one language."""
    kept = config.labelled_fraction
    if kept is not None and not 0 < kept < 1:
        raise ValueError(f"--labelled-fraction {kept}: it must lie in (0, 1)")
    prepare(config, config.root, lambda: read_common_voice(config))


def read_common_voice(config: CommonVoiceRun) -> Corpus:
    """The corpus of one language. ValueError when there is none, or its language is not known."""
    folder = language_folder(config.root)
    lists = [*OFFICIAL, *(name for name in UNLABELLED if config.unlabelled in (name, "both"))]
    corpus = Corpus()
    clips = _Clips(folder, config.language)
    found = {name: measure(clips.of_list(name, corpus.rejected)) for name in lists}
    for _, rejected in found.values():
        corpus.rejected += rejected
    parts = {name: utterances for name, (utterances, _) in found.items()}
    drawn = split(parts["train"], 0.0, 0.0, config.seed, config.labelled_fraction)
    corpus.labelled, corpus.dev, corpus.test = drawn.labelled, parts["dev"], parts["test"]
    corpus.unlabelled = [*drawn.unlabelled, *parts.get("validated", []), *parts.get("other", [])]
    corpus.rejected += clips.of_no_list()
    _say_speakers(corpus)
    return corpus


def language_folder(root: Path) -> Path:
    """The folder with clips/ and lists: `root`, or the only one in it. ValueError when there is none, or several."""
    if (root / "train.tsv").is_file() or (root / "validated.tsv").is_file():
        return root
    inside = sorted(
        {path.parent for path in root.glob("*/validated.tsv")} | {p.parent for p in root.glob("*/train.tsv")}
    )
    if len(inside) == 1:
        return inside[0]
    if inside:
        names = ", ".join(path.name for path in inside)
        raise ValueError(f"{root}: holds {len(inside)} languages ({names[:200]}). Give the folder of one.")
    raise ValueError(f"{root}: holds no train.tsv and no validated.tsv. Give the folder of one language.")


class _Clips:
    """The clips that are in no list before."""

    def __init__(self, folder: Path, language: str) -> None:
        self._folder, self._clips = folder, (folder / CLIPS).absolute()
        self._known: dict[str, str] = {}
        """The first list of each clip."""
        self._by_id: dict[str, str] = {}
        """The clip of each id."""
        self._asked = language if language != ENGLISH else None
        self._codes: dict[str, str] = {}

    def of_list(self, name: str, rejected: list[Rejected]) -> Iterator[Recording]:
        """Clips of NAME.tsv that no list before has. What cannot be used is put into `rejected`."""
        path = self._folder / f"{name}.tsv"
        if not path.is_file():
            if name in OFFICIAL:
                say(f"{path}: not there: no part {name}")
            return
        table = DelimitedTable(path, "tab", quotes=False)
        missing = [column for column in NEEDED if column not in table.columns]
        if missing:
            raise ValueError(f"{path}: has no column {missing[0]}, so it is no list of Common Voice")
        for row in table.rows():
            if row.fault is not None:
                rejected.append(Rejected(f"{name}-{row.line}", None, f"{path}: line {row.line}, {row.fault}"))
                continue
            values = dict(zip(table.columns, row.values, strict=True))
            clip = _file_name(values["path"])
            owner = self._known.get(clip)
            if owner is not None:
                if owner == name or name in OFFICIAL:
                    told = "is listed a second time" if owner == name else f"is in {owner}.tsv as well"
                    error = f"{path}: line {row.line}, {clip} {told}"
                    rejected.append(Rejected(f"{clip} of {name}", str(self._clips / clip), error))
                continue
            self._known[clip] = name
            other = self._by_id.setdefault(Path(clip).stem, clip)
            if other != clip:
                error = f"{path}: line {row.line}, {clip} has the id of {other}, which is used; rename one of them"
                rejected.append(Rejected(f"{clip} of {name}", str(self._clips / clip), error))
                continue
            yield self._recording(clip, values, row, path)

    def of_no_list(self) -> Iterator[Rejected]:
        """Files that no list has; those of invalidated.tsv, and of lists that were not asked for, are counted."""
        left_out: dict[str, int] = {}
        for name in (INVALIDATED, *UNLABELLED):
            path = self._folder / f"{name}.tsv"
            if path.is_file():
                table = DelimitedTable(path, "tab", quotes=False)
                place = table.columns.index("path") if "path" in table.columns else 0
                for row in table.rows():
                    clip = _file_name(row.values[place]) if row.fault is None else ""
                    if clip and clip not in self._known:
                        self._known[clip] = name
                        left_out[name] = left_out.get(name, 0) + 1
        if left_out:
            say("clips left out: " + ", ".join(f"{count} of {name}.tsv" for name, count in left_out.items()))
        if self._clips.is_dir():
            for path in sorted(self._clips.iterdir()):
                if path.suffix.lower() in SUFFIXES and path.name not in self._known:
                    yield Rejected(path.stem, str(path), f"{path}: no list has it")

    def _recording(self, clip: str, values: dict[str, str], row: TableRow, path: Path) -> Recording:
        code = self._asked or self._code(values.get("locale", ""), f"{path}: line {row.line}, column locale:")
        meta: dict[str, object] = {name: values[name] for name in ABOUT if values.get(name)}
        meta |= {name: int(values[name]) for name in VOTES if values.get(name, "").isdecimal()}
        if code != ENGLISH:
            meta[LANG] = code
        text = None if path.stem == "other" else normalised(values["sentence"], code)
        return Recording(Path(clip).stem, self._clips / clip, text or None, values["client_id"] or None, meta)

    def _code(self, locale: str, where: str) -> str:
        if not locale:
            return ENGLISH
        if locale not in self._codes:
            try:
                self._codes[locale] = language_code(locale)
            except ValueError as e:
                raise ValueError(f"{where} {e} --language names it.") from None
        return self._codes[locale]


def _file_name(path: str) -> str:
    """Of a clip; older releases leave out the suffix."""
    name = path.strip().replace("\\", "/").rpartition("/")[2]
    return name if Path(name).suffix.lower() in SUFFIXES else f"{name}.mp3"


def _say_speakers(corpus: Corpus) -> None:
    """Whether speakers of dev and test are apart from those of train."""
    train = {u.speaker for u in corpus.labelled} - {None}
    for name in ("dev", "test"):
        own = {u.speaker for u in getattr(corpus, name)} - {None}
        shared = own & train
        told = f"{len(shared)} of them also in train" if shared else "none of them in train"
        if own:
            say(f"{name}: {len(own)} speakers, {told}")
