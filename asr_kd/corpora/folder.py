"""Your own audio: a folder of files with transcripts beside them where there are some, or a NeMo-style manifest.

What has text is labelled, the rest unlabelled. A share of the labelled speakers is held out.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from asr_kd.corpora.audio import SLACK_S, SUFFIXES, audio_seconds
from asr_kd.corpora.corpus import Corpus, Recording, SetAside, measure
from asr_kd.corpora.manifest import Utterance, read_manifest
from asr_kd.corpora.speakers import draw_order
from asr_kd.corpora.text import normalise

DEV_SHARE = 0.1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `asr-kd prepare folder` and `asr-kd prepare manifest`."""
    parser.add_argument(
        "--dev-share",
        type=float,
        default=DEV_SHARE,
        help="share of the audio with text held out (default: %(default)g)",
    )
    parser.add_argument("--test-share", type=float, default=0.0, help="share of it that is test (default: %(default)g)")
    parser.add_argument("--seed", type=int, default=0, help="which speakers those are (default: %(default)s)")
    parser.add_argument(
        "--speaker-from",
        choices=("folder", "none"),
        default="folder",
        help="folder: files of one folder are of one speaker; none: unknown (manifests say it themselves)",
    )


def from_args(root: Path, args: argparse.Namespace) -> Corpus:
    """The corpus as the command line asks for it; a file is a manifest, a folder is walked."""
    for name in ("dev_share", "test_share"):
        if not 0 <= getattr(args, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} {getattr(args, name)}: it must lie in [0, 1)")
    if root.is_dir():
        utterances, aside = measure(folder_recordings(root, args.speaker_from == "folder"))
    else:
        utterances, aside = checked_manifest(root)
    corpus = split(utterances, args.dev_share, args.test_share, args.seed)
    corpus.set_aside = aside
    return corpus


def folder_recordings(root: Path, speaker_from_folder: bool = True) -> list[Recording]:
    """Every audio file below `root`, sorted, with the text of NAME.txt beside NAME.flac.

    The id is the path below `root` without suffix, `/` as `-`; the speaker is the folder that the file lies in.
    ValueError when there is no audio, or two files share an id.
    """
    suffixes = {suffix.lower() for suffix in SUFFIXES}
    paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in suffixes and path.is_file())
    if not paths:
        raise ValueError(f"{root}: holds no audio ({', '.join(sorted(suffixes))} files are looked for)")
    recordings: dict[str, Recording] = {}
    for path in paths:
        relative = path.relative_to(root).with_suffix("")
        name = "-".join(relative.parts)
        if name in recordings:
            raise ValueError(f"{path}: would have the id {name}, as {recordings[name].path} has. Rename one of them.")
        speaker = "/".join(relative.parent.parts) or None if speaker_from_folder else None
        recordings[name] = Recording(name, path.resolve(), _text_beside(path), speaker)
    return list(recordings.values())


def checked_manifest(path: Path) -> tuple[list[Utterance], list[SetAside]]:
    """The utterances of a manifest with normalised text; those whose audio is missing or too short are set aside.

    Text that holds no word (NeMo writes `-` or nothing for unlabelled audio) counts as no text.
    """
    utterances: list[Utterance] = []
    aside: list[SetAside] = []
    lengths: dict[str, float | str] = {}
    for u in read_manifest(path):
        if u.audio_filepath not in lengths:  # many utterances of a long recording name the same file
            try:
                lengths[u.audio_filepath] = audio_seconds(Path(u.audio_filepath))
            except ValueError as e:
                lengths[u.audio_filepath] = str(e)
        length = lengths[u.audio_filepath]
        if isinstance(length, str):
            aside.append(SetAside(u.id, u.audio_filepath, length))
        elif u.offset + u.duration > length + SLACK_S:
            error = f"ends at {u.offset + u.duration:.2f} s, the file has {length:.2f} s"
            aside.append(SetAside(u.id, u.audio_filepath, error))
        else:
            utterances.append(Utterance(**{**vars(u), "text": normalise(u.text or "") or None}))
    return utterances, aside


def split(utterances: Sequence[Utterance], dev_share: float, test_share: float, seed: int) -> Corpus:
    """Labelled, dev, test and unlabelled parts. Whole speakers are held out, in a seeded order, until their audio holds
    the share asked for; with a single speaker, or none known, single utterances are."""
    with_text = [u for u in utterances if u.text is not None]
    by_speaker = len({u.speaker for u in with_text}) > 1 and all(u.speaker is not None for u in with_text)
    groups: dict[str, list[Utterance]] = {}
    for u in with_text:
        groups.setdefault((u.speaker or "") if by_speaker else u.id, []).append(u)
    total = sum(u.duration for u in with_text)
    wanted = {"test": test_share * total, "dev": dev_share * total}
    part_of: dict[str, str] = {}
    order = draw_order(list(groups), seed)
    for part, seconds in wanted.items():
        while seconds > 0 and len(order) > 1:  # the last group stays labelled
            group = order.pop(0)
            part_of[group] = part
            seconds -= sum(u.duration for u in groups[group])
    corpus = Corpus(unlabelled=[u for u in utterances if u.text is None])
    for name, members in groups.items():
        getattr(corpus, part_of.get(name, "labelled")).extend(members)
    return corpus


def _text_beside(path: Path) -> str | None:
    beside = path.with_suffix(".txt")
    if not beside.is_file():
        return None
    try:
        return normalise(beside.read_text(encoding="utf-8")) or None
    except UnicodeDecodeError:
        raise ValueError(f"{beside}: not UTF-8 text") from None
