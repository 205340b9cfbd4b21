"""CMU AN4 (census): spelling, numbers and commands; 948 training and 130 test utterances of disjoint speakers."""

import re
from dataclasses import dataclass
from pathlib import Path

from asr_kd.core.commands import command
from asr_kd.core.options import argument, option
from asr_kd.core.text_files import read_lines, read_text
from asr_kd.corpora.audio import find_audio
from asr_kd.corpora.corpus import Corpus, Recording, measure
from asr_kd.corpora.languages import ENGLISH
from asr_kd.corpora.prepare import DOWNLOADS, PrepareOptions, prepare
from asr_kd.corpora.speakers import draw_by_share, read_speaker_list, require_known
from asr_kd.corpora.text import normalise

URL = "https://github.com/cmusphinx/an4/archive/refs/heads/master.tar.gz"
LABELLED_SPEAKERS = 15
"""20% of the 74 training speakers, the dev speakers among them."""
SEED = 1904
_TRANSCRIPT = re.compile(r"^(?:<s>\s)?(?P<text>.*?)(?:\s</s>)?\s*\((?P<id>[^()\s]+)\)\s*$")
_ALTERNATIVE = re.compile(r"\(\d+\)$")


@dataclass(frozen=True, kw_only=True)
class An4Run(PrepareOptions):
    """What `asr-kd prepare an4` is given."""

    root: Path = argument("folder of the corpus", DOWNLOADS / "an4", metavar="ROOT")
    download: bool = option("download the corpus if ROOT does not exist", False)
    url: str = option("archive that --download fetches", URL)
    labelled: str | None = option(
        "list of labelled speakers, `SPEAKER [dev]` a line; `all`: every training speaker but the dev speakers. "
        "(default: manifests/an4_labelled.txt)",
        None,
        metavar="FILE|all",
    )


@command()
def prepare_an4(config: An4Run) -> None:
    """Write the manifests of AN4."""
    prepare(
        config,
        config.root,
        lambda: read_an4(config.root, config.labelled),
        config.download,
        config.url,
        language=ENGLISH,
    )


def read_an4(root: Path, labelled: str | Path | None = None) -> Corpus:
    """AN4 in parts. The test part is the official one; of the training part, the listed speakers are labelled.

    root: folder with `etc/` and `wav/`; audio may be .flac, .wav, .sph or .raw.
    labelled: list of speakers, "all", or None for the drawn list (`labelled_speakers`).
    ValueError when the folder is not AN4 or a list names unknown speakers.
    """
    root = _home(root)
    train, train_rejected = measure(_recordings(root, "train"))
    test, test_rejected = measure(_recordings(root, "test"))
    speakers = sorted({u.speaker for u in train if u.speaker})
    if labelled is None or str(labelled) == "all":
        roles = labelled_speakers(speakers)
    else:
        roles = read_speaker_list(labelled, ("labelled", "dev"))  # the test part is the official one
        require_known(roles, set(speakers), str(labelled))
    if str(labelled) == "all":
        roles = {name: "labelled" for name in speakers} | {n: r for n, r in roles.items() if r == "dev"}
    part = {name: roles.get(name, "unlabelled") for name in speakers}
    return Corpus(
        labelled=[u for u in train if part[u.speaker or ""] == "labelled"],
        dev=[u for u in train if part[u.speaker or ""] == "dev"],
        unlabelled=[u for u in train if part[u.speaker or ""] == "unlabelled"],
        test=test,
        lexicon=_lexicon(root / "etc" / "an4.dic"),
        rejected=train_rejected + test_rejected,
    )


def labelled_speakers(speakers: list[str], seed: int = SEED) -> dict[str, str]:
    """The rule of manifests/an4_labelled.txt: 15 speakers, each sex (first letter of the name) with its share of them,
    in the order of SHA-256 of "SEED:NAME"; the first of each sex is dev."""
    strata = {sex: [name for name in speakers if name[0] == sex] for sex in "fm"}
    drawn = draw_by_share(strata, min(LABELLED_SPEAKERS, len(speakers)), seed)
    return {name: "dev" if place == 0 else "labelled" for names in drawn.values() for place, name in enumerate(names)}


def _home(root: Path) -> Path:
    for candidate in (root, root / "an4"):
        if (candidate / "etc" / "an4_train.fileids").is_file():
            return candidate.resolve()
    raise ValueError(f"{root}: not AN4 (etc/an4_train.fileids is missing). Give the folder that holds etc/ and wav/.")


def _recordings(root: Path, part: str) -> list[Recording]:
    file_ids = read_text(root / "etc" / f"an4_{part}.fileids").split()
    path = root / "etc" / f"an4_{part}.transcription"
    texts = {}
    for number, line in enumerate(read_lines(path), start=1):
        match = _TRANSCRIPT.match(line.strip())
        if match is None:
            raise ValueError(f"{path}: line {number}: {line.strip()!r}; `WORDS (UTTERANCE-ID)` is needed")
        texts[match["id"]] = normalise(match["text"])
    recordings = []
    for file_id in file_ids:
        speaker, name = file_id.split("/")[-2:]
        if name not in texts:
            raise ValueError(f"{path}: no transcript of {name}, which an4_{part}.fileids lists")
        audio = find_audio(root / "wav" / file_id)
        recordings.append(Recording(name, audio, texts[name], speaker, {"gender": speaker[0]}))
    return recordings


def _lexicon(path: Path) -> list[tuple[str, tuple[str, ...]]]:
    """The dictionary, its alternatives `WORD(2)` as further pronunciations of WORD; none when there is no file."""
    lines = read_lines(path) if path.is_file() else []
    entries = [line.split() for line in lines if line.strip()]
    return [(_ALTERNATIVE.sub("", word), tuple(phones)) for word, *phones in entries]
