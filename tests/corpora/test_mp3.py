"""MP3: the frames that are counted by their headers are those that a decoder finds."""

import io

import numpy as np
import pytest
import soundfile

from asr_kd.corpora.audio_file import MAX_MP3_PADDING, measure_audio
from asr_kd.corpora.mp3 import has_tagged_length

RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
ID3V1 = b"TAG" + bytes(125)
ID3V2 = b"ID3\x03\x00\x00\x00\x00\x02\x00" + bytes(256)


def mp3(rate=16_000, mode="CONSTANT", channels=1, seconds=2.0) -> bytes:
    wave_NC = 0.1 * np.random.default_rng(0).standard_normal((int(seconds * rate), channels))
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", rate, channels, format="MP3", bitrate_mode=mode) as f:
        f.write(wave_NC)
    return buffer.getvalue()


def is_as_tagged(data: bytes, rate=16_000, samples=32_000) -> bool:
    start = len(ID3V2) if data.startswith(b"ID3") else 0
    return has_tagged_length(io.BytesIO(data), data[start : start + 512], start, rate, samples, MAX_MP3_PADDING)


def frame_starts(data: bytes) -> list[int]:
    """Of a constant bit rate without padding."""
    length = data.index(data[:3], 3)
    return list(range(0, len(data), length))


@pytest.mark.parametrize("mode", ["CONSTANT", "AVERAGE", "VARIABLE"])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", RATES)
def test_whole_files_are_told_by_their_headers(rate, channels, mode):
    for seconds in (0.3, 2.0):
        assert is_as_tagged(mp3(rate, mode, channels, seconds), rate, int(seconds * rate))


@pytest.mark.parametrize("around", [(b"", ID3V1), (ID3V2, b""), (ID3V2, ID3V1)])
def test_tags_around_the_audio_are_known(around):
    before, behind = around
    data = before + mp3() + behind
    assert is_as_tagged(data)
    assert measure_audio(io.BytesIO(data), "a.mp3").frames == 32_000


def test_what_is_missing_or_too_much_is_not_taken_for_whole():
    data = mp3()
    starts = frame_starts(data)
    assert len(starts) > 20 and is_as_tagged(data)
    middle, after = starts[10], starts[11]
    damaged = {
        "a frame less": data[:middle] + data[after:],
        "a frame more": data[:middle] + data[middle:after] + data[middle:],
        "cut off": data[:-1],
        "cut at a frame": data[: starts[-1]],
        "junk behind": data + b"junk",
        "another file behind": data + data,
        "half a tag behind": data + ID3V1[:-1],
        "a lost byte": data[: middle + 20] + data[middle + 21 :],
        "no header": data[starts[1] :],
        "nothing": b"",
    }
    assert [name for name, other in damaged.items() if is_as_tagged(other)] == []
    assert not is_as_tagged(data, rate=22_050)
    assert not is_as_tagged(data, samples=64_000)
    assert not is_as_tagged(data, samples=16_000)


def test_a_large_file_is_not_judged_by_its_first_bytes(monkeypatch):
    data = mp3()
    monkeypatch.setattr("asr_kd.corpora.mp3.MAX_BYTES", len(data))
    assert is_as_tagged(data)
    assert not is_as_tagged(data + data)


def test_what_was_told_by_headers_is_what_is_decoded():
    """Bytes of a file are changed at random: whenever its headers still fit, a decoder finds as many samples."""
    data, rng = mp3(mode="VARIABLE"), np.random.default_rng(0)
    fitting = 0
    for _ in range(300):
        changed = bytearray(data)
        for place in rng.integers(0, 400, 3):  # headers of the first frames, and their own header
            changed[place] = rng.integers(256)
        try:
            measured = measure_audio(io.BytesIO(bytes(changed)), "a.mp3")
            wave_NC, rate = soundfile.read(io.BytesIO(bytes(changed)), always_2d=True)
        except (ValueError, soundfile.LibsndfileError):
            continue
        if not measured.header_agrees:  # read in another way, to its end
            continue
        fitting += 1
        assert rate == measured.rate
        assert abs(len(wave_NC) - measured.frames) <= MAX_MP3_PADDING
    assert fitting > 50
