"""What streams of audio would do in real time on one core, without waiting for it: a clock of audio time plus work.

Audio comes in pieces; a piece is there when its last sample is. The core takes one piece after the other, and what it
shows is there when the work on the piece is done. Work is the CPU time of this process, so that other processes on
the machine change little.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from asr_kd.corpora.audio import SAMPLE_RATE
from asr_kd.transcripts.recognised import Transcript

if TYPE_CHECKING:  # its module imports torch, which is no part of other engines' memory
    from asr_kd.decode.stream import Stream

R = TypeVar("R")
MOST_DELAY_S = 0.3
"""From a piece's last sample to the end of the work on it; beyond it, a stream has fallen behind."""
STEP = 0.9
"""Between two numbers of streams that are tried."""


@dataclass
class Clock:
    """One core."""

    free_s: float = 0.0
    """When it has done all that it was given."""
    work_s: float = 0.0

    def run(self, arrival_s: float, work: Callable[[], R]) -> R:
        """Do work that can begin at `arrival_s`."""
        began = time.process_time()
        found = work()
        took_s = time.process_time() - began
        self.work_s += took_s
        self.free_s = max(self.free_s, arrival_s) + took_s
        return found


@dataclass(frozen=True)
class Shown:
    """What a stream shows of an utterance that is not over, from one moment to the next."""

    at_s: float
    utterance: int
    """Number of those that ended before."""
    words: list[str]


@dataclass
class Played:
    """A stream from begin to end."""

    work_s: float = 0.0
    shown: list[Shown] = field(default_factory=list)
    ended: list[tuple[float, Transcript]] = field(default_factory=list)
    """Utterances, and when each was given out."""


def play(stream: "Stream", wave_N: np.ndarray, piece: int) -> Played:
    """Feed the waveform in pieces of so many samples."""
    clock, played = Clock(), Played()
    for first in range(0, len(wave_N), piece):
        piece_N = wave_N[first : first + piece]
        ended = clock.run((first + len(piece_N)) / SAMPLE_RATE, partial(stream.accept, piece_N))
        played.ended += [(clock.free_s, transcript) for transcript in ended]
        played.shown.append(Shown(clock.free_s, len(played.ended), list(stream.partial)))
    ended = clock.run(len(wave_N) / SAMPLE_RATE, stream.finish)
    played.ended += [(clock.free_s, transcript) for transcript in ended]
    played.work_s = clock.work_s
    return played


@dataclass
class Latencies:
    """Seconds from the end of words in the audio, as the transcripts have it, to their appearance."""

    first_word_s: list[float] = field(default_factory=list)
    """Of each utterance, until its first word is shown; what comes later may still change it."""
    word_s: list[float] = field(default_factory=list)
    """Of each word, until it is shown in its place and does not change any more."""
    final_s: list[float] = field(default_factory=list)
    """Of the last word of each utterance, until the utterance is over: with the silence that ends it."""


def latencies(played: Played) -> Latencies:
    """Of all utterances of a stream."""
    found = Latencies()
    for number, (ended_s, transcript) in enumerate(played.ended):
        shown = [s for s in played.shown if s.utterance == number and s.at_s >= transcript.words[0].start_s]
        first, last = transcript.words[0], transcript.words[-1]
        is_first = (s.at_s for s in shown if s.words[:1] == [first.word])
        found.first_word_s.append(next(is_first, ended_s) - first.end_s)
        found.final_s.append(ended_s - last.end_s)
        for place, word in enumerate(transcript.words):
            settled_s = ended_s
            for s in reversed(shown):
                if s.words[place : place + 1] != [word.word]:
                    break
                settled_s = s.at_s
            found.word_s.append(settled_s - word.end_s)
    return found


def keep_up(new_stream: "Callable[[], Stream]", streams: int, wave_N: np.ndarray, piece: int, seconds: float) -> bool:
    """Whether so many streams are served, whose pieces come at the same moments, each from its own place in the audio.

    None may fall behind by `MOST_DELAY_S` in `seconds` of audio.
    """
    clock, served = Clock(), [new_stream() for _ in range(streams)]
    firsts = [len(wave_N) * number // streams for number in range(streams)]
    for tick in range(round(seconds * SAMPLE_RATE / piece)):
        arrival_s = (tick + 1) * piece / SAMPLE_RATE
        for stream, first in zip(served, firsts, strict=True):
            piece_N = wave_N.take(range(first + tick * piece, first + (tick + 1) * piece), mode="wrap")
            clock.run(arrival_s, partial(stream.accept, piece_N))
            if clock.free_s - arrival_s > MOST_DELAY_S:
                return False
    return True


def most_streams(keep_up: Callable[[int], bool], guess: int) -> int:
    """The largest number that keeps up, to one in ten. guess: where to begin."""
    streams = max(1, guess)
    if keep_up(streams):
        while keep_up(more := max(streams + 1, round(streams / STEP))):
            streams = more
        return streams
    while streams > 1:
        streams = min(streams - 1, round(streams * STEP))
        if keep_up(streams):
            return streams
    return 0
