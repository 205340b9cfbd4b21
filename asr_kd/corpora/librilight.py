"""Libri-Light: up to 60,000 h of unlabelled audio books, and its limited labelled sets of 10 h, 1 h and 10 min.

The recordings are chapters of many minutes; they are cut at the pauses that the corpus's own JSON files list.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from asr_kd.core.commands import command
from asr_kd.core.files import read_json
from asr_kd.core.options import argument, option
from asr_kd.core.terminal import say
from asr_kd.corpora.corpus import Corpus, Recording, Rejected, measure
from asr_kd.corpora.languages import ENGLISH
from asr_kd.corpora.librispeech import SUBSETS, read_librispeech, transcribed_recordings
from asr_kd.corpora.manifest import Utterance
from asr_kd.corpora.prepare import DOWNLOADS, PrepareOptions, prepare

UNLABELLED = ("small", "medium", "large", "duplicate")
LIMITED_FOLDER = "librispeech_finetuning"
LIMITED = {"10min": ("1h/0",), "1h": ("1h/*",), "10h": ("1h/*", "9h")}
MAX_SECONDS = 20.0
TRAINING_SUBSETS = (*SUBSETS["labelled"], *SUBSETS["unlabelled"])
"""Of LibriSpeech, whose utterances the limited set is drawn from."""


@dataclass(frozen=True, kw_only=True)
class LibriLightRun(PrepareOptions):
    """What `asr-kd prepare librilight` is given."""

    root: Path = argument("folder of the corpus", DOWNLOADS / "librilight", metavar="ROOT")
    download: bool = option("download the limited labelled set if it is not in ROOT", False)
    unlabelled_subsets: tuple[str, ...] | None = option(
        f"folders of ROOT to take: {' '.join(UNLABELLED)} (default: those that are there); with --librispeech also its "
        "training subsets, such as train-clean-100, less what the limited set has of them",
        None,
        metavar="SUBSET",
    )
    limited: str = option("size of the labelled set", "10h", choices=LIMITED)
    max_seconds: float = option("longest segment that chapters are cut into, in seconds", MAX_SECONDS)
    librispeech: Path | None = option(
        "folder of LibriSpeech, for its dev and test subsets (default: no dev and test manifests) and for training "
        "subsets of --unlabelled-subsets",
        None,
        metavar="DIR",
    )


@command()
def prepare_librilight(config: LibriLightRun) -> None:
    """Write the manifests of Libri-Light."""
    read = lambda: read_librilight(
        config.root,
        config.unlabelled_subsets or None,
        config.limited,
        config.max_seconds,
        config.librispeech,
        config.download,
    )
    prepare(config, config.root, read, config.download, language=ENGLISH)


def read_librilight(
    root: Path,
    unlabelled_subsets: tuple[str, ...] | None = None,
    limited: str = "10h",
    max_seconds: float = MAX_SECONDS,
    librispeech: Path | None = None,
    download: bool = False,
) -> Corpus:
    """Libri-Light in parts: unlabelled pieces of at most `max_seconds`, the limited set as labelled part.

    root: folder with `small/`, `medium/`, ... and `librispeech_finetuning/`.  dev and test come from `librispeech`, and
    so do training subsets among `unlabelled_subsets`, without the utterances of the limited set.
    ValueError when a folder that is asked for is not there, or nothing is.
    """
    if not max_seconds > 0:
        raise ValueError(f"--max-seconds {max_seconds}: it must be above 0")
    corpus = Corpus()
    of_librispeech = tuple(subset for subset in unlabelled_subsets or () if subset in TRAINING_SUBSETS)
    if of_librispeech and librispeech is None:
        raise ValueError(f"--unlabelled-subsets {of_librispeech[0]}: a subset of LibriSpeech. Give --librispeech DIR.")
    if librispeech is not None:
        parts = {part: SUBSETS[part] for part in ("dev", "test")} | {"unlabelled": of_librispeech}
        corpus = read_librispeech(librispeech, parts)
    if download and not (root / LIMITED_FOLDER).is_dir():
        _download(root)
    if (root / LIMITED_FOLDER).is_dir():
        folders = [
            half for pattern in LIMITED[limited] for half in sorted((root / LIMITED_FOLDER).glob(f"{pattern}/*"))
        ]
        corpus.labelled, rejected = measure(transcribed_recordings(folders, {"subset": limited}))
        corpus.rejected.extend(rejected)
    else:
        say(f"{root / LIMITED_FOLDER}: not there, no labelled part. --download fetches it.")
    labelled = {u.id for u in corpus.labelled}
    corpus.unlabelled = [u for u in corpus.unlabelled if u.id not in labelled]
    subsets = tuple(s for s in UNLABELLED if (root / s).is_dir()) if unlabelled_subsets is None else unlabelled_subsets
    for subset in subsets:
        if subset in of_librispeech:
            continue
        if not (root / subset).is_dir():
            raise ValueError(f"--unlabelled-subsets {subset}: {root} has no such folder")
        chapters, rejected = measure(_chapters(root / subset))
        corpus.rejected.extend(rejected)
        for chapter in chapters:
            pieces = list(_pieces(chapter, max_seconds))
            corpus.unlabelled.extend(pieces)
            if not pieces:
                corpus.rejected.append(_without_speech(chapter))
    return corpus


def _chapters(folder: Path) -> Iterator[Recording]:
    """One recording a file: SPEAKER/BOOK/FILE.flac."""
    for path in sorted(folder.glob("*/*/*.flac")):
        speaker, book = path.parts[-3:-1]
        yield Recording(f"{speaker}-{book}-{path.stem}", path.resolve(), None, speaker, {"subset": folder.name})


def _pieces(chapter: Utterance, max_seconds: float) -> Iterator[Utterance]:
    """The chapter cut at pauses. Its id gets the start in milliseconds; a chapter that fits stays whole."""
    for start, end in cut(_voiced(chapter), max_seconds):
        end = min(end, chapter.duration)
        if end > start:
            yield Utterance(
                f"{chapter.id}-{round(start * 1000):08d}",
                chapter.audio_filepath,
                end - start,
                start,
                None,
                chapter.speaker,
                chapter.meta,
            )


def _without_speech(chapter: Utterance) -> Rejected:
    path = Path(chapter.audio_filepath).with_suffix(".json")
    reason = f"{path}: voice_activity lists no speech in the audio; without that file all of the audio is taken"
    return Rejected(chapter.id, chapter.audio_filepath, reason)


def _voiced(chapter: Utterance) -> list[tuple[float, float]]:
    """Start and end, in seconds, of the stretches of speech that the JSON beside the audio lists; else of it all."""
    path = Path(chapter.audio_filepath).with_suffix(".json")
    if path.is_file():
        try:
            return [(float(start), float(end)) for start, end in read_json(path)["voice_activity"]]
        except (KeyError, TypeError, ValueError):
            say(f"{path}: no usable voice_activity; cut without regard to pauses")
    return [(0.0, chapter.duration)]


def cut(voiced: list[tuple[float, float]], max_seconds: float) -> Iterator[tuple[float, float]]:
    """Join neighbouring stretches of speech, pauses included, into pieces of at most `max_seconds`.

    A stretch that is longer by itself is cut evenly.
    """
    piece: tuple[float, float] | None = None
    for start, end in voiced:
        if piece is not None and end - piece[0] <= max_seconds:
            piece = (piece[0], end)
            continue
        if piece is not None:
            yield piece
        count = max(1, -int(-(end - start) // max_seconds))
        step = (end - start) / count
        yield from ((start + i * step, start + (i + 1) * step) for i in range(count - 1))
        piece = (start + (count - 1) * step, end)
    if piece is not None:
        yield piece


def _download(root: Path) -> None:
    import torchaudio.datasets  # slow to import, and only downloads need it

    root.mkdir(parents=True, exist_ok=True)
    try:
        torchaudio.datasets.LibriLightLimited(str(root), download=True)
    except (OSError, RuntimeError) as e:
        raise ValueError(
            f"Libri-Light's limited set: cannot be fetched ({getattr(e, 'reason', e)}). "
            f"Fetch librispeech_finetuning.tgz by hand and unpack it in {root}."
        ) from None
