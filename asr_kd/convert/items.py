"""What is converted: the utterances of manifests and shards, with their text or a teacher's."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from asr_kd.core.storage import PathOrUrl
from asr_kd.corpora.manifest import Utterance, read_manifest
from asr_kd.shards.reader import Shard, find_shards, open_shard
from asr_kd.transcripts.pseudo_labels import read_transcripts
from asr_kd.transcripts.recognised import RecognisedUtterance

CONFIDENCE = "confidence"
"""Key of `meta` under which a teacher's confidence goes along."""


@dataclass(frozen=True)
class TarPlace:
    """Where the audio file of an utterance lies in a shard."""

    tar: Path
    offset: int
    size: int


@dataclass(frozen=True)
class Item:
    """An utterance, and where its audio is."""

    utterance: Utterance
    place: TarPlace | None = None
    """In a shard; None: at the utterance's `audio_filepath`, from its offset on."""


@dataclass(frozen=True)
class Part:
    """The utterances of one manifest, or of one folder of shards."""

    name: str
    source: Path
    """The manifest, the folder or the tar."""
    items: list[Item]


class Transcripts:
    """A teacher's text in the place of the text that was given."""

    def __init__(self, places: Sequence[PathOrUrl], least_confidence: float) -> None:
        """places: files and folders as of `asr-kd label --transcripts`. ValueError when there are none."""
        self._lines: dict[tuple[str | None, str], RecognisedUtterance] = {}
        self._times: dict[str, int] = {}
        for line in read_transcripts(*places):
            self._lines[line.shard, line.id] = line
            self._times[line.id] = self._times.get(line.id, 0) + 1
            self._lines.setdefault((None, line.id), line)
        self._least, self._where = least_confidence, str(places[0])
        self.used = 0

    def applied(self, utterance: Utterance, shard: str | None) -> Utterance:
        """With the transcript as its text; without text where there is none, or its confidence is too low.

        shard: digest of its tar; None where it is not known.  ValueError when several transcripts have its id then.
        """
        if shard is None and self._times.get(utterance.id, 0) > 1:
            raise ValueError(f"{self._where}: {utterance.id} is in several shards. Convert the shards instead.")
        line = self._lines.get((shard, utterance.id))
        confidence = None if line is None else line.confidence
        if line is None or line.text is None or (confidence is not None and confidence < self._least):
            return replace(utterance, text=None)
        self.used += 1
        meta = utterance.meta if confidence is None else {**utterance.meta, CONFIDENCE: confidence}
        return replace(utterance, text=line.text, meta=meta)


def part_name(path: Path) -> str:
    """What the part of an input is called."""
    name = path.resolve().name if path.is_dir() else path.name.removesuffix(".gz").removesuffix(".jsonl")
    return name.removesuffix(".tar")


def read_parts(paths: Sequence[Path], transcripts: Transcripts | None = None) -> list[Part]:
    """One part for each manifest (.jsonl) or folder of shards. ValueError when one is empty."""
    parts: list[Part] = []
    for path in paths:
        is_shards = path.is_dir() or path.suffix == ".tar"
        items = list(_of_shards(path, transcripts) if is_shards else _of_manifest(path, transcripts))
        if not items:
            raise ValueError(f"{path}: holds no utterance; leave it out")
        parts.append(Part(part_name(path), path, items))
    if transcripts is not None and not transcripts.used:
        raise ValueError("--transcripts: no line is of an utterance given. Give the shards that were labelled.")
    return parts


def _of_manifest(path: Path, transcripts: Transcripts | None) -> Iterator[Item]:
    for utterance in read_manifest(path):
        yield Item(utterance if transcripts is None else transcripts.applied(utterance, None))


def _of_shards(path: Path, transcripts: Transcripts | None) -> Iterator[Item]:
    seen: dict[str, Path] = {}
    for tar in find_shards(path):
        shard: Shard = open_shard(tar)
        for entry in shard.entries:
            if entry.id in seen:
                raise ValueError(f"{tar}: {entry.id} is in {seen[entry.id].name} as well; ids must be unique")
            seen[entry.id] = tar
            name = f"{tar}: {entry.id}"
            found = Utterance(entry.id, name, entry.seconds, 0.0, entry.text, entry.speaker, entry.meta)
            if transcripts is not None:
                found = transcripts.applied(found, shard.digest)
            yield Item(found, TarPlace(tar, entry.audio_offset, entry.audio_size))
