"""From where somebody speaks in a recording to segments of it: cut in pauses, long pauses left out.

Frames that are likely speech make stretches. Stretches with short pauses between them stay together, up to the longest
segment; longer chains are cut at their longest pauses, and where there is none at the least likely, quietest place.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asr_kd.corpora.speech_activity import SpeechActivity

SMOOTHED_S = 0.1
"""Without a pause, the quietest place is the middle of the quietest stretch of so many seconds."""
DB_PER_PROBABILITY = 20.0
"""What a fall of the probability of speech from 1 to 0 counts beside a fall of the level, for that place."""


@dataclass(frozen=True)
class SegmentConfig:
    """How recordings are cut."""

    min_seconds: float = 1.0
    """Shorter stretches of speech get a neighbour, or the silence around them."""
    max_seconds: float = 20.0
    """No segment is longer."""
    max_pause_seconds: float = 0.5
    """Longest pause inside a segment; longer ones are left out."""
    padding_seconds: float = 0.25
    """Of what lies before and after its speech, a segment has so many seconds, at most half of the pause."""
    onset: float = 0.5
    """Probability that a stretch of speech reaches somewhere."""
    offset: float = 0.35
    """Probability that all of its frames have."""
    min_speech_seconds: float = 0.1
    """Speech that is shorter, with nothing near it, is taken for a click."""

    def __post_init__(self) -> None:
        for name in ("min_seconds", "max_pause_seconds", "padding_seconds", "min_speech_seconds"):
            if not 0 <= getattr(self, name) < 3600:
                raise ValueError(f"{name} is {getattr(self, name)}; seconds, 0 or more, are needed")
        if not 2 * max(self.min_seconds, 0.5) + 2 * self.padding_seconds <= self.max_seconds < 3600:
            raise ValueError(
                f"max_seconds is {self.max_seconds}; it must hold twice min_seconds ({self.min_seconds}), at least "
                f"0.5, and padding_seconds ({self.padding_seconds})"
            )
        if not 0 < self.offset <= self.onset < 1:
            raise ValueError(f"onset is {self.onset}, offset {self.offset}; 0 < offset <= onset < 1 is needed")


@dataclass(frozen=True)
class Segment:
    """A stretch of a recording, in seconds from its begin, whole milliseconds."""

    start_s: float
    end_s: float


@dataclass(frozen=True)
class Cut:
    """What is kept of a recording."""

    segments: list[Segment]
    speech_s: float
    """Seconds of its speech, without pauses."""


_Core = tuple[float, float]
"""First frame of a segment's speech, and the frame after its last."""


def cut(activity: SpeechActivity, seconds: float, config: SegmentConfig) -> Cut:
    """Segments of a recording of `seconds`, in order, that do not overlap."""
    frame_s = activity.frame_s
    most = (config.max_seconds - 2 * config.padding_seconds) / frame_s
    least = max(config.min_seconds - 2 * config.padding_seconds, 0.0) / frame_s
    cost_T = activity.level_db_T + DB_PER_PROBABILITY * activity.speech_T
    cores: list[_Core] = []
    speech_frames = 0
    for runs in _chains(
        speech_runs(activity.speech_T, config.onset, config.offset), config.max_pause_seconds / frame_s
    ):
        frames = sum(end - start for start, end in runs)
        if frames * frame_s >= config.min_speech_seconds:
            speech_frames += frames
            cores += _split(runs, cost_T, most, least, round(SMOOTHED_S / frame_s))
    cores = _joined(cores, most, least, config.min_seconds / frame_s)
    return Cut(_padded(cores, frame_s, seconds, config), min(speech_frames * frame_s, seconds))


def speech_runs(speech_T: np.ndarray, onset: float, offset: float) -> list[tuple[int, int]]:
    """First frame, and frame after the last, of each stretch that stays at `offset` or above and reaches `onset`."""
    above_T = np.concatenate([[False], speech_T >= offset, [False]])
    edges = np.flatnonzero(above_T[1:] != above_T[:-1])
    starts, ends = edges[::2], edges[1::2]
    if not len(starts):
        return []
    peaks = np.maximum.reduceat(np.append(speech_T, 0), np.stack([starts, ends], 1).ravel())[::2]
    kept = peaks >= onset
    return list(zip(starts[kept].tolist(), ends[kept].tolist(), strict=True))


def _chains(runs: Sequence[tuple[int, int]], max_pause: float) -> list[list[tuple[int, int]]]:
    """Stretches with no longer pause between them."""
    chains: list[list[tuple[int, int]]] = []
    for run in runs:
        if chains and run[0] - chains[-1][-1][1] <= max_pause:
            chains[-1].append(run)
        else:
            chains.append([run])
    return chains


def _split(
    runs: Sequence[tuple[int, int]], cost_T: np.ndarray, most: float, least: float, smoothed: int
) -> list[_Core]:
    """A chain in pieces of `least` to `most` frames."""
    pieces: list[_Core] = []
    start: float = runs[0][0]
    end = runs[-1][1]
    ends_P, starts_P = np.array([r[1] for r in runs[:-1]]), np.array([r[0] for r in runs[1:]])  # of each pause
    while end - start > most:
        latest = min(start + most, end - least)
        for earliest in (start + most / 2, start + least):
            fits_P = np.flatnonzero((ends_P >= earliest) & (ends_P <= latest) & (starts_P <= end - least))
            if len(fits_P):
                longest = fits_P[(starts_P - ends_P)[fits_P].argmax()]
                piece_end, next_start = float(ends_P[longest]), float(starts_P[longest])
                break
        else:
            piece_end = next_start = _quietest(cost_T, int(start + most / 2), int(latest), smoothed) + 0.5
        pieces.append((start, piece_end))
        start = next_start
    return [*pieces, (start, end)]


def _quietest(cost_T: np.ndarray, first: int, last: int, smoothed: int) -> int:
    """A frame of [first, last): the middle of the cheapest `smoothed` frames there."""
    length = max(1, min(smoothed, last - first))
    mean = np.convolve(cost_T[first:last], np.full(length, 1 / length), mode="valid")
    return first + int(mean.argmin()) + length // 2


def _joined(cores: Sequence[_Core], most: float, least: float, max_pause: float) -> list[_Core]:
    """Pieces shorter than `least` get the one before or after them, if it is near and both are not too long."""
    joined: list[_Core] = []
    for start, end in cores:
        if joined:
            first, before = joined[-1]
            is_short = min(before - first, end - start) < least
            if is_short and start - before <= max_pause and end - first <= most:
                joined[-1] = (first, end)
                continue
        joined.append((start, end))
    return joined


def _padded(cores: Sequence[_Core], frame_s: float, seconds: float, config: SegmentConfig) -> list[Segment]:
    """With what lies around them: the padding, or as much more as the least length needs; never beyond the middle of
    a pause."""
    segments: list[Segment] = []
    starts = [start * frame_s for start, _ in cores]
    ends = [min(end * frame_s, seconds) for _, end in cores]
    for n, (start, end) in enumerate(zip(starts, ends, strict=True)):
        before = (start - ends[n - 1]) / 2 if n else start
        after = (starts[n + 1] - end) / 2 if n + 1 < len(cores) else seconds - end
        left, right = min(config.padding_seconds, before), min(config.padding_seconds, after)
        missing = max(0.0, config.min_seconds - (end - start + left + right))
        more_right = min(after - right, max(missing / 2, missing - (before - left)))
        more_left = min(before - left, missing - more_right)
        first_ms = max(round((start - left - more_left) * 1000), round(segments[-1].end_s * 1000) if segments else 0)
        last_ms = min(round((end + right + more_right) * 1000), int(seconds * 1000))
        if first_ms < last_ms:
            segments.append(Segment(first_ms / 1000, last_ms / 1000))
    return segments
