"""LibriSpeech: 960 h of read English in seven subsets. Each part of the experiment is made of whole subsets."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asr_kd.core.commands import command
from asr_kd.core.options import argument, option
from asr_kd.core.terminal import say
from asr_kd.core.text_files import read_lines
from asr_kd.corpora.corpus import Corpus, Recording, measure
from asr_kd.corpora.languages import ENGLISH
from asr_kd.corpora.manifest import Utterance
from asr_kd.corpora.prepare import DOWNLOADS, PrepareOptions, prepare
from asr_kd.corpora.speakers import read_speaker_list, require_known
from asr_kd.corpora.text import normalise

FOLDER = "LibriSpeech"
SUBSETS = {
    "labelled": ("train-clean-100",),
    "dev": ("dev-clean", "dev-other"),
    "unlabelled": ("train-clean-360", "train-other-500"),
    "test": ("test-clean", "test-other"),
}
"""The usual semi-supervised set-up."""
LEXICON = "librispeech-lexicon.txt"
"""From openslr.org/11; read when it lies in ROOT."""


@dataclass(frozen=True, kw_only=True)
class LibriSpeechRun(PrepareOptions):
    """What `asr-kd prepare librispeech` is given."""

    root: Path = argument("folder of the corpus", DOWNLOADS / "librispeech", metavar="ROOT")
    download: bool = option("download subsets that are not in ROOT (openslr.org/12)", False)
    labelled_subsets: tuple[str, ...] = option("subsets of the labelled part", SUBSETS["labelled"], metavar="SUBSET")
    dev_subsets: tuple[str, ...] = option("subsets of the dev part", SUBSETS["dev"], metavar="SUBSET")
    unlabelled_subsets: tuple[str, ...] = option(
        "subsets of the unlabelled part", SUBSETS["unlabelled"], metavar="SUBSET"
    )
    test_subsets: tuple[str, ...] = option("subsets of the test part", SUBSETS["test"], metavar="SUBSET")
    labelled: str = option(
        "list of labelled speakers, `SPEAKER [dev]` a line; the others of the labelled subsets become unlabelled "
        "(default: all)",
        "all",
        metavar="FILE|all",
    )


@command()
def prepare_librispeech(config: LibriSpeechRun) -> None:
    """Write the manifests of LibriSpeech."""
    subsets = {part: getattr(config, f"{part}_subsets") for part in SUBSETS}
    read = lambda: read_librispeech(config.root, subsets, config.labelled, config.download)
    prepare(config, config.root, read, config.download, language=ENGLISH)


def read_librispeech(
    root: Path,
    subsets: dict[str, tuple[str, ...]] | None = None,
    labelled: str | Path = "all",
    download: bool = False,
) -> Corpus:
    """LibriSpeech in parts; `meta` holds `subset` and, where SPEAKERS.TXT is there, `gender`.

    root: the folder with `LibriSpeech/`, or that folder itself; subsets that are not there are named on stderr and
    left out, or fetched with `download`. ValueError when none is there.
    """
    home = root if root.name == FOLDER else root / FOLDER
    genders = _genders(home / "SPEAKERS.TXT")
    corpus = Corpus(lexicon=_lexicon(home.parent / LEXICON))
    known = {subset for names in SUBSETS.values() for subset in names}
    found = False
    for part, names in (subsets or SUBSETS).items():
        for subset in names:
            if subset not in known:
                raise ValueError(f"--{part}-subsets {subset}: not a subset of LibriSpeech ({', '.join(sorted(known))})")
            if download and not (home / subset).is_dir():
                _download(home.parent, subset)
            if not (home / subset).is_dir():
                say(f"{home / subset}: not there, left out of {part}. --download fetches it.")
                continue
            found = True
            utterances, rejected = measure(transcribed_recordings([home / subset], {"subset": subset}, genders))
            getattr(corpus, part).extend(utterances)
            corpus.rejected.extend(rejected)
    if not found:
        raise ValueError(f"{root}: holds no subset of LibriSpeech. Give the folder with LibriSpeech/, or --download.")
    if labelled != "all":
        _restrict(corpus, labelled)
    return corpus


def transcribed_recordings(
    folders: Sequence[Path], meta: dict[str, str], genders: dict[str, str] | None = None
) -> list[Recording]:
    """Recordings of folders in LibriSpeech's layout, SPEAKER/CHAPTER/SPEAKER-CHAPTER-NUMBER.flac with the transcripts
    of a chapter in one .trans.txt. A recording without transcript is an error (ValueError)."""
    recordings = []
    for chapter in sorted({path.parent for folder in folders for path in folder.glob("*/*/*.flac")}):
        texts: dict[str, str] = {}
        for transcripts in chapter.glob("*.trans.txt"):
            lines = (line.partition(" ") for line in read_lines(transcripts))
            texts.update({name: text for name, _, text in lines if name})
        for path in sorted(chapter.glob("*.flac")):
            if path.stem not in texts:
                raise ValueError(f"{path}: has no line in the chapter's .trans.txt; the corpus is not whole")
            speaker = path.stem.partition("-")[0]
            gender = {"gender": genders[speaker]} if genders and speaker in genders else {}
            recordings.append(Recording(path.stem, path.resolve(), normalise(texts[path.stem]), speaker, meta | gender))
    return recordings


def _restrict(corpus: Corpus, labelled: str | Path) -> None:
    """Keep the listed speakers labelled; move the others of the labelled part to unlabelled, dev speakers to dev."""
    roles = read_speaker_list(labelled)
    require_known(roles, {u.speaker for u in corpus.labelled if u.speaker}, str(labelled))
    parts: dict[str, list[Utterance]] = {"labelled": [], "dev": corpus.dev, "test": corpus.test}
    for utterance in corpus.labelled:
        role = roles.get(utterance.speaker or "", "unlabelled")
        (corpus.unlabelled if role == "unlabelled" else parts[role]).append(utterance)
    corpus.labelled = parts["labelled"]


def _download(root: Path, subset: str) -> None:
    import torchaudio.datasets  # slow to import, and only downloads need it

    root.mkdir(parents=True, exist_ok=True)
    try:
        torchaudio.datasets.LIBRISPEECH(str(root), url=subset, download=True)
    except (OSError, RuntimeError) as e:
        raise ValueError(
            f"LibriSpeech {subset}: cannot be fetched ({getattr(e, 'reason', e)}). "
            f"Fetch it from openslr.org/12 by hand and unpack it in {root}."
        ) from None


def _genders(path: Path) -> dict[str, str]:
    """Speaker to f or m from SPEAKERS.TXT, `ID | SEX | SUBSET | MINUTES | NAME` a line; empty without the file."""
    if not path.is_file():
        return {}
    rows = [line.split("|") for line in read_lines(path) if not line.startswith(";")]
    return {row[0].strip(): row[1].strip().lower() for row in rows if len(row) > 2}


def _lexicon(path: Path) -> list[tuple[str, tuple[str, ...]]]:
    lines = read_lines(path) if path.is_file() else []
    return [(word, tuple(phones)) for word, *phones in (line.split() for line in lines if line.strip()) if phones]
