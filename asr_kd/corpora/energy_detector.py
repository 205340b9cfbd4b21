"""Speech by its level alone: for clean recordings, where no voice detector is installed.

A frame is speech as far as its level stands above the threshold of `corpora.pauses`, which lies between the floor and
the loudest of the half minute around it. Music, traffic and clatter count as speech.
"""

from collections.abc import Iterable

import numpy as np

from asr_kd.corpora.pauses import FRAME, FRAME_S, HISTORY_S, threshold_db
from asr_kd.corpora.speech_activity import SpeechActivity, level_db

SMOOTHED_FRAMES = 5
"""Levels are averaged over so many frames: single clicks are no speech."""
THRESHOLD_EVERY = 100
"""Frames between two estimates of the threshold."""
DB_PER_NAT = 2.0
"""How much louder a frame is than the threshold, for the odds of speech to be e."""


class EnergyDetector:
    """As `SpeechDetector` says."""

    def __call__(self, blocks: Iterable[np.ndarray]) -> SpeechActivity:
        """As `SpeechDetector` says; frames of 10 ms. Samples after the last whole frame are left out."""
        level_db_T = np.concatenate([np.zeros(0, np.float32), *_levels(blocks)])
        if not len(level_db_T):
            return SpeechActivity(FRAME_S, level_db_T, level_db_T)
        threshold_T = np.repeat(_thresholds(level_db_T), THRESHOLD_EVERY)[: len(level_db_T)]
        odds_T = np.clip((_smoothed_db(level_db_T) - threshold_T) / DB_PER_NAT, -50, 50)
        return SpeechActivity(FRAME_S, (1 / (1 + np.exp(-odds_T))).astype(np.float32), level_db_T)


def _levels(blocks: Iterable[np.ndarray]) -> Iterable[np.ndarray]:
    rest_N = np.zeros(0, np.float32)
    for block_N in blocks:
        waiting_N = np.concatenate([rest_N, block_N])
        whole = len(waiting_N) // FRAME * FRAME
        rest_N = waiting_N[whole:].copy()
        yield level_db(waiting_N[:whole].reshape(-1, FRAME)).astype(np.float32)


def _thresholds(level_db_T: np.ndarray) -> np.ndarray:
    """For each THRESHOLD_EVERY frames, from HISTORY_S around them."""
    half = round(HISTORY_S / FRAME_S / 2)
    middles = np.arange(0, len(level_db_T), THRESHOLD_EVERY) + THRESHOLD_EVERY // 2
    return np.array([threshold_db(level_db_T[max(0, m - half) : m + half]) for m in middles])


def _smoothed_db(level_db_T: np.ndarray) -> np.ndarray:
    half = SMOOTHED_FRAMES // 2
    power_T = np.pad(10 ** (level_db_T.astype(np.float64) / 10), half, mode="edge")
    return 10 * np.log10(np.convolve(power_T, np.full(SMOOTHED_FRAMES, 1 / SMOOTHED_FRAMES), mode="valid"))
