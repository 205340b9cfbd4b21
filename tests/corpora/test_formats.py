"""What libsndfile does not know is read through FFmpeg: the same samples in part as in whole, and every fault named."""

from pathlib import Path

import numpy as np
import pytest
from encoding import encoded

from asr_kd.corpora.any_audio import measure_audio, read_samples
from asr_kd.corpora.audio import audio_seconds, read_audio
from asr_kd.corpora.audio_stream import BLOCK_FRAMES, file_blocks
from asr_kd.corpora.ffmpeg_file import FFmpegMeasured

FORMATS = {
    "m4a": ("ipod", "aac", 44100, 2),
    "aac": ("adts", "aac", 16000, 1),
    "webm": ("webm", "libopus", 48000, 1),
    "amr": ("amr", "libopencore_amrnb", 8000, 1),
    "adpcm.wav": ("wav", "adpcm_ima_wav", 16000, 1),
    "g726.wav": ("wav", "g726", 8000, 1),
    "mp3.mkv": ("matroska", "libmp3lame", 44100, 1),
    "mp4": ("mp4", "aac", 48000, 2),
    "mkv": ("matroska", "ac3", 48000, 6),
    "mov": ("mov", "pcm_s16le", 48000, 2),
    "wma": ("asf", "wmav2", 44100, 1),
    "3gp": ("3gp", "aac", 16000, 1),
    "ac3": ("ac3", "ac3", 48000, 2),
    "wv": ("wv", "wavpack", 16000, 1),
    "tta": ("tta", "tta", 16000, 2),
    "g722.wav": ("wav", "g722", 16000, 1),
    "ts": ("mpegts", "aac", 48000, 2),
    "avi": ("avi", "mp2", 48000, 1),
    "flv": ("flv", "aac", 44100, 1),
    "alac.m4a": ("ipod", "alac", 44100, 2),
}


def speech(seconds: float, rate: int, channels: int = 1) -> np.ndarray:
    """Two tones that jump in loudness, so that a shift shows. Without noise: AAC and AC-3 draw theirs at random."""
    t_N = np.arange(round(seconds * rate)) / rate
    rng = np.random.default_rng(0)
    wave_N = sum(
        0.1 * np.sin(2 * np.pi * f * t_N) * rng.standard_normal(9)[(t_N * 1.3).astype(int)] for f in (200, 510)
    )
    return np.repeat(wave_N[:, None], channels, axis=1).astype(np.float32)


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_is_read_whole_in_part_and_in_blocks(name: str, tmp_path: Path):
    kind, codec, rate, channels = FORMATS[name]
    path = tmp_path / f"a.{name}"
    path.write_bytes(encoded(kind, codec, speech(6.0, rate, channels), rate))
    assert audio_seconds(path) == pytest.approx(6.0, abs=0.13)
    whole_N = read_audio(path)
    assert len(whole_N) == pytest.approx(16000 * audio_seconds(path), abs=1)
    blocks = list(file_blocks(path))
    blocks_N = np.concatenate(blocks)[: len(whole_N)]  # resampled whole, a last sample is rounded away
    assert max(map(len, blocks)) <= BLOCK_FRAMES * max(1, 16000 / rate) + 999 and np.array_equal(
        blocks_N, whole_N[: len(blocks_N)]
    )
    assert abs(len(whole_N) - sum(map(len, blocks))) <= 1
    with open(path, "rb") as file:
        measured = measure_audio(file, "a")
        assert isinstance(measured, FFmpegMeasured) or name == "adpcm.wav"
        whole_NC = read_samples(file, "a", measured)
        for offset, seconds in ((0.0, 1.0), (0.3, 0.5), (2.1, 0.7), (4.4, 1.0), (5.5, None)):
            some_NC = read_samples(file, "a", measured, offset, seconds)
            start = round(offset * rate)
            expected_NC = whole_NC[start : start + len(some_NC)]  # but for noise that decoders draw at random
            shifted_by_half = (2 * np.pi * 200 / rate / 2) ** 2
            assert np.square(some_NC - expected_NC).sum() < shifted_by_half * np.square(expected_NC).sum()
