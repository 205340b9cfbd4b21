"""Copies that are not the same samples: recordings that share landmarks, all at one shift in time.

Landmarks that two recordings share by chance lie at shifts of their own. How many must agree grows with the number of
recordings, for there are more pairs that may agree by chance. Landmarks are sorted on disk in buckets, so that memory
holds a share of them at a time.
"""

import math
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from asr_kd.cleaning.fingerprint import HOP, TIME_BITS
from asr_kd.corpora.audio import SAMPLE_RATE

BUCKETS = 32
NEIGHBOURS = 12
"""Recordings that share a landmark are compared with so many after them: what many share says little."""
FRAMES_PER_SHIFT = 4
"""Shifts are counted in steps of 64 ms, in two rows that overlap."""
MIN_SHARED, AT_RECORDINGS, MORE_PER_TENFOLD = 5, 1000, 2
"""So many landmarks must agree among so many recordings, and so many more for each tenfold of those."""
MIN_COVERED = 0.5
"""Of the time from the first to the last landmark of the shorter recording, between those that agree: a jingle alone
makes no copy, and silence does not count."""
MIN_MOMENTS = 4
"""Frames at which those that agree begin: hum has many landmarks at few."""
COVERED_SLACK_S = 1.0
"""Landmarks begin late and end early."""
_MARK = np.dtype([("mark", "<u8"), ("number", "<u4")])
_PAIR = np.dtype([("first", "<u4"), ("other", "<u4"), ("shift", "<i4"), ("frame", "<i4")])


@dataclass(frozen=True)
class Link:
    """Two recordings of which the second sounds like a copy of the first."""

    first: int
    other: int
    is_strong: bool
    """So sure that copies of copies may be found by it."""


class LandmarkIndex:
    """The landmarks of all recordings, in files of a folder that the caller removes."""

    def __init__(self, folder: Path) -> None:
        """folder: empty."""
        self._folder = folder
        self._files: list[BinaryIO] = [open(folder / f"marks-{n}", "wb") for n in range(BUCKETS)]  # noqa: SIM115
        self._seconds = array("f")  # from the first landmark to the last

    def add(self, marks: np.ndarray) -> int:
        """The number of the recording, from 0 on.  marks: of `fingerprint.landmarks`; none: it is left out."""
        number = len(self._seconds)
        self._seconds.append(float(np.ptp(_frames(marks))) * HOP / SAMPLE_RATE if len(marks) else 0.0)
        rows = np.empty(len(marks), _MARK)
        rows["mark"], rows["number"] = marks, number
        bucket = (marks >> np.uint64(TIME_BITS)) % np.uint64(BUCKETS)
        for n in np.unique(bucket).tolist():
            self._files[n].write(rows[bucket == n].tobytes())
        return number

    def links(self) -> list[Link]:
        """The pairs that sound alike, by rising number of the second, then the first."""
        for file in self._files:
            file.close()
        self._spill_pairs()
        shared = shared_needed(len(self._seconds))
        found: dict[tuple[int, int], int] = {}
        for n in range(BUCKETS):
            pairs = np.fromfile(self._folder / f"pairs-{n}", _PAIR)
            for first, other, count in _agreeing(pairs, shared, np.frombuffer(self._seconds, np.float32)):
                found[other, first] = max(count, found.get((other, first), 0))
        return [Link(first, other, count >= 2 * shared) for (other, first), count in sorted(found.items())]

    def _spill_pairs(self) -> None:
        """Write the pairs of recordings that share a landmark, those of one first recording into one file."""
        files = [open(self._folder / f"pairs-{n}", "wb") for n in range(BUCKETS)]  # noqa: SIM115
        for n in range(BUCKETS):
            path = self._folder / f"marks-{n}"
            rows = np.fromfile(path, _MARK)
            path.unlink()
            for pairs in _pairs(np.sort(rows, order=["mark", "number"], kind="stable")):
                bucket = pairs["first"] % BUCKETS
                for m in np.unique(bucket).tolist():
                    files[m].write(pairs[bucket == m].tobytes())
        for file in files:
            file.close()


def shared_needed(recordings: int) -> int:
    """Landmarks that must agree."""
    return MIN_SHARED + max(0, math.ceil(MORE_PER_TENFOLD * math.log10(max(1, recordings) / AT_RECORDINGS)))


def _pairs(rows: np.ndarray) -> Iterator[np.ndarray]:
    """rows: sorted landmarks."""
    key = rows["mark"] >> np.uint64(TIME_BITS)
    frame = _frames(rows["mark"])
    order = np.lexsort((rows["number"], key))
    key, frame, number = key[order], frame[order], rows["number"][order]
    for lag in range(1, NEIGHBOURS + 1):
        if len(key) <= lag:
            return
        same = np.flatnonzero((key[lag:] == key[:-lag]) & (number[lag:] != number[:-lag]))
        pairs = np.empty(len(same), _PAIR)
        pairs["first"], pairs["other"] = number[same], number[same + lag]
        pairs["shift"], pairs["frame"] = frame[same] - frame[same + lag], frame[same + lag]
        yield pairs


def _frames(marks: np.ndarray) -> np.ndarray:
    return (marks & np.uint64((1 << TIME_BITS) - 1)).astype(np.int32)


def _agreeing(pairs: np.ndarray, shared: int, seconds: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """First, other and number of agreeing landmarks of pairs of which enough agree."""
    both = pairs["first"].astype(np.uint64) << np.uint64(32) | pairs["other"].astype(np.uint64)
    _, inverse, counts = np.unique(both, return_inverse=True, return_counts=True)
    many = counts[inverse] >= shared
    pairs, both = pairs[many], both[many]
    if not len(pairs):
        return
    for row in (0, FRAMES_PER_SHIFT // 2):
        shift = (pairs["shift"] + row) // FRAMES_PER_SHIFT
        order = np.lexsort((pairs["frame"], shift, both))
        changes = (np.diff(both[order]) != 0) | (np.diff(shift[order]) != 0)
        starts = np.concatenate([[0], np.flatnonzero(changes) + 1])
        ends = np.concatenate([starts[1:], [len(order)]])
        frame = pairs["frame"][order]
        covered_s = (frame[ends - 1] - frame[starts]) * HOP / SAMPLE_RATE + COVERED_SLACK_S
        first, other = pairs["first"][order][starts], pairs["other"][order][starts]
        needed_s = MIN_COVERED * np.minimum(seconds[first], seconds[other])
        moments = np.add.reduceat(np.diff(frame, prepend=-1) != 0, starts)
        good = (ends - starts >= shared) & (moments >= MIN_MOMENTS) & (covered_s >= needed_s)
        yield from zip(first[good].tolist(), other[good].tolist(), (ends - starts)[good].tolist(), strict=True)
