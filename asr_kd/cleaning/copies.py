"""Which utterances are copies of others: exact ones by the digest of their samples, near ones by their landmarks."""

import base64
import hashlib
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asr_kd.cleaning.fingerprint import landmarks
from asr_kd.cleaning.near_copies import LandmarkIndex, Link
from asr_kd.corpora.manifest import Utterance

COLUMNS = {
    "duplicate_of": "id of the first utterance that this is a copy of; null: it is none, or the first",
    "duplicate_kind": "exact (the same samples) or near (another codec, level, rate or begin); null where none",
}
DIGEST_BYTES = 8
INT16 = 32768
NO_MARKS = np.zeros(0, np.uint64)


@dataclass(frozen=True)
class Sketch:
    """What copies have in common with their original."""

    digest: str
    """Of the samples, 16 hex digits."""
    marks: np.ndarray
    """As `fingerprint.landmarks` gives them."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"digest": self.digest, "marks": base64.b64encode(self.marks.astype("<u8").tobytes()).decode()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Sketch":
        """What `to_dict` gave."""
        return cls(str(values["digest"]), np.frombuffer(base64.b64decode(values["marks"]), "<u8"))


@dataclass(frozen=True)
class Copy:
    """An utterance that is a copy."""

    original: int
    """Number of the first of its copies."""
    kind: str


def sketch(wave_N: np.ndarray) -> Sketch:
    """Of the samples of an utterance, 16 kHz."""
    samples_N = np.round(wave_N * INT16).astype("<i4")  # 16-bit audio in any lossless form gives the same
    return Sketch(hashlib.blake2b(samples_N.tobytes(), digest_size=DIGEST_BYTES).hexdigest(), landmarks(wave_N))


def find_copies(utterances: Iterable[tuple[Utterance, Sketch | None]], folder: Path) -> dict[int, Copy]:
    """The copies among utterances, by number. None: an utterance that could not be read.

    An utterance that two manifests list, by the same id at the same place, is no copy of itself.
    folder: for temporary files, 12 bytes a landmark.
    """
    first: dict[str, int] = {}
    places: dict[int, bytes] = {}  # of the originals
    copies: dict[int, Copy] = {}
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="landmarks-") as temporary:
        index = LandmarkIndex(Path(temporary))
        for number, (utterance, found) in enumerate(utterances):
            original = number if found is None else first.setdefault(found.digest, number)
            is_new = found is not None and original == number
            index.add(found.marks if found is not None and is_new else NO_MARKS)
            if is_new:
                places[number] = _place(utterance)
            elif original != number and _place(utterance) != places[original]:
                copies[number] = Copy(original, "exact")
        near = _near(index.links())
    # what is an exact copy of a near copy is one of its original
    copies = {n: Copy(near[c.original].original, "near") if c.original in near else c for n, c in copies.items()}
    return copies | near


def _near(links: Iterable[Link]) -> dict[int, Copy]:
    """Each copy with its original. Copies of copies count where they are strong, so that recordings which overlap
    one by one are no chain."""
    copies: dict[int, Copy] = {}
    for link in links:
        before = copies.get(link.first)
        if link.other in copies:
            continue
        if before is None:
            copies[link.other] = Copy(link.first, "near")
        elif link.is_strong:
            copies[link.other] = Copy(before.original, "near")
    return copies


def _place(utterance: Utterance) -> bytes:
    where = f"{utterance.id}\0{utterance.audio_filepath}\0{utterance.offset}"
    return hashlib.blake2b(where.encode(), digest_size=DIGEST_BYTES).digest()
