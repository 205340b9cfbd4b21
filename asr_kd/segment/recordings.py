"""The recordings that are cut, and the parts in which they are shared out to workers.

A part is a list of recordings in a file; its name is a digest of what it holds, so that a longer manifest finds the
parts again that it shares with the one before.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from asr_kd.core.files import atomic_path, fingerprint
from asr_kd.core.text_files import read_rows
from asr_kd.corpora.corpus import REJECTED, Recording, Rejected, measure
from asr_kd.corpora.folder import folder_recordings
from asr_kd.corpora.manifest import Utterance, read_manifest

PART_SECONDS, PART_RECORDINGS = 3600.0, 1000
"""A part has at most so much audio, and so many recordings; a longer recording is a part of its own."""
MANIFEST_OF_AUDIO = "unlabelled"
"""Name of the manifest of recordings that come as audio files."""


@dataclass
class Source:
    """What becomes one manifest of segments."""

    name: str
    """Of the manifest, without ending."""
    manifest: Path | None = None
    """None: the recordings are audio files."""
    recordings: list[Utterance] = field(default_factory=list)
    """Of audio files."""
    rejected: list[Rejected] = field(default_factory=list)
    """Files that are not to be read."""
    ignores_text: bool = False
    """Whether recordings with text are cut like those without."""

    def to_cut(self) -> Iterator[Utterance]:
        """The recordings that are cut by their audio alone: those without text."""
        return (u for u in self.utterances() if self.ignores_text or not u.text)

    def utterances(self) -> Iterator[Utterance]:
        """The recordings in order, read anew each time: a manifest may not fit memory."""
        return iter(self.recordings) if self.manifest is None else read_manifest(self.manifest)


@dataclass(frozen=True)
class Part:
    """Recordings that one worker cuts."""

    name: str
    recordings: list[Utterance]

    @property
    def seconds(self) -> float:
        """Of audio."""
        return sum(u.duration for u in self.recordings)


def find_sources(inputs: Sequence[Path], ignores_text: bool = False) -> list[Source]:
    """Manifests keep their names; audio files, and those below folders, are one more source.

    ignores_text: as of `Source`.
    ValueError when two manifests have one name, or there is nothing.
    """
    sources: dict[str, Source] = {}
    audio: list[Recording] = []
    rejected: list[Rejected] = []
    for path in inputs:
        if path.suffix == ".jsonl":
            if path.name == REJECTED:  # it lies beside manifests and shells glob it
                continue
            if path.stem in sources:
                raise ValueError(f"{path}: two manifests have this name, their segments would mix. Cut them apart.")
            sources[path.stem] = Source(path.stem, path, ignores_text=ignores_text)
        elif path.is_dir():
            found, unreadable = folder_recordings(path)
            audio += found
            rejected += unreadable
        else:
            audio.append(Recording(path.stem, path.resolve()))
    if audio:
        if MANIFEST_OF_AUDIO in sources:
            raise ValueError(
                f"{sources[MANIFEST_OF_AUDIO].manifest}: audio files are given too, whose segments would go into a "
                "manifest of the same name. Cut them apart."
            )
        recordings, unreadable = measure(_with_unique_ids(audio))
        sources[MANIFEST_OF_AUDIO] = Source(MANIFEST_OF_AUDIO, None, recordings, [*rejected, *unreadable], ignores_text)
    if not sources:
        raise ValueError(f"{REJECTED} lists what was left out; give manifests, audio files or folders of them")
    return list(sources.values())


def parts_of(recordings: Iterable[Utterance]) -> Iterator[Part]:
    """Recordings, in order, in parts."""
    batch: list[Utterance] = []
    seconds = 0.0
    for recording in recordings:
        if batch and (seconds + recording.duration > PART_SECONDS or len(batch) == PART_RECORDINGS):
            yield _part(batch)
            batch, seconds = [], 0.0
        batch.append(recording)
        seconds += recording.duration
    if batch:
        yield _part(batch)


def write_part(path: Path, part: Part) -> None:
    """List a part's recordings for its worker; an existing list is the same."""
    if path.exists():
        return
    with atomic_path(path) as temporary:
        rows = (
            json.dumps({k: getattr(u, k) for k in ("id", "audio_filepath", "offset", "duration")}, ensure_ascii=False)
            for u in part.recordings
        )
        temporary.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")


def read_part(path: Path) -> list[Utterance]:
    """What `write_part` wrote."""
    return [Utterance(**row) for _, row in read_rows(path)]


def _part(recordings: list[Utterance]) -> Part:
    rows = [[u.id, u.audio_filepath, u.offset, u.duration, _size(u.audio_filepath)] for u in recordings]
    return Part(fingerprint(rows)[:20], recordings)


def _size(path: str) -> int | None:
    """Bytes: a file that was mended is cut again. None where there is none."""
    with suppress(OSError):
        return os.stat(path).st_size
    return None


def _with_unique_ids(recordings: Sequence[Recording]) -> list[Recording]:
    """Files of several folders may share an id: then it has the path's digest at its end."""
    times = Counter(r.id for r in recordings)
    return [
        r
        if times[r.id] == 1
        else Recording(f"{r.id}-{fingerprint(str(r.path))[:8]}", r.path, r.text, r.speaker, r.meta)
        for r in recordings
    ]
