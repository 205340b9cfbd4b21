"""A recording, block by block, cut into utterances at its pauses: for models that need the whole of an utterance.

A frame of 10 ms is quiet when its level is nearer to the floor (5th percentile of the last 30 s) than to speech (99th
percentile); digital silence always is. The cut lies in the middle of the quiet stretch, so that each side keeps
`pause_s / 2` of it. Without a pause, the quietest place in the second half of `max_s` is taken.
"""

from collections import deque
from collections.abc import Sequence

import numpy as np

from asr_kd.corpora.audio import SAMPLE_RATE

FRAME_S = 0.01
FRAME = round(FRAME_S * SAMPLE_RATE)
"""Samples."""
HISTORY_S = 30.0
THRESHOLD_EVERY = 50
"""Frames between two estimates of the threshold."""
FLOOR_PERCENTILE, SPEECH_PERCENTILE = 5, 99
MIN_RANGE_DB = 10.0
"""Speech lies so far above the floor. Where nothing does, only frames below SILENCE_DB are quiet."""
QUIET_SHARE = 0.3
"""Of the way from the floor to speech, in dB."""
BELOW_SPEECH_DB = 40.0
"""So far below speech a frame is quiet: digital silence elsewhere hides no pause with room noise."""
SILENCE_DB = -65.0
"""Of full scale."""
SMALLEST_POWER = 1e-10
SMOOTHED_FRAMES = 15
"""The quietest place is the middle of the quietest stretch of so many."""


class PauseCutter:
    """Cuts blocks of any length; every sample is in exactly one utterance, whatever the blocks are."""

    def __init__(self, min_s: float = 1.0, max_s: float = 20.0, pause_s: float = 0.5) -> None:
        """min_s, max_s: length of an utterance; only the last may be shorter.  pause_s: quiet that ends one."""
        self._min, self._max, self._pause = (round(s / FRAME_S) for s in (min_s, max_s, pause_s))
        assert self._min > 0 and self._pause > 1 and self._max >= 2 * self._min + SMOOTHED_FRAMES
        self._start = 0
        self._blocks: deque[np.ndarray] = deque()  # samples from `_start` on
        self._rest_N = np.zeros(0, dtype=np.float32)  # of the last frame, which is not whole yet
        self._levels_db: list[float] = []  # of the frames from `_start` on
        self._history_db: deque[float] = deque(maxlen=round(HISTORY_S / FRAME_S))
        self._seen = 0
        self._quiet = 0  # frames up to here
        self._threshold_db = SILENCE_DB

    def accept(self, wave_N: np.ndarray) -> list[tuple[int, np.ndarray]]:
        """The utterances that ended, each with the number of its first sample.  wave_N: the next 16 kHz samples."""
        block_N = np.array(wave_N, dtype=np.float32)
        self._blocks.append(block_N)
        waiting_N = np.concatenate([self._rest_N, block_N])
        frames_TN = waiting_N[: len(waiting_N) // FRAME * FRAME].reshape(-1, FRAME)
        self._rest_N = waiting_N[frames_TN.size :].copy()
        power_T = frames_TN.var(axis=1, dtype=np.float64)  # without the offset that sound cards add
        ended = []
        for level_db in (10 * np.log10(power_T + SMALLEST_POWER)).tolist():
            cut = self._place_of_cut(level_db)
            if cut is not None:
                del self._levels_db[:cut]
                ended.append(self._take(cut * FRAME))
        return ended

    def finish(self) -> list[tuple[int, np.ndarray]]:
        """The last utterance, where samples are left."""
        left = sum(map(len, self._blocks))
        self._levels_db, self._rest_N = [], self._rest_N[:0]
        return [self._take(left)] if left else []

    def _place_of_cut(self, level_db: float) -> int | None:
        """The frame that the next utterance begins with, after one frame more; None: this one goes on."""
        self._levels_db.append(level_db)
        self._history_db.append(level_db)
        self._seen += 1
        if self._seen % THRESHOLD_EVERY == 0:
            self._threshold_db = threshold_db(self._history_db)
        self._quiet = self._quiet + 1 if level_db < self._threshold_db else 0
        middle = len(self._levels_db) - self._pause // 2
        if self._quiet >= self._pause and middle >= self._min:
            return middle
        return self._quietest() if len(self._levels_db) == self._max else None

    def _quietest(self) -> int:
        first = self._max // 2
        smoothed_db = np.convolve(self._levels_db[first:], np.ones(SMOOTHED_FRAMES), mode="valid")
        return first + int(smoothed_db.argmin()) + SMOOTHED_FRAMES // 2

    def _take(self, count: int) -> tuple[int, np.ndarray]:
        """The first `count` samples, which are one utterance."""
        parts, start, missing = [], self._start, count
        while missing:
            block_N = self._blocks.popleft()
            parts.append(block_N[:missing])
            if len(block_N) > missing:
                self._blocks.appendleft(block_N[missing:])
            missing -= len(parts[-1])
        self._start += count
        return start, np.concatenate(parts)


def threshold_db(history_db: Sequence[float] | deque[float] | np.ndarray) -> float:
    """Levels below it are quiet, to judge by the levels of some seconds, in dB of full scale."""
    floor_db, speech_db = np.percentile(history_db, [FLOOR_PERCENTILE, SPEECH_PERCENTILE])
    if speech_db - floor_db < MIN_RANGE_DB:
        return SILENCE_DB
    return max(SILENCE_DB, float(floor_db + QUIET_SHARE * (speech_db - floor_db)), float(speech_db - BELOW_SPEECH_DB))
