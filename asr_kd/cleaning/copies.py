"""Which utterances are copies of others: exact ones by the digest of their samples."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from asr_kd.corpora.manifest import Utterance

COLUMNS = {
    "duplicate_of": "id of the first utterance that this is a copy of; null: it is none, or the first",
    "duplicate_kind": "exact (the same samples) or near (another codec, level, rate or begin); null where none",
}
DIGEST_BYTES = 8
INT16 = 32768


@dataclass(frozen=True)
class Sketch:
    """What copies have in common with their original."""

    digest: str
    """Of the samples, 16 hex digits."""


@dataclass(frozen=True)
class Copy:
    """An utterance that is a copy."""

    original: int
    """Number of the first of its copies."""
    kind: str


def sketch(wave_N: np.ndarray) -> Sketch:
    """Of the samples of an utterance, 16 kHz."""
    samples_N = np.round(wave_N * INT16).astype("<i4")  # 16-bit audio in any lossless form gives the same
    return Sketch(hashlib.blake2b(samples_N.tobytes(), digest_size=DIGEST_BYTES).hexdigest())


def find_copies(utterances: Iterable[tuple[Utterance, Sketch | None]]) -> dict[int, Copy]:
    """The copies among utterances, by number. None: an utterance that could not be read.

    An utterance that two manifests list, by the same id at the same place, is no copy of itself.
    """
    first: dict[str, int] = {}
    places: dict[int, bytes] = {}  # of the originals
    copies: dict[int, Copy] = {}
    for number, (utterance, found) in enumerate(utterances):
        if found is None:
            continue
        original = first.setdefault(found.digest, number)
        place = _place(utterance)
        if original == number:
            places[number] = place
        elif place != places[original]:
            copies[number] = Copy(original, "exact")
    return copies


def _place(utterance: Utterance) -> bytes:
    where = f"{utterance.id}\0{utterance.audio_filepath}\0{utterance.offset}"
    return hashlib.blake2b(where.encode(), digest_size=DIGEST_BYTES).digest()
