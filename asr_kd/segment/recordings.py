"""The recordings that are cut, and the parts in which they are shared out to workers.

A part is a list of recordings in a file; its name is a digest of what it holds, so that a longer manifest finds the
parts again that it shares with the one before.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from asr_kd.core.files import atomic_path, fingerprint, refuse_to_replace
from asr_kd.core.text_files import read_rows
from asr_kd.corpora.corpus import REJECTED, Recording, Rejected, measure
from asr_kd.corpora.folder import folder_recordings
from asr_kd.corpora.manifest import Utterance, read_manifest

PART_SECONDS, PART_RECORDINGS = 3600.0, 1000
"""A part has at most so much audio, and so many recordings; a longer recording is a part of its own."""
MANIFEST_OF_AUDIO = "unlabelled"
"""Name of the manifest of recordings that come as audio files."""


Role = Literal["whole", "cut", "too long"]


@dataclass(frozen=True)
class TextRule:
    """What becomes of recordings with text."""

    whole_up_to_s: float = 0.0
    """Shorter ones stay as they are."""
    is_ignored: bool = False
    """Whether they are cut like those without."""
    is_aligned: bool = False
    """Whether longer ones are cut with their text."""

    def role(self, recording: Utterance) -> Role:
        """Whether a recording stays whole, is cut, or has text that nobody can cut."""
        if self.is_ignored or not recording.text:
            return "cut"
        if recording.duration <= self.whole_up_to_s:
            return "whole"
        return "cut" if self.is_aligned else "too long"

    def as_cut(self, recording: Utterance) -> Utterance:
        """Without its text, where that is ignored."""
        return replace(recording, text=None) if self.is_ignored else recording


FIELDS = ("id", "audio_filepath", "offset", "duration", "text")
"""Of a recording, what its worker needs."""


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
    text: "TextRule" = field(default_factory=lambda: TextRule())

    def to_cut(self) -> Iterator[Utterance]:
        """The recordings that are cut."""
        return (self.text.as_cut(u) for u in self.utterances() if self.text.role(u) == "cut")

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


def find_sources(inputs: Sequence[Path], text: TextRule = TextRule()) -> list[Source]:
    """Manifests keep their names; audio files, and those below folders, are one more source.

    text: what becomes of recordings with text.
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
            sources[path.stem] = Source(path.stem, path, text=text)
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
        sources[MANIFEST_OF_AUDIO] = Source(MANIFEST_OF_AUDIO, None, recordings, [*rejected, *unreadable], text)
    if not sources:
        raise ValueError(f"{REJECTED} lists what was left out; give manifests, audio files or folders of them")
    return list(sources.values())


def check_outputs(inputs: Sequence[Path], out: Path, also_read: Iterable[Path] = ()) -> None:
    """ValueError when a manifest that is written into `out` is one of the inputs, or of what is read besides."""
    given = [path for path in inputs if path.name != REJECTED]
    names = {path.name if path.suffix == ".jsonl" else f"{MANIFEST_OF_AUDIO}.jsonl" for path in given}
    refuse_to_replace([*given, *also_read], [out / name for name in sorted(names)])


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
        rows = (json.dumps({k: getattr(u, k) for k in FIELDS}, ensure_ascii=False) for u in part.recordings)
        temporary.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")


def read_part(path: Path) -> list[Utterance]:
    """What `write_part` wrote."""
    return [Utterance(**row) for _, row in read_rows(path)]


def _part(recordings: list[Utterance]) -> Part:
    rows = [[*(getattr(u, name) for name in FIELDS), _size(u.audio_filepath)] for u in recordings]
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
