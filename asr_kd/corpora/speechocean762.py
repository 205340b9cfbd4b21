"""speechocean762: English sentences read by Mandarin speakers, half of them children; 2 x 2,500 utterances.

Where only the training half is at hand, part of its speakers becomes the test part.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from asr_kd.core.commands import command
from asr_kd.core.files import resolve_inside
from asr_kd.core.options import argument, option
from asr_kd.core.text_files import read_lines
from asr_kd.corpora.audio import find_audio
from asr_kd.corpora.corpus import Corpus, Recording, measure
from asr_kd.corpora.languages import ENGLISH
from asr_kd.corpora.manifest import Utterance
from asr_kd.corpora.prepare import DOWNLOADS, PrepareOptions, prepare
from asr_kd.corpora.speakers import draw_by_seconds, read_speaker_list, require_known
from asr_kd.corpora.text import normalise

URL = "https://www.openslr.org/resources/101/speechocean762.tar.gz"
LABELLED_S = 30 * 60.0
"""Audio of the labelled speakers, dev speakers among them."""
TEST_S = 30 * 60.0
"""Audio of the test speakers where the official test half is missing."""
FIRST_ADULT_AGE = 16
SEED = 762


@dataclass(frozen=True, kw_only=True)
class Speechocean762Run(PrepareOptions):
    """What `asr-kd prepare speechocean762` is given."""

    root: Path = argument("folder of the corpus", DOWNLOADS / "speechocean762", metavar="ROOT")
    download: bool = option("download the corpus if ROOT does not exist", False)
    url: str = option("archive that --download fetches", URL)
    labelled: str | None = option(
        "list of speakers, `SPEAKER [dev|test]` a line; `all`: every training speaker but dev and test speakers. "
        "(default: manifests/speechocean762_labelled.txt)",
        None,
        metavar="FILE|all",
    )


@command()
def prepare_speechocean762(config: Speechocean762Run) -> None:
    """Write the manifests of speechocean762."""
    read = lambda: read_speechocean762(config.root, config.labelled)
    prepare(config, config.root, read, config.download, config.url, language=ENGLISH)


def read_speechocean762(root: Path, labelled: str | Path | None = None) -> Corpus:
    """speechocean762 in parts; `meta` holds `group` (child, adult), `gender` and `age`.

    root: folder with `train/`, `WAVE/` and perhaps `test/`; audio may be .WAV, .wav, .flac or .opus.
    labelled: list of speakers, "all", or None for the drawn list (`speaker_roles`). Its test speakers are the test
    part where the official test half is missing, and unlabelled where it is there.
    ValueError when the folder is another corpus or a list names unknown speakers.
    """
    root = _home(root)
    train, train_rejected = measure(_recordings(root, "train"))
    official = (root / "test" / "wav.scp").is_file()
    test, test_rejected = measure(_recordings(root, "test")) if official else ([], [])
    speakers = {u.speaker for u in train if u.speaker}
    if labelled is None or str(labelled) == "all":
        roles = speaker_roles(train)
    else:
        roles = read_speaker_list(labelled)
        require_known(roles, speakers, str(labelled))
    if str(labelled) == "all":
        roles = dict.fromkeys(speakers, "labelled") | {n: r for n, r in roles.items() if r != "labelled"}
    if official:
        other = "labelled" if str(labelled) == "all" else "unlabelled"
        roles = {name: other if role == "test" else role for name, role in roles.items()}
    parts: dict[str, list[Utterance]] = {"labelled": [], "dev": [], "unlabelled": [], "test": test}
    for utterance in train:
        parts[roles.get(utterance.speaker or "", "unlabelled")].append(utterance)
    return Corpus(**parts, lexicon=_lexicon(root), rejected=train_rejected + test_rejected)


def speaker_roles(utterances: list[Utterance]) -> dict[str, str]:
    """The rule of manifests/speechocean762_labelled.txt: 30 minutes of speakers labelled, 30 minutes of others test.

    Each speaker drawn is the next of the stratum (child or adult, f or m) with the fewest seconds drawn so far; within
    a stratum the order is that of SHA-256 of "SEED:NAME". The first labelled speaker of each stratum is dev.
    """
    seconds: dict[str, float] = {}
    strata: dict[str, list[str]] = {}
    for u in utterances:
        assert u.speaker is not None
        if u.speaker not in seconds:
            strata.setdefault(f"{u.meta['group']} {u.meta['gender']}", []).append(u.speaker)
        seconds[u.speaker] = seconds.get(u.speaker, 0.0) + u.duration
    labelled = draw_by_seconds(strata, seconds, LABELLED_S, SEED)
    left = {stratum: [n for n in names if n not in labelled[stratum]] for stratum, names in strata.items()}
    roles = {n: "dev" if place == 0 else "labelled" for names in labelled.values() for place, n in enumerate(names)}
    return roles | {n: "test" for names in draw_by_seconds(left, seconds, TEST_S, SEED).values() for n in names}


def _home(root: Path) -> Path:
    for candidate in (root, root / "speechocean762"):
        if (candidate / "train" / "wav.scp").is_file():
            return candidate.resolve()
    raise ValueError(f"{root}: not speechocean762 (train/wav.scp is missing). Give the folder with train/ and WAVE/.")


def _recordings(root: Path, half: str) -> list[Recording]:
    folder = root / half
    texts, speakers = _table(folder / "text"), _table(folder / "utt2spk")
    ages, genders = _table(folder / "spk2age"), _table(folder / "spk2gender")
    recordings = []
    for name, place in _table(folder / "wav.scp").items():
        speaker = _of(speakers, name, folder / "utt2spk")
        age = int(_of(ages, speaker, folder / "spk2age"))
        group = "child" if age < FIRST_ADULT_AGE else "adult"
        meta = {"group": group, "gender": _of(genders, speaker, folder / "spk2gender"), "age": age}
        audio = find_audio(resolve_inside(root, place).with_suffix(""))
        recordings.append(Recording(name, audio, normalise(_of(texts, name, folder / "text")), speaker, meta))
    return recordings


def _table(path: Path) -> dict[str, str]:
    """A Kaldi table: key, blank, value."""
    if not path.is_file():
        raise ValueError(f"{path}: missing; speechocean762 is not whole")
    lines = read_lines(path)
    return {line.split(maxsplit=1)[0]: line.split(maxsplit=1)[1].strip() for line in lines if len(line.split()) > 1}


def _of(table: Mapping[str, str], key: str, path: Path) -> str:
    if key not in table:
        raise ValueError(f"{path}: has no entry for {key}")
    return table[key]


def _lexicon(root: Path) -> list[tuple[str, tuple[str, ...]]]:
    path = root / "resource" / "lexicon.txt"
    lines = read_lines(path) if path.is_file() else []
    return [(word, tuple(phones)) for word, *phones in (line.split() for line in lines) if phones]
