"""The manifest: one utterance a line of JSON, with the field names NeMo users know.

`manifests/README.md` and `manifests/schema.json` describe it."""

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asr_kd.core.files import atomic_path, fingerprint
from asr_kd.core.text_files import read_rows
from asr_kd.corpora.languages import LANG

FIELDS = ("id", "audio_filepath", "offset", "duration", "text", "speaker", "meta")


@dataclass(frozen=True)
class Utterance:
    """One stretch of one audio file. ValueError "FIELD is VALUE; ..." when a field cannot be right."""

    id: str
    """Stable name, unique in its manifest; ids of shards, targets and hypotheses are these."""
    audio_filepath: str
    """The audio file; a relative path in a manifest counts from the manifest's folder."""
    duration: float
    """Seconds."""
    offset: float = 0.0
    """Seconds from the start of the file to the start of the utterance."""
    text: str | None = None
    """Transcript; None = unlabelled, "" = labelled as holding no word."""
    speaker: str | None = None
    """Speaker name; parts of a corpus are kept disjoint by it."""
    meta: dict[str, Any] = field(default_factory=dict)
    """Conditions to score by (`gender`, `group`, `snr`, ...) and whatever else the corpus says."""

    def __post_init__(self) -> None:
        _need(isinstance(self.id, str) and self.id.strip() == self.id != "", "id", self.id, "a non-empty text")
        named = isinstance(self.audio_filepath, str) and self.audio_filepath != ""
        _need(named, "audio_filepath", self.audio_filepath, "a path")
        _need(_is_seconds(self.duration) and self.duration > 0, "duration", self.duration, "seconds above 0")
        _need(_is_seconds(self.offset) and self.offset >= 0, "offset", self.offset, "seconds, 0 or more")
        _need(self.text is None or isinstance(self.text, str), "text", self.text, "text or null")
        _need(self.speaker is None or isinstance(self.speaker, str), "speaker", self.speaker, "text or null")
        _need(isinstance(self.meta, dict), "meta", self.meta, "an object of conditions")

    def to_json(self) -> str:
        """One manifest line, without line end; fields that say nothing are left out."""
        fields: dict[str, Any] = {"id": self.id, "audio_filepath": self.audio_filepath, "offset": self.offset}
        fields["duration"] = self.duration
        fields.update({k: v for k, v in (("text", self.text), ("speaker", self.speaker)) if v is not None})
        meta = dict(self.meta)
        if LANG in meta:  # where NeMo has it
            fields[LANG] = meta.pop(LANG)
        if meta:
            fields["meta"] = meta
        return json.dumps(fields, ensure_ascii=False)


def read_manifest(path: str | Path) -> Iterator[Utterance]:
    """The utterances of a manifest in order, `audio_filepath` made absolute.

    Keys that are not ours (other tools' manifests have them) go to `meta`; a missing id is derived from path and
    offset as written, so it is the same wherever the manifest lies. Blank lines are skipped.
    ValueError names file, line and field; ids that occur twice are errors.
    """
    path = Path(path)
    places_of_ids: dict[str, str] = {}
    for place, row in read_rows(path, advice="`asr-kd prepare` writes manifests."):
        try:
            utterance = _utterance(row, path.parent)
        except ValueError as e:
            raise ValueError(f"{place}: {e}") from None
        if utterance.id in places_of_ids:
            raise ValueError(
                f"{place}: id is {utterance.id}, as at {places_of_ids[utterance.id]}; ids are unique in a manifest"
            )
        places_of_ids[utterance.id] = place
        yield utterance


def write_manifest(path: str | Path, utterances: Iterable[Utterance]) -> int:
    """Write a manifest, atomically; returns the number of utterances. ValueError when an id occurs twice."""
    seen: set[str] = set()
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as f:
        for utterance in utterances:
            if utterance.id in seen:
                raise ValueError(f"{path}: id {utterance.id} occurs twice; ids are unique in a manifest")
            seen.add(utterance.id)
            f.write(utterance.to_json() + "\n")
    return len(seen)


def _utterance(data: dict[str, Any], folder: Path) -> Utterance:
    for name in ("audio_filepath", "duration"):
        if data.get(name) is None:
            raise ValueError(f"{name} is missing")
    fields = {name: data[name] for name in FIELDS if data.get(name) is not None}
    if "meta" in fields and not isinstance(fields["meta"], dict):
        _need(False, "meta", fields["meta"], "an object of conditions")
    fields["meta"] = {k: v for k, v in data.items() if k not in FIELDS} | fields.get("meta", {})
    _need(isinstance(fields["audio_filepath"], str), "audio_filepath", fields["audio_filepath"], "a path")
    if "id" not in fields:
        fields["id"] = derived_id(fields["audio_filepath"], fields.get("offset", 0.0))
    utterance = Utterance(**fields)
    if not Path(utterance.audio_filepath).is_absolute():
        fields["audio_filepath"] = str((folder / utterance.audio_filepath).absolute())
        utterance = Utterance(**fields)
    return utterance


def derived_id(audio_filepath: str, offset: float) -> str:
    """An id for an utterance that has none: the file's stem and 12 hex digits over path and offset."""
    offset_ms = round(offset * 1000) if _is_seconds(offset) else str(offset)
    return f"{Path(audio_filepath).stem}-{fingerprint([audio_filepath, offset_ms])[:12]}"


def _is_seconds(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _need(ok: bool, name: str, value: Any, needed: str) -> None:
    if not ok:
        raise ValueError(f"{name} is {repr(value)[:80]}; {needed} is needed")
