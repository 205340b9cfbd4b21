"""Your own audio: a folder of files with transcripts beside them where there are some, or a NeMo-style manifest.

What has text is labelled, the rest unlabelled. Whole speakers of the labelled part are held out. Where everything has
text, --labelled-fraction hides the text of a part (unlabelled_references.jsonl keeps it, for the oracle), to measure
what distillation would gain.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from asr_kd.core.commands import command
from asr_kd.core.options import argument, option
from asr_kd.core.terminal import say
from asr_kd.core.text_files import read_text
from asr_kd.corpora.audio import audio_seconds
from asr_kd.corpora.audio_file import SLACK_S
from asr_kd.corpora.corpus import Corpus, Recording, Rejected, measure
from asr_kd.corpora.found_audio import audio_files
from asr_kd.corpora.languages import ENGLISH, LANG, language_of, with_language
from asr_kd.corpora.manifest import Utterance, read_manifest
from asr_kd.corpora.prepare import PrepareOptions, prepare
from asr_kd.corpora.speakers import draw_order
from asr_kd.corpora.spoken_numbers import numbers_as_asked
from asr_kd.corpora.text import normalise

DEV_SHARE = 0.1
UNKNOWN_SPEAKER = "\0"
"""Begins the group of an utterance without a speaker, where others have one: no speaker's name does."""


@dataclass(frozen=True, kw_only=True)
class SplitOptions(PrepareOptions):
    """Of readers of people's own data, which is not divided into parts."""

    dev_fraction: float = option("share of the audio with text that becomes dev.jsonl", DEV_SHARE)
    test_fraction: float = option("share of the audio with text that becomes test.jsonl", 0.0)
    labelled_fraction: float | None = option(
        "share of the audio with text that stays labelled; the text of the rest is hidden (default: all)", None
    )
    seed: int = option("random seed of the choice of speakers", 0)

    def check_shares(self) -> None:
        """ValueError when the shares leave nothing."""
        for name in ("dev_fraction", "test_fraction"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"--{name.replace('_', '-')} {getattr(self, name)}: it must lie in [0, 1)")
        kept = self.labelled_fraction
        if kept is not None and not 0 < kept < 1 - self.dev_fraction - self.test_fraction:
            raise ValueError(
                f"--labelled-fraction {kept}: it must be above 0 and, with --dev-fraction {self.dev_fraction} and "
                f"--test-fraction {self.test_fraction}, leave some text to hide"
            )


@dataclass(frozen=True, kw_only=True)
class FolderRun(SplitOptions):
    """What `asr-kd prepare folder` and `asr-kd prepare manifest` are given."""

    root: Path = argument("folder of audio, or NeMo-style manifest", metavar="ROOT")
    speaker_from: Literal["folder", "none"] = option(
        "folder: a sub-folder is a speaker; none: speakers are unknown; a manifest names them itself", "folder"
    )


@command()
def prepare_folder(config: FolderRun) -> None:
    """Write the manifests of a folder of audio, or of a manifest."""
    prepare(config, config.root, lambda: _read(config))


def _read(config: FolderRun) -> Corpus:
    """The corpus as the config asks for it; a file is a manifest, a folder is walked."""
    config.check_shares()
    if config.root.is_dir():
        recordings, unknown = folder_recordings(config.root, config.speaker_from == "folder", config.language)
        utterances, rejected = measure(recordings)
        rejected += unknown
    else:
        utterances, rejected = checked_manifest(config.root, config.language)
    corpus = split(utterances, config.dev_fraction, config.test_fraction, config.seed, config.labelled_fraction)
    corpus.rejected = rejected
    return corpus


def folder_recordings(
    root: Path, speaker_from_folder: bool = True, language: str = ENGLISH
) -> tuple[list[Recording], list[Rejected]]:
    """Every audio file below `root`, sorted, with the text of NAME.txt beside NAME.flac; and audio that cannot be read.

    The id is the path below `root` without suffix, `/` as `-`, and with the suffix where several files would have the
    same; the speaker is the folder that the file lies in; the text is in `language`. ValueError when there is no audio.
    """
    paths, unreadable = audio_files(root)
    unknown = [Rejected("-".join(p.relative_to(root).parts), str(p), reason) for p, reason in unreadable.items()]
    recordings = []
    for path, name in zip(paths, _unique_names(paths, root), strict=True):
        speaker = "/".join(path.relative_to(root).parent.parts) or None if speaker_from_folder else None
        recordings.append(Recording(name, path.resolve(), _text_beside(path, language), speaker))
    return recordings, unknown


def _unique_names(paths: Sequence[Path], root: Path) -> list[str]:
    """An id for each file: the path below `root` without suffix; where several share that, with suffix, or numbered."""
    plain = ["-".join(path.relative_to(root).with_suffix("").parts) for path in paths]
    times = Counter(plain)
    taken = {name for name, count in times.items() if count == 1}
    names = []
    for path, name in zip(paths, plain, strict=True):
        if times[name] > 1:
            wanted = name = f"{name}-{path.suffix[1:]}"
            number = 1
            while name in taken:
                number += 1
                name = f"{wanted}-{number}"
            taken.add(name)
        names.append(name)
    shared = {name: [p for p, n in zip(paths, plain, strict=True) if n == name] for name, c in times.items() if c > 1}
    if shared:
        first = next(iter(shared.values()))
        say(
            f"{len(shared)} names belong to several files, which have their suffix in the id; the first: "
            f"{' and '.join(map(str, first[:2]))}. If they are one recording, keep one of them."
        )
    return names


def checked_manifest(path: Path, language: str = ENGLISH) -> tuple[list[Utterance], list[Rejected]]:
    """The utterances of a manifest with normalised text; those whose audio is missing or too short are rejected, and
    those whose `lang` is unknown. Without `lang` an utterance is in `language`.

    "" is labelled as holding no word; other text without a word (NeMo writes `-` for unlabelled audio) is no text.
    """
    utterances: list[Utterance] = []
    rejected: list[Rejected] = []
    lengths: dict[str, float | str] = {}
    for u in read_manifest(path):
        if u.audio_filepath not in lengths:  # many utterances of a long recording name the same file
            try:
                lengths[u.audio_filepath] = audio_seconds(Path(u.audio_filepath))
            except ValueError as e:
                lengths[u.audio_filepath] = str(e)
        length = lengths[u.audio_filepath]
        if isinstance(length, str):
            rejected.append(Rejected(u.id, u.audio_filepath, length))
        elif u.offset + u.duration > length + SLACK_S:
            error = f"ends at {u.offset + u.duration:.2f} s, the file has {length:.2f} s"
            rejected.append(Rejected(u.id, u.audio_filepath, error))
        else:
            try:
                meta = with_language(u.meta, language)
                meta |= {LANG: language_of(meta)} if LANG in meta else {}
            except ValueError as e:
                rejected.append(Rejected(u.id, u.audio_filepath, str(e)))
                continue
            text = normalised(u.text, meta.get(LANG, ENGLISH))
            utterances.append(Utterance(**{**vars(u), "text": text, "meta": meta}))
    return utterances, rejected


def split(
    utterances: Sequence[Utterance],
    dev_share: float,
    test_share: float,
    seed: int,
    labelled_share: float | None = None,
) -> Corpus:
    """Labelled, dev, test and unlabelled parts. Whole speakers are held out, in a seeded order, until their audio holds
    the share asked for. Where a speaker is unknown, the utterances of a recording stay together; where speakers and
    recordings are fewer than the parts, each utterance is a group of its own. With `labelled_share` what is left of
    the text joins the unlabelled, else the labelled."""
    with_text = [u for u in utterances if u.text is not None]
    shares = {"test": test_share, "dev": dev_share, "labelled": labelled_share or 0.0}
    shares = {part: share for part, share in shares.items() if share}
    rest = "unlabelled" if labelled_share else "labelled"
    speakers = {u.speaker for u in with_text if u.speaker is not None}
    recordings: dict[str, str] = {}
    """Of unknown speakers: the first utterance of each."""
    for u in with_text:
        if u.speaker is None:
            recordings.setdefault(u.audio_filepath, u.id)
    unknown = sum(u.speaker is None for u in with_text)
    sources = len(speakers) + len(recordings)
    few = sources <= len(shares) and sources < len(with_text)
    if few:
        names = [*sorted(speakers), *(Path(path).name for path in recordings)]
        say(
            f"text of {sources} speakers ({', '.join(names[:5])}) cannot fill "
            f"{len(shares) + 1} parts: single utterances are held out, not speakers"
        )
    elif speakers and unknown:
        say(f"{unknown} of {len(with_text)} utterances with text have no speaker; each recording counts as one")
    groups: dict[str, list[Utterance]] = {}
    for u in with_text:
        if few or u.speaker is None:
            first = u.id if few else recordings[u.audio_filepath]
            group = first if few or not speakers else f"{UNKNOWN_SPEAKER}{first}"
        else:
            group = u.speaker
        groups.setdefault(group, []).append(u)
    total = sum(u.duration for u in with_text)
    part_of: dict[str, str] = {}
    order = draw_order(list(groups), seed)
    for left, (part, share) in zip(range(len(shares), 0, -1), shares.items(), strict=True):
        seconds = share * total
        while seconds > 0 and len(order) > left:  # each part after it, and the rest, has a group
            group = order.pop(0)
            part_of[group] = part
            seconds -= sum(u.duration for u in groups[group])
    corpus = Corpus(unlabelled=[u for u in utterances if u.text is None])
    for name, members in groups.items():
        getattr(corpus, part_of.get(name, rest)).extend(members)
    return corpus


def _text_beside(path: Path, language: str) -> str | None:
    beside = path.with_suffix(".txt")
    if not beside.is_file():
        return None
    return normalised(read_text(beside), language)


def normalised(text: str | None, language: str) -> str | None:
    """What a file says was said: nothing at all is silence (""), marks alone (`-`) tell nothing (None)."""
    if text is None or not text.strip():
        return None if text is None else ""
    return normalise(numbers_as_asked(text, language), language) or None
