"""A Kaldi data directory: wav.scp, and where they are there segments, text, utt2spk, spk2gender, utt2lang.

ROOT may hold several, such as data/train, data/dev and data/test: they become parts by their names, or as
--train-splits, --dev-splits, ... say. Of a single one, speakers are held out.

Commands in wav.scp are never run: their utterances are listed in rejected.jsonl, which says how to write their audio.
Entries `FILE.ark:OFFSET` are read from the archive. Lengths are counted, so that reco2dur and utt2dur are not read.
Utterances of text or utt2spk that have no audio, and recordings of which no segment is, are listed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from asr_kd.core.commands import command
from asr_kd.core.options import argument, option
from asr_kd.core.terminal import say
from asr_kd.corpora.corpus import Corpus, Recording, Rejected
from asr_kd.corpora.folder import normalised
from asr_kd.corpora.kaldi_files import (
    WAV,
    DataDirectory,
    audio_path,
    base_of,
    is_data_directory,
    read_data_directory,
    unmatched,
)
from asr_kd.corpora.languages import ENGLISH, LANG, language_code
from asr_kd.corpora.named_splits import NamedSplitOptions, corpus_of_splits
from asr_kd.corpora.prepare import prepare
from asr_kd.corpora.walk import files_below

ONLY = "train"
"""The split of a single data directory, whatever it is called."""


@dataclass(frozen=True, kw_only=True)
class KaldiRun(NamedSplitOptions):
    """What `asr-kd prepare kaldi` is given."""

    root: Path = argument("data directory: a folder with wav.scp, or with such folders", metavar="ROOT")
    audio_root: Path | None = option(
        "folder that relative paths of wav.scp count from (default: the working directory, ROOT or a folder above it, "
        "whichever has the files)",
        None,
    )
    encoding: str = option("encoding of the text files", "utf-8")


@command()
def prepare_kaldi(config: KaldiRun) -> None:
    """Write the manifests of a Kaldi data directory."""
    config.check_shares()
    prepare(config, config.root, lambda: read_kaldi(config))


def read_kaldi(config: KaldiRun) -> Corpus:
    """The parts of a data directory, or of several. ValueError when there is none."""
    if is_data_directory(config.root):
        recordings, rejected = data_directory_recordings(config.root, config)
        return corpus_of_splits({ONLY: recordings}, config, rejected)
    folders = sorted(path.parent for path in files_below(config.root) if path.name == WAV)
    if not folders:
        raise ValueError(f"{config.root}: no Kaldi data directory: neither it nor a folder in it has a {WAV}")
    names = [str(folder.relative_to(config.root)) for folder in folders]
    parts = config.parts_of(names)
    say(*(f"{name}: {parts[name] or 'left out'}" for name in names))
    splits: dict[str, list[Recording]] = {}
    rejected = []
    for name, folder in zip(names, folders, strict=True):
        splits[name], bad = data_directory_recordings(folder, config)
        rejected += bad if parts[name] else []
    return corpus_of_splits(splits, config, rejected)


def data_directory_recordings(folder: Path, config: KaldiRun) -> tuple[list[Recording], list[Rejected]]:
    """The utterances of a data directory, those of one recording after each other; and what cannot be used.

    `meta` holds `gender` and `lang`, and `recording` where it is cut. ValueError when there is no wav.scp.
    """
    data = read_data_directory(folder, config.encoding)
    base = base_of(data.wavs, folder, config.audio_root)
    recordings: list[Recording] = []
    rejected = [*data.rejected, *unmatched(data)]
    for item in _recordings(data, base, config.language):
        (rejected if isinstance(item, Rejected) else recordings).append(item)  # type: ignore[arg-type]
    if data.texts is not None:
        without = sum(r.text is None and r.id not in data.texts for r in recordings)
        if without:
            say(f"{folder}: {without} utterances are not in text: unlabelled")
    return recordings, rejected


def _recordings(data: DataDirectory, base: Path, language: str) -> Iterator[Recording | Rejected]:
    paths: dict[str, Path | str] = {}
    for name, entry in data.wavs.items():
        try:
            paths[name] = audio_path(entry, base)
        except ValueError as e:
            paths[name] = str(e)
    for name, segment in sorted(data.segments.items(), key=lambda item: (item[1].recording, item[1].start)):
        path = paths.get(segment.recording)
        if not isinstance(path, Path):
            yield Rejected(name, None, path or f"recording {segment.recording} is not in wav.scp")
            continue
        text = None if data.texts is None else data.texts.get(name)
        speaker = data.speakers.get(name)
        meta = {"recording": segment.recording} if segment.recording != name else {}
        if speaker in data.genders:
            meta["gender"] = data.genders[speaker]
        try:
            code = language_code(data.languages[name]) if name in data.languages else None
        except ValueError as e:
            yield Rejected(name, str(path), f"utt2lang: {e}")
            continue
        meta |= {LANG: code} if code and {code, language} != {ENGLISH} else {}
        duration = None if segment.end is None else segment.end - segment.start
        known = None if speaker in (None, "", name) else speaker  # Kaldi calls an unknown speaker like the utterance
        yield Recording(name, path, normalised(text, code or language), known, meta, segment.start, duration)
