"""The files of a Kaldi data directory: wav.scp, segments, text, utt2spk, spk2gender, utt2lang. Nothing in them is run.

What does not hold together is listed: lines that cannot be read, utterances without audio, recordings without use.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from asr_kd.core.terminal import say
from asr_kd.core.text_files import lenient_lines, text_fault
from asr_kd.corpora.corpus import Rejected
from asr_kd.corpora.walk import is_file

WAV, SEGMENTS, TEXT, SPEAKERS = "wav.scp", "segments", "text", "utt2spk"
GENDERS, LANGUAGES = "spk2gender", "utt2lang"
TO_END = -1.0
"""As the end of a segment: that of the recording."""
LOOKED_AT = 100
"""Relative paths by which the folder that they count from is chosen."""
_BLANKS = re.compile(r"[ \t\r\f\v]+")
_IN_ARCHIVE = re.compile(r"(?P<file>.+):(?P<offset>[0-9]+)", re.DOTALL)
_RANGE = re.compile(r".+\[[0-9:, ]*\]", re.DOTALL)


@dataclass(frozen=True)
class Segment:
    """A stretch of a recording."""

    recording: str
    start: float = 0.0
    """Seconds."""
    end: float | None = None
    """Seconds; None: the end of the recording."""


@dataclass
class DataDirectory:
    """What the files of one data directory say of each utterance or recording, by its id."""

    folder: Path
    wavs: dict[str, str]
    """Each recording's path as written, or an archive and an offset, or a command."""
    segments: dict[str, Segment]
    """Each utterance; without a file `segments`, each recording."""
    texts: dict[str, str] | None
    """None: there is no file `text`."""
    speakers: dict[str, str]
    genders: dict[str, str]
    """Of each speaker."""
    languages: dict[str, str]
    rejected: list[Rejected] = field(default_factory=list)
    """Lines that cannot be used."""


def is_data_directory(folder: Path) -> bool:
    """Whether the folder holds a wav.scp."""
    return (folder / WAV).is_file()


def read_data_directory(folder: Path, encoding: str = "utf-8") -> DataDirectory:
    """Read all its files. ValueError when there is no wav.scp."""
    rejected: list[Rejected] = []
    tables = {name: _read(folder / name, encoding, rejected) for name in (WAV, TEXT, SPEAKERS, GENDERS, LANGUAGES)}
    wavs = tables[WAV]
    if wavs is None:
        raise ValueError(f"{folder}: no Kaldi data directory: it has no {WAV}")
    segments = {name: Segment(name) for name in wavs}
    if (folder / SEGMENTS).is_file():
        segments = dict(_segments(folder / SEGMENTS, encoding, rejected))
    speakers, genders, languages = (tables[name] or {} for name in (SPEAKERS, GENDERS, LANGUAGES))
    return DataDirectory(folder, wavs, segments, tables[TEXT], speakers, genders, languages, rejected)


def unmatched(data: DataDirectory) -> Iterator[Rejected]:
    """Utterances of text and utt2spk that have no audio, and recordings of which no segment is."""
    has_segments = (data.folder / SEGMENTS).is_file()
    audio = SEGMENTS if has_segments else WAV
    listed = {r.id for r in data.rejected}
    for name, table in ((TEXT, data.texts or {}), (SPEAKERS, data.speakers)):
        for utterance in table:
            if utterance not in data.segments and utterance not in listed:
                listed.add(utterance)
                yield Rejected(utterance, None, f"{data.folder / name}: {utterance} is not in {audio}: it has no audio")
    if has_segments:
        used = {segment.recording for segment in data.segments.values()}
        for recording in data.wavs:
            if recording not in used and recording not in listed:
                yield Rejected(recording, None, f"{data.folder / SEGMENTS}: no segment is of recording {recording}")


def audio_path(entry: str, base: Path) -> Path:
    """The file, or the member of an archive, that an entry of wav.scp names. base: where relative paths count from.

    ValueError when it is a command, standard input, or a range of a matrix.
    """
    if entry.endswith("|") or entry.startswith("|"):
        raise ValueError(
            f"wav.scp has a command ({entry[:80]}), and no command of data is run. Where it only decodes one file, "
            "write the path of that file; else run `wav-copy scp:wav.scp ark,scp:audio.ark,audio.scp` and take "
            "audio.scp as wav.scp."
        )
    if entry in ("", "-"):
        raise ValueError("wav.scp names no file")
    plain = base / entry
    if is_file(plain):
        return plain
    if _RANGE.fullmatch(entry):
        raise ValueError(f"wav.scp has a range ({entry[-40:]}); write it as a segment")
    inside = _IN_ARCHIVE.fullmatch(entry)
    if inside is None:
        return plain
    return base / f"{inside['file']}::{inside['offset']}"


def base_of(wavs: dict[str, str], folder: Path, audio_root: Path | None = None) -> Path:
    """Where relative paths of wav.scp count from: `audio_root`, else the working directory, the folder, or one of its
    parents, whichever has most of the first files. What is taken is said where it is not the working directory."""
    if audio_root is not None:
        return audio_root.absolute()
    relative = [entry for entry in wavs.values() if not entry.startswith(("/", "|")) and not entry.endswith("|")]
    files = [_file_of(entry) for entry in relative[:LOOKED_AT]]
    home = Path.cwd()
    bases = [home, *(base for base in (folder.absolute(), *folder.absolute().parents) if base != home)]
    found = [sum(is_file(base / file) for file in files) for base in bases]
    best = max(range(len(bases)), key=lambda i: (found[i], -i))
    if best and files:
        say(f"{folder / WAV}: relative paths count from {bases[best]}. --audio-root names another folder.")
    return bases[best]


def _file_of(entry: str) -> str:
    inside = _IN_ARCHIVE.fullmatch(entry)
    return entry if inside is None else inside["file"]


def _read(path: Path, encoding: str, rejected: list[Rejected]) -> dict[str, str] | None:
    """Key and rest of each line; None without the file."""
    if not path.is_file():
        return None
    table: dict[str, str] = {}
    for _, key, rest in _lines(path, encoding, rejected, table):
        table[key] = rest
    return table


def _segments(path: Path, encoding: str, rejected: list[Rejected]) -> Iterator[tuple[str, Segment]]:
    seen: dict[str, str] = {}
    for place, name, rest in _lines(path, encoding, rejected, seen):
        seen[name] = rest
        values = _BLANKS.split(rest)
        try:
            if len(values) != 3:
                more = ": channels are averaged, and not read apart" if len(values) == 4 else ""
                raise ValueError(f"{len(values)} values after the utterance, not recording, start and end{more}")
            start, end = (_seconds(value) for value in values[1:])
            if start < 0 or (end != TO_END and end <= start):
                raise ValueError(f"from {values[1]} to {values[2]} s is no stretch of audio")
        except ValueError as e:
            rejected.append(Rejected(name, None, f"{place}: {e}"))
            continue
        yield name, Segment(values[0], start, None if end == TO_END else end)


def _seconds(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        raise ValueError(f"{value[:40]!r} is no number of seconds") from None
    if not abs(seconds) < 1e9:
        raise ValueError(f"{value[:40]} s is no place in a recording")
    return seconds


def _lines(
    path: Path, encoding: str, rejected: list[Rejected], known: dict[str, str]
) -> Iterator[tuple[str, str, str]]:
    """Place, first word and rest of each line that is not blank; those of other encodings and of known keys are
    rejected."""
    for number, line in enumerate(lenient_lines(path, encoding), 1):
        words = line.strip(" \t\r\f\v")
        if not words:
            continue
        key, *rest = _BLANKS.split(words, maxsplit=1)
        place = f"{path}:{number}"
        fault = text_fault(words)
        if fault is None and key in known:
            fault = f"{key} occurs a second time"
        if fault is not None:
            rejected.append(Rejected(key.encode(errors="replace").decode(), None, f"{place}: {fault}"))
            continue
        yield place, key, rest[0] if rest else ""
