"""Copies are found by what they sound like; recordings that share a jingle or overlap one by one are none."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from asr_kd.cleaning.copies import Sketch, find_copies, sketch
from asr_kd.cleaning.near_copies import LandmarkIndex, shared_needed
from asr_kd.corpora.audio import read_audio
from asr_kd.corpora.manifest import Utterance

RATE = 16000


def _speech(seed: int, seconds: float = 6.0) -> np.ndarray:
    """Gliding harmonics with pauses: peaks as irregular as those of speech."""
    rng = np.random.default_rng(seed)
    pieces = []
    while sum(map(len, pieces)) < seconds * RATE:
        t_N = np.arange(int(RATE * rng.uniform(0.05, 0.3))) / RATE
        hz, glide = rng.uniform(200, 1200), rng.uniform(-800, 800)
        tone_N = sum(np.sin(2 * np.pi * h * (hz * t_N + glide * t_N**2)) * rng.uniform(0.2, 1) for h in (1, 2, 3))
        pieces += [0.1 * np.hanning(len(t_N)) * tone_N, np.zeros(int(RATE * rng.uniform(0, 0.1)))]
    wave_N = np.concatenate(pieces)[: round(seconds * RATE)]
    return (wave_N + 1e-4 * rng.standard_normal(len(wave_N))).astype(np.float32)


def _coded(wave_N: np.ndarray, form: str, subtype: str) -> np.ndarray:
    file = io.BytesIO()
    soundfile.write(file, wave_N, RATE, format=form, subtype=subtype, compression_level=0.8)
    decoded_N, rate = soundfile.read(io.BytesIO(file.getvalue()), dtype="float32")
    return soxr.resample(decoded_N, rate, RATE)


CHANGES = {
    "opus": lambda w: _coded(0.4 * w, "OGG", "OPUS"),
    "mp3": lambda w: _coded(1.3 * w, "MP3", "MPEG_LAYER_III"),
    "cut": lambda w: w[4837:],
    "8 kHz": lambda w: soxr.resample(soxr.resample(w, RATE, 8000), 8000, RATE),
    "quiet": lambda w: (np.round(0.05 * w * 32768) / 32768).astype(np.float32),
}


def _find(waves: list[np.ndarray | None], folder: Path) -> dict[int, tuple[int, str]]:
    utterances = [Utterance(f"u{n}", f"/x/{n}.wav", 6.0) for n in range(len(waves))]
    sketches = [None if w is None else Sketch.from_dict(sketch(w).to_dict()) for w in waves]
    return {n: (c.original, c.kind) for n, c in find_copies(zip(utterances, sketches, strict=True), folder).items()}


def test_copies_of_any_form_are_found_and_nothing_else(tmp_path):
    originals = [_speech(seed) for seed in range(20)]
    changed = [change(originals[n]) for n, change in enumerate(CHANGES.values())]
    found = _find([*originals, None, *changed, originals[7].copy()], tmp_path)
    assert found == {21 + n: (n, "near") for n in range(len(CHANGES))} | {21 + len(CHANGES): (7, "exact")}
    assert not list(tmp_path.iterdir())  # nothing is left behind


def test_copies_in_real_speech(an4_root, tmp_path):
    waves = [w for p in sorted(an4_root.rglob("*.flac"))[:60] if len(w := read_audio(p)) > 1.5 * RATE]
    changed = [CHANGES["opus"](w[4800:]) for w in waves[:10]]
    found = _find([*waves, *changed], tmp_path)
    assert set(found) <= {len(waves) + n for n in range(10)}
    assert all(found[len(waves) + n] == (n, "near") for n in range(10) if len(waves) + n in found)
    assert len(found) >= 9


def test_an_exact_copy_of_a_near_copy_is_one_of_its_original(tmp_path):
    wave_N = _speech(1)
    near_N = CHANGES["opus"](wave_N)
    assert _find([wave_N, near_N, near_N.copy()], tmp_path) == {1: (0, "near"), 2: (0, "near")}


def test_a_jingle_in_front_makes_no_copies(tmp_path):
    jingle_N = _speech(100, 2.0)
    assert _find([np.concatenate([jingle_N, _speech(n, 8.0)]) for n in range(4)], tmp_path) == {}


def test_windows_that_overlap_are_no_chain(tmp_path):
    whole_N = _speech(3, 24.0)
    windows = [whole_N[start * RATE : (start + 6) * RATE] for start in range(0, 18, 4)]  # each shares a third
    assert _find(windows, tmp_path) == {}


def test_silence_and_hum_sound_like_nothing(tmp_path):
    hum = [0.1 * np.sin(2 * np.pi * 400 * np.arange(n * RATE) / RATE).astype(np.float32) for n in (3, 4)]
    assert _find([np.zeros(RATE, np.float32), np.zeros(2 * RATE, np.float32), *hum], tmp_path) == {}


@pytest.mark.parametrize("shift", [0, 1, 37])
def test_landmarks_count_that_agree_on_one_shift(tmp_path, shift):
    rng = np.random.default_rng(0)
    hashes = rng.integers(1 << 40, size=20, dtype=np.uint64)
    frames = np.sort(rng.integers(100, 400, size=20, dtype=np.uint64))
    here, there = hashes << np.uint64(16) | frames, hashes << np.uint64(16) | frames + np.uint64(shift)
    elsewhere = hashes << np.uint64(16) | rng.permutation(frames * np.uint64(7))
    index = LandmarkIndex(tmp_path)
    for marks in (np.sort(here), np.sort(elsewhere), np.sort(there)):
        index.add(marks)
    assert [(link.first, link.other, link.is_strong) for link in index.links()] == [(0, 2, True)]


def test_more_landmarks_must_agree_in_larger_corpora():
    assert [shared_needed(n) for n in (2, 1000, 10_000, 1_000_000)] == [5, 5, 7, 11]
