"""LJSpeech, and corpora in its layout: metadata.csv with `NAME|TEXT|TEXT WITH NUMBERS AS WORDS` a line, and wavs/.

The last text of a line is taken. Recordings that no line has are unlabelled. There is one speaker, so that single
utterances are held out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from asr_kd.core.commands import command
from asr_kd.core.options import argument, option
from asr_kd.core.text_files import lenient_lines, text_fault
from asr_kd.corpora.audio import SUFFIXES
from asr_kd.corpora.corpus import Corpus, Recording, Rejected, measure
from asr_kd.corpora.folder import SplitOptions, normalised, split
from asr_kd.corpora.prepare import prepare
from asr_kd.corpora.walk import audio_called, files_below

METADATA = ("metadata.csv", "metadata.txt", "transcripts.csv")
WAVS = "wavs"


@dataclass(frozen=True, kw_only=True)
class LJSpeechRun(SplitOptions):
    """What `asr-kd prepare ljspeech` is given."""

    root: Path = argument("folder with metadata.csv and wavs/", metavar="ROOT")
    encoding: str = option("encoding of metadata.csv", "utf-8")


@command()
def prepare_ljspeech(config: LJSpeechRun) -> None:
    """Write the manifests of a corpus in LJSpeech's layout."""
    config.check_shares()
    prepare(config, config.root, lambda: _read(config))


def _read(config: LJSpeechRun) -> Corpus:
    listed: list[Recording] = []
    rejected: list[Rejected] = []
    for item in ljspeech_recordings(config.root, config.language, config.encoding):
        if isinstance(item, Rejected):
            rejected.append(item)
        else:
            listed.append(item)
    utterances, bad = measure(listed)
    corpus = split(utterances, config.dev_fraction, config.test_fraction, config.seed, config.labelled_fraction)
    corpus.rejected = [*rejected, *bad]
    return corpus


def ljspeech_recordings(root: Path, language: str, encoding: str = "utf-8") -> Iterator[Recording | Rejected]:
    """Its utterances; lines that cannot be used are rejected. ValueError when there is no metadata.csv."""
    metadata = next((root / name for name in METADATA if (root / name).is_file()), None)
    if metadata is None:
        raise ValueError(f"{root}: no metadata.csv. `asr-kd prepare table` reads tables of other names and columns.")
    wavs = root / WAVS if (root / WAVS).is_dir() else root
    seen: dict[str, int] = {}
    named: set[Path] = set()
    for number, line in enumerate(lenient_lines(metadata, encoding), 1):
        if not line.strip():
            continue
        name, *texts = (value.strip() for value in line.split("|"))
        fault = text_fault(line)
        if fault is None and (not name or not texts):
            fault = "not NAME|TEXT"
        if fault is None and (Path(name).is_absolute() or ".." in Path(name).parts):
            fault = f"{name} leads out of {wavs.name}/"
        if fault is None and name in seen:
            fault = f"{name} is in line {seen[name]} as well"
        if fault is not None:
            yield Rejected(f"{metadata.stem}-{number}", None, f"{metadata}: line {number}, {fault}")
            continue
        seen[name] = number
        path = wavs / name
        if path.suffix.lower() not in SUFFIXES:
            path = audio_called(path) or path.with_name(f"{name.rpartition('/')[2]}.wav")
        named.add(path)
        text = next((text for text in reversed(texts) if text), "")
        yield Recording(_id(name), path.absolute(), normalised(text, language) or None, root.resolve().name)
    for path in files_below(wavs):
        if path.suffix.lower() in SUFFIXES and path not in named:
            yield Recording(_id(str(path.relative_to(wavs))), path.absolute(), None, root.resolve().name)


def _id(name: str) -> str:
    path = Path(name)
    return "-".join((path.with_suffix("") if path.suffix.lower() in SUFFIXES else path).parts)
