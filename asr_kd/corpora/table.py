"""A table of audio files: CSV, TSV, or text exported from a spreadsheet, with a line that names the columns.

Columns that are not named by options are guessed from usual names, and what was guessed is said. Relative paths count
from the table's folder. Other columns go to `meta`. A row that cannot be used is listed with its line and column.
"""

import hashlib
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from asr_kd.core.commands import command
from asr_kd.core.options import argument, option
from asr_kd.core.terminal import say
from asr_kd.corpora.audio import SUFFIXES
from asr_kd.corpora.corpus import Corpus, Recording, Rejected, measure
from asr_kd.corpora.delimited import DELIMITERS, DelimitedTable, TableRow
from asr_kd.corpora.folder import SplitOptions, normalised, split
from asr_kd.corpora.languages import ENGLISH, LANG, language_code
from asr_kd.corpora.prepare import prepare
from asr_kd.corpora.walk import audio_called, is_file

NAMES = {
    "audio": (
        *("audio_filepath", "audio_path", "audio_file", "audio", "path", "file_name", "filename", "file_path"),
        *("filepath", "file", "wav", "wav_path", "wav_filename", "clip", "recording"),
    ),
    "text": (
        *("text", "sentence", "transcript", "transcription", "normalized_text", "normalised_text", "utterance"),
        *("raw_transcription", "raw_text", "words", "label"),
    ),
    "speaker": ("speaker", "speaker_id", "client_id", "spk", "spk_id", "speaker_name", "user_id", "reader_id"),
    "id": ("id", "utt_id", "utterance_id", "utt", "uid", "segment_id", "key"),
    "offset": ("offset", "start", "start_time", "begin", "start_seconds", "onset"),
    "end": ("end", "end_time", "stop", "end_seconds"),
    "duration": ("duration", "length", "seconds", "duration_seconds", "dur"),
    "language": ("lang", "language", "locale"),
}
"""What columns are called as a rule, the surest first; in lower case, blanks and hyphens as `_`."""
NONE = "none"


@dataclass(frozen=True, kw_only=True)
class TableRun(SplitOptions):
    """What `asr-kd prepare table` is given."""

    root: Path = argument("table: CSV, TSV or text", metavar="TABLE")
    audio_column: str | None = option("column of the path of the audio file (default: guess)", None, metavar="NAME")
    text_column: str | None = option(
        "column of the transcript, or none (default: guess); an empty field is no transcript", None, metavar="NAME"
    )
    speaker_column: str | None = option("column of the speaker, or none (default: guess)", None, metavar="NAME")
    id_column: str | None = option("column of the utterance's id, or none (default: guess)", None, metavar="NAME")
    offset_column: str | None = option(
        "column of the start of the utterance in its file, in seconds, or none (default: guess)", None, metavar="NAME"
    )
    end_column: str | None = option(
        "column of the end of the utterance, in seconds, or none (default: guess)", None, metavar="NAME"
    )
    duration_column: str | None = option(
        "column of the length of the utterance, in seconds, or none (default: guess, where there is an offset)",
        None,
        metavar="NAME",
    )
    language_column: str | None = option(
        "column of the language's code, or none (default: guess)", None, metavar="NAME"
    )
    columns: tuple[str, ...] = option("names of the columns, for a table without a line of names", (), metavar="NAME")
    audio_root: Path | None = option("folder that relative paths count from (default: the table's folder)", None)
    delimiter: str = option(f"auto, {', '.join(DELIMITERS)}, or the character", "auto")
    encoding: str = option("encoding of the table", "utf-8")


@command()
def prepare_table(config: TableRun) -> None:
    """Write the manifests of a table of audio files."""
    config.check_shares()
    prepare(config, config.root, lambda: _read(config))


def _read(config: TableRun) -> Corpus:
    recordings, rejected = table_recordings(config)
    utterances, bad = measure(recordings)
    corpus = split(utterances, config.dev_fraction, config.test_fraction, config.seed, config.labelled_fraction)
    corpus.rejected = [*rejected, *bad]
    return corpus


def table_recordings(config: TableRun) -> tuple[list[Recording], list[Rejected]]:
    """The utterances of a table, and the rows that cannot be used. ValueError when it has no column of audio."""
    table = DelimitedTable(config.root, config.delimiter, config.encoding, config.columns)
    chosen = chosen_columns(table, config)
    reader = RowReader(table, chosen, config.audio_root or config.root.parent, config.language)
    recordings: list[Recording] = []
    rejected: list[Rejected] = []
    for row in table.rows():
        try:
            recordings.append(reader.recording(row))
        except ValueError as e:
            rejected.append(Rejected(f"{table.path.stem}-{row.line}", None, f"{table.path}: line {row.line}, {e}"))
    named, again = with_own_ids(recordings, reader.audio_root)
    return named, [*rejected, *again]


def chosen_columns(table: DelimitedTable, config: TableRun) -> dict[str, int]:
    """The number of the column of each role in NAMES that the table has. What was guessed is said.

    ValueError when a column that was asked for is not there, or none is the audio's.
    """
    names = {name.lower().replace(" ", "_").replace("-", "_"): i for i, name in reversed([*enumerate(table.columns)])}
    chosen: dict[str, int] = {}
    guessed: list[str] = []
    for role, usual in NAMES.items():
        asked = getattr(config, f"{role}_column")
        if asked == NONE:
            continue
        if asked is not None:
            if asked not in table.columns:
                raise ValueError(f"{table.path}: --{role}-column {asked}: the columns are {_listed(table.columns)}")
            chosen[role] = table.columns.index(asked)
            continue
        free = (names[name] for name in usual if name in names and names[name] not in chosen.values())
        found = next(free, None)
        if found is not None and (role not in ("duration", "end") or "offset" in chosen):
            chosen[role] = found
            guessed.append(f"{role} = {table.columns[found]}")
    if "audio" not in chosen:
        raise ValueError(
            f"{table.path}: which column is the audio? Say --audio-column; the columns are {_listed(table.columns)}. "
            "For a table without a line of names give --columns."
        )
    if guessed:
        say(f"{table.path}: columns taken by their names: {', '.join(guessed)}. --ROLE-column names another, or none.")
    if "text" not in chosen:
        say(f"{table.path}: no column is taken as the text ({_listed(table.columns)}): unlabelled")
    return chosen


class RowReader:
    """Makes recordings of rows."""

    def __init__(self, table: DelimitedTable, chosen: dict[str, int], audio_root: Path, language: str) -> None:
        """chosen: as of `chosen_columns`.  audio_root: where relative paths count from."""
        self.audio_root = audio_root.absolute()
        self._table, self._chosen, self._language = table, chosen, language
        self._others = [(i, name) for i, name in enumerate(table.columns) if name and i not in chosen.values()]
        self._suffix: str | None = None

    def recording(self, row: TableRow) -> Recording:
        """The utterance; its id is the table's, or empty. ValueError names the column."""
        if row.fault is not None:
            raise ValueError(row.fault)
        name = self._value(row, "audio")
        if not name:
            raise ValueError(f"{self._column('audio')}: names no file")
        offset, duration = self._stretch(row)
        code = self._value(row, "language")
        try:
            language = language_code(code) if code else None
        except ValueError as e:
            raise ValueError(f"{self._column('language')}: {e}") from None
        meta = {column: row.values[i].strip() for i, column in self._others if row.values[i].strip()}
        meta |= {LANG: language} if language and {language, self._language} != {ENGLISH} else {}
        text = self._value(row, "text") or None
        return Recording(
            self._value(row, "id"),
            self._file(name),
            normalised(text, language or self._language),
            self._value(row, "speaker") or None,
            meta,
            offset,
            duration,
        )

    def _value(self, row: TableRow, role: str) -> str:
        return row.values[self._chosen[role]].strip() if role in self._chosen else ""

    def _column(self, role: str) -> str:
        return f"column {self._table.columns[self._chosen[role]]}"

    def _stretch(self, row: TableRow) -> tuple[float, float | None]:
        offset, end, duration = (self._seconds(row, role) for role in ("offset", "end", "duration"))
        start = offset or 0.0
        if end is not None and duration is None:
            duration = end - start
        if duration is not None and duration <= 0:
            role = "duration" if "duration" in self._chosen else "end"
            raise ValueError(f"{self._column(role)}: a length of {duration:g} s")
        return start, duration

    def _seconds(self, row: TableRow, role: str) -> float | None:
        value = self._value(row, role)
        if not value:
            return None
        try:
            seconds = float(value.replace(",", "."))
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds < 1e9:
            raise ValueError(f"{self._column(role)}: {value[:40]!r} is no number of seconds")
        return seconds

    def _file(self, name: str) -> Path:
        """The file; tables may leave out its suffix."""
        path = self.audio_root / name
        if path.suffix.lower() in SUFFIXES or is_file(path):
            return path
        for suffix in () if self._suffix is None else (self._suffix,):
            with_suffix = path.with_name(path.name + suffix)
            if is_file(with_suffix):
                return with_suffix
        found = audio_called(path)
        if found is None:
            return path
        self._suffix = found.name.removeprefix(path.name)
        return found


def with_own_ids(recordings: list[Recording], root: Path) -> tuple[list[Recording], list[Rejected]]:
    """The recordings with ids of their own: those that they have, where all have one; else the path below `root`, and
    where several are of one file the offset. What is there a second time is rejected.

    Files outside `root` are called by their names; where several have the same, by their paths below the folder that
    holds all of them. Different stretches whose ids are the same all the same have a digest in them.
    """
    ids = [r.id for r in recordings]
    if not all(ids):
        stems = [_below(r.path, root) for r in recordings]
        ids = _ids(recordings, stems)
        shared = _shared(recordings, ids)
        if shared:
            clashing = {stem for stem, name in zip(stems, ids, strict=True) if name in shared}
            outside = [r.path.parent for r in recordings if r.path is not None and not r.path.is_relative_to(root)]
            base = Path(os.path.commonpath(outside)) if outside else root
            longer = [_below(r.path, root if _is_below(r.path, root) else base) for r in recordings]
            stems = [long if stem in clashing else stem for stem, long in zip(stems, longer, strict=True)]
            ids = _ids(recordings, stems)
            shared = _shared(recordings, ids)
            ids = [
                f"{name}-{_digest(r, root)}" if name in shared else name
                for r, name in zip(recordings, ids, strict=True)
            ]
    first: dict[str, Recording] = {}
    named: list[Recording] = []
    again: list[Rejected] = []
    for recording, name in zip(recordings, ids, strict=True):
        other = first.setdefault(name, recording)
        if other is not recording:
            reason = f"id {name} is that of a row before, {other.path}; give each row an id of its own"
            if _stretch(other) == _stretch(recording):
                reason = f"{name} is listed a second time"
            again.append(Rejected(name, str(recording.path), f"{recording.path}: {reason}"))
            continue
        named.append(Recording(**{**vars(recording), "id": name}))
    return named, again


def _ids(recordings: list[Recording], stems: list[str]) -> list[str]:
    times = Counter(stems)
    return [_id(r, stem, times[stem] > 1) for r, stem in zip(recordings, stems, strict=True)]


def _shared(recordings: list[Recording], ids: list[str]) -> set[str]:
    """The ids that several different stretches have."""
    first: dict[str, Recording] = {}
    pairs = zip(recordings, ids, strict=True)
    return {name for r, name in pairs if _stretch(first.setdefault(name, r)) != _stretch(r)}


def _stretch(recording: Recording) -> tuple[Path | None, float, float | None]:
    return recording.path, recording.offset, recording.duration


def _digest(recording: Recording, root: Path) -> str:
    """Of path and stretch; the same wherever the table and its audio are moved to together."""
    path, offset, duration = _stretch(recording)
    told = f"{os.path.relpath(path or '', root)} {offset} {duration}"
    return hashlib.sha256(told.encode(errors="surrogateescape")).hexdigest()[:8]


def _is_below(path: Path | None, root: Path) -> bool:
    return path is not None and path.is_relative_to(root)


def _below(path: Path | None, root: Path) -> str:
    assert path is not None
    inside = path.relative_to(root) if path.is_relative_to(root) else Path(path.name)
    return "-".join(part for part in inside.with_suffix("").parts if part != "..")


def _id(recording: Recording, stem: str, several: bool) -> str:
    if not several:
        return stem
    if recording.offset or recording.duration is not None:
        return f"{stem}-{round(recording.offset * 1000):08d}"
    return f"{stem}-{Path(recording.path or '').suffix[1:]}"


def _listed(columns: list[str]) -> str:
    return ", ".join(columns)[:300]
