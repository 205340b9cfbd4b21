"""Recordings whose words have known places: aligned utterances, joined with pauses, in noise."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from asr_kd.corpora.audio import SAMPLE_RATE, read_audio
from asr_kd.corpora.folder import audio_files
from asr_kd.inventory.inventory import Inventory
from asr_kd.inventory.lexicon import Lexicon
from asr_kd.inventory.registry import load_inventory
from asr_kd.inventory.senones import Senones
from asr_kd.shards.reader import find_shards, open_shard
from asr_kd.targets.sidecar import read_sidecar, sidecar_path

SPEECH_RMS = 0.05
"""Every utterance is scaled to it, so that each has the signal-to-noise ratio."""
ROOM_RMS = 1e-4
"""Of the white noise in pauses of clean recordings."""

QUIET_DB = 35.0
"""So far below the loud frames of its utterance a frame is silence, whatever the alignment says."""


@dataclass(frozen=True)
class SpokenWord:
    """A word and its place in seconds."""

    word: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Spoken:
    """Audio and all of its words."""

    wave_N: np.ndarray
    words: list[SpokenWord]


def word_spans(
    words: Sequence[str], classes_T: np.ndarray, inventory: Inventory, lexicon: Lexicon
) -> list[tuple[int, int]] | None:
    """First frame and frame behind the last of each word of a forced alignment; None when they do not fit."""
    number = {phone: i for i, phone in enumerate(inventory.phones)}
    is_phone_TP = inventory.phones_of_class_CP[classes_T]
    silent_T = np.isin(classes_T, list(inventory.silence_classes))
    ends: list[dict[int, int]] = []  # of each word: frame behind its last -> its first frame
    at = {0}
    for word in words:
        found: dict[int, int] = {}
        for start in sorted(_with_silence(at, silent_T)):
            for pron in lexicon.pronunciations[word]:
                for end in _said(is_phone_TP, start, [number[p] for p in pron]):
                    found.setdefault(end, start)
        ends.append(found)
        at = set(found)
    final = [end for end in at if silent_T[end:].all()]
    if not final:
        return None
    spans, end = [], min(final)
    for number_of_word in range(len(words) - 1, -1, -1):
        start = ends[number_of_word][end]
        spans.append((start, end))
        if number_of_word:
            before = ends[number_of_word - 1]
            end = max(e for e in before if e <= start and silent_T[e:start].all())
    return spans[::-1]


def aligned_utterances(shards: Path, alignments: Path) -> Iterator[Spoken]:
    """The utterances that `asr-kd align` aligned. alignments: its output folder."""
    inventory, lexicon = load_inventory(alignments), Lexicon.read(alignments / "lexicon.txt")
    assert isinstance(inventory, Senones)
    shift = inventory.frame_shift_s
    for path in find_shards(shards):
        shard = open_shard(path)
        table = read_sidecar(sidecar_path(alignments / shards.name, shard), shard)[0]
        for row, states in enumerate(table["states"].to_pylist()):
            words = (shard.entries[row].text or "").split()
            spans = states and word_spans(words, np.array(states), inventory, lexicon)
            if spans:
                wave_N = shard.audio(row)
                loud_T = _loud(wave_N, round(shift * SAMPLE_RATE))
                spans = [_trimmed(span, loud_T) for span in spans]
                places = [SpokenWord(w, a * shift, b * shift) for w, (a, b) in zip(words, spans, strict=True)]
                yield Spoken(wave_N, places)


def _loud(wave_N: np.ndarray, frame: int) -> np.ndarray:
    """Whether each frame is within QUIET_DB of the loud ones. Aligners hand silence at its edges to a word."""
    frames_TN = np.pad(wave_N, (0, -len(wave_N) % frame)).reshape(-1, frame)
    level_db_T = 10 * np.log10(frames_TN.var(axis=1) + 1e-10)
    return level_db_T > np.percentile(level_db_T, 95) - QUIET_DB


def _trimmed(span: tuple[int, int], loud_T: np.ndarray) -> tuple[int, int]:
    """Without quiet frames at its edges; as it is when all of it is quiet."""
    loud = span[0] + np.flatnonzero(loud_T[slice(*span)])
    return (int(loud[0]), int(loud[-1]) + 1) if len(loud) else span


def join(utterances: Sequence[Spoken], seconds: float, rng: np.random.Generator) -> Spoken:
    """Utterances drawn at random with pauses of 0.3 to 3 s between what is said, at one level."""
    parts = [_room(rng, 1.0)]
    words: list[SpokenWord] = []
    samples = len(parts[0])
    for number in rng.permutation(len(utterances)):
        if samples > seconds * SAMPLE_RATE:
            break
        utterance = utterances[number]
        first, last = (round(t * SAMPLE_RATE) for t in (utterance.words[0].start_s, utterance.words[-1].end_s))
        said_N = utterance.wave_N[first:last]
        level = SPEECH_RMS / max(float(np.sqrt(np.mean(said_N**2))), 1e-6)
        shift = samples / SAMPLE_RATE - utterance.words[0].start_s
        words += [SpokenWord(w.word, w.start_s + shift, w.end_s + shift) for w in utterance.words]
        parts += [said_N * level, _room(rng, rng.uniform(0.3, 3.0))]
        samples += len(parts[-1]) + len(parts[-2])
    return Spoken(np.concatenate(parts).astype(np.float32), words)


def with_noise(spoken: Spoken, noise: str, snr_db: float, esc10: Path, rng: np.random.Generator) -> Spoken:
    """noise: clean, white, pink, or a class of ESC-10 such as `002_Rain`."""
    if noise == "clean":
        return spoken
    count = len(spoken.wave_N)
    if noise == "white":
        noise_N = rng.standard_normal(count)
    elif noise == "pink":
        spectrum_F = np.fft.rfft(rng.standard_normal(count))
        noise_N = np.fft.irfft(spectrum_F / np.sqrt(np.arange(1, len(spectrum_F) + 1)), count)
    else:
        loud = [c / np.sqrt(np.mean(c**2)) for c in _readable(audio_files(esc10 / noise)[0]) if np.mean(c**2) > 1e-8]
        order = rng.integers(len(loud), size=1 + count // min(map(len, loud)))
        noise_N = np.concatenate([loud[n] for n in order])[:count]
    noise_N = noise_N / np.sqrt(np.mean(noise_N**2)) * SPEECH_RMS * 10 ** (-snr_db / 20)
    return Spoken((spoken.wave_N + noise_N).astype(np.float32), spoken.words)


def write(spoken: Spoken, path: Path) -> None:
    """As FLAC, without clipping."""
    wave_N = spoken.wave_N / max(1.0, float(np.abs(spoken.wave_N).max()) * 1.001)
    soundfile.write(path, wave_N, SAMPLE_RATE, subtype="PCM_16")


def _readable(paths: Sequence[Path]) -> Iterator[np.ndarray]:
    for path in paths:
        with suppress(ValueError):
            yield read_audio(path)


def _room(rng: np.random.Generator, seconds: float) -> np.ndarray:
    return ROOM_RMS * rng.standard_normal(round(seconds * SAMPLE_RATE))


def _with_silence(frames: set[int], silent_T: np.ndarray) -> set[int]:
    """These frames, and those that silence leads to."""
    reached = set(frames)
    for frame in frames:
        while frame < len(silent_T) and silent_T[frame]:
            frame += 1
            reached.add(frame)
    return reached


def _said(is_phone_TP: np.ndarray, start: int, phones: Sequence[int]) -> Iterator[int]:
    """Frames behind the last of these phones, said from `start` on, each in one frame or more."""
    at = np.zeros(len(phones), dtype=bool)
    for frame in range(start, len(is_phone_TP)):
        moved = np.concatenate([[frame == start], at[:-1]])
        at = (at | moved) & is_phone_TP[frame, phones]
        if not at.any():
            return
        if at[-1]:
            yield frame + 1
