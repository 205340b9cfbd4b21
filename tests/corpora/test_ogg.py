"""Opus whose pages contradict their packets: libsndfile loses samples of it or breaks off, FFmpeg reads it."""

import io
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from asr_kd.corpora.any_audio import measure_audio
from asr_kd.corpora.audio import audio_seconds, decode_audio, read_audio
from asr_kd.corpora.audio_file import UnknownFormat
from asr_kd.corpora.audio_file import measure_audio as measure_by_libsndfile
from asr_kd.corpora.audio_stream import file_blocks
from asr_kd.corpora.ogg import check_ogg, ogg_pages

DATA = Path(os.environ.get("ASR_KD_DATA", "/nowhere"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="ASR_KD_DATA does not name a folder of corpora")
RATE = 16_000
SECONDS = 5.0


def speech() -> np.ndarray:
    t_N = np.arange(int(SECONDS * RATE)) / RATE
    return (0.3 * np.sin(2 * np.pi * (200 + 300 * t_N) * t_N)).astype(np.float32)


@pytest.fixture(scope="module")
def even() -> bytes:
    file = io.BytesIO()
    soundfile.write(file, speech(), RATE, format="OGG", subtype="OPUS")
    return file.getvalue()


def crc(page: bytes) -> int:
    """RFC 3533: polynomial 0x04c11db7, from 0, nothing reflected."""
    value = 0
    for byte in page:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value & 1 << 31 else 0)) & 0xFFFFFFFF
    return value


def uneven(data: bytes, number: int, samples: int) -> bytes:
    """The same packets, but one page says that it ends `samples` later."""
    pages = list(ogg_pages(io.BytesIO(data), len(data)))
    start, end = pages[number - 1].end, pages[number].end
    page = bytearray(data[start:end])
    page[6:14] = (pages[number].position + samples).to_bytes(8, "little", signed=True)
    page[22:26] = bytes(4)
    page[22:26] = crc(bytes(page)).to_bytes(4, "little")
    return data[:start] + bytes(page) + data[end:]


def test_pages_are_those_of_the_file(even: bytes):
    pages = list(ogg_pages(io.BytesIO(even), len(even)))
    assert pages[0].flags == 2 and pages[-1].flags & 4 and pages[-1].end == len(even)
    assert sum(page.packets for page in pages[2:]) * 960 >= SECONDS * 48_000
    assert uneven(even, 3, 0) == even, "the checksum is the one that libsndfile wrote"
    assert check_ogg(io.BytesIO(even), "a", len(even))


@pytest.mark.parametrize("samples", [489, -489, 960])
def test_every_second_of_uneven_opus_is_read(even: bytes, samples: int, tmp_path: Path):
    data, path = uneven(even, 4, samples), tmp_path / "a.opus"
    path.write_bytes(data)
    with pytest.raises(UnknownFormat, match="pages are not as long as they say"):
        measure_by_libsndfile(io.BytesIO(data), "a")
    assert audio_seconds(path) == pytest.approx(SECONDS, abs=1e-3)
    wave_N = read_audio(path)
    np.testing.assert_array_equal(decode_audio(data, "a", SECONDS), wave_N)
    np.testing.assert_allclose(np.concatenate(list(file_blocks(path))), wave_N, atol=1e-5)
    np.testing.assert_allclose(read_audio(path, 2.0, 1.5), wave_N[2 * RATE : int(3.5 * RATE)], atol=2e-2)
    expected_N = soundfile.read(io.BytesIO(even), dtype="float32")[0]
    assert len(wave_N) == len(expected_N)
    assert np.corrcoef(wave_N, expected_N)[0, 1] > 0.999


def test_without_ffmpeg_it_is_refused_and_told_what_helps(even: bytes, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ValueError, match=r"a\.opus: not readable as audio by libsndfile; FFmpeg reads more.*formats"):
        measure_audio(io.BytesIO(uneven(even, 4, 489)), "a.opus")
    assert measure_audio(io.BytesIO(even), "a.opus").seconds == SECONDS


@needs_data
def test_all_of_the_recordings_that_ffmpeg_made_so_are_read():
    found = [
        path
        for path in sorted(DATA.glob("esc10/*/*.opus"))
        if not check_ogg(io.BytesIO(path.read_bytes()), "", path.stat().st_size)
    ]
    assert len(found) == 61, "of 400; libsndfile breaks off within 48 of them, and loses 10 ms of the others"
    for path in found[:12]:
        assert len(read_audio(path)) == pytest.approx(audio_seconds(path) * RATE, abs=1)


@given(cut=st.integers(0, 20_000), places=st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 255)), max_size=5))
def test_damage_is_an_error_of_the_file_or_none(even: bytes, cut: int, places: list[tuple[int, int]]):
    data = bytearray(even[: max(1, len(even) - cut)])
    for place, byte in places:
        data[place % len(data)] = byte
    try:
        check_ogg(io.BytesIO(bytes(data)), "a", len(data))
    except ValueError as e:
        assert str(e).startswith("a: ")
