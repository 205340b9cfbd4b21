"""Audio in blocks is the audio that is read whole, of files and of pipes; what is refused there is refused here."""

import io
import os
import struct
import sys
import threading

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_kd.corpora.audio import read_audio
from asr_kd.corpora.audio_stream import BLOCK_FRAMES, at_16k, file_blocks
from asr_kd.corpora.live_audio import microphone_blocks, piped_blocks

RATE = 16000


def noise(seconds=9.0, rate=RATE, channels=1):
    wave_NC = 0.1 * np.random.default_rng(0).standard_normal((round(seconds * rate), channels))
    return wave_NC.astype(np.float32)


def whole(blocks):
    return np.concatenate(list(blocks))


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "AIFF", "AU", "CAF", "W64", "RF64", "NIST", "VOC", "OGG", "MP3"])
@pytest.mark.parametrize(("rate", "channels"), [(16000, 1), (44100, 2)])
def test_blocks_are_the_samples_that_are_read_whole(kind, rate, channels, tmp_path):
    path = tmp_path / "a.x"
    soundfile.write(path, noise(9.0, rate, channels), rate, format=kind)
    blocks = list(file_blocks(path))
    assert len(blocks) > 1 and max(map(len, blocks)) <= BLOCK_FRAMES
    assert np.array_equal(np.concatenate(blocks), read_audio(path))


@pytest.mark.parametrize(
    "change", ["opposite", "int16 as float", "cut off", "nan", "loud", "quiet", "empty", "text", "raw"]
)
def test_odd_files_are_read_or_refused_as_when_read_whole(change, tmp_path):
    path, wave_NC = tmp_path / ("a.raw" if change == "raw" else "a.wav"), noise(channels=2)
    if change == "opposite":
        wave_NC[:, 1] = -wave_NC[:, 0]
    elif change == "nan":
        wave_NC[-5, 1] = np.nan
    wave_NC *= {"int16 as float": 30000, "loud": 1e6, "quiet": 1e-7}.get(change, 1)
    soundfile.write(path, wave_NC[: 0 if change == "empty" else None], RATE, format="WAV", subtype="FLOAT")
    if change == "cut off":
        path.write_bytes(path.read_bytes()[:-100_000])
    if change in ("text", "raw"):
        path.write_bytes(b"no audio" if change == "text" else (wave_NC[:, 0] * 32768).astype(">i2").tobytes())
    try:
        expected = read_audio(path)
    except ValueError as e:
        with pytest.raises(ValueError) as error:
            whole(file_blocks(path))
        assert str(error.value) == str(e)
    else:
        assert np.array_equal(whole(file_blocks(path)), expected)


@settings(max_examples=25, deadline=None)
@given(st.integers(2000, 96000), st.lists(st.integers(1, 9999), min_size=1, max_size=9), st.integers(0, 30000))
def test_resampling_gives_the_same_samples_however_blocks_are_cut(rate, sizes, length):
    wave_N = noise(1.0, 30000)[:length, 0]
    cuts = np.cumsum(sizes * (length // sum(sizes) + 1))
    pieces = np.split(wave_N, cuts[cuts < length])
    assert np.array_equal(whole(at_16k(pieces, rate)), whole(at_16k([wave_N], rate)))


def pcm_wav(wave_NC, subtype="PCM_16", size=None, rate=RATE, kind="WAV"):
    buffer = io.BytesIO()
    soundfile.write(buffer, wave_NC, rate, format=kind, subtype=subtype)
    data = bytearray(buffer.getvalue())
    if size is not None:
        place = data.index(b"data") + 4
        data[place : place + 4] = struct.pack("<I", size)
    return bytes(data)


def through_pipe(data, sizes, **options):
    """What comes out where `data` goes in by pieces of these sizes."""
    read_end, write_end = os.pipe()

    def write():
        with open(write_end, "wb", buffering=0) as file:
            view, turn = memoryview(data), 0
            while view:
                view = view[file.write(view[: sizes[turn % len(sizes)]]) :]
                turn += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with open(read_end, "rb") as file:
            return whole(piped_blocks(file, "-", **options))
    finally:
        writer.join()


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT"])
@pytest.mark.parametrize("size", [None, 0, 0xFFFFFFFF, 0x80000000])
@pytest.mark.parametrize("kind", ["WAV", "WAVEX"])
def test_a_piped_wav_has_the_samples_of_the_file(subtype, size, kind, tmp_path):
    if subtype == "FLOAT" and size == 0:
        size = None  # floats are read to their end first, and are as long as the header says
    wave_NC = noise(1.0, 44100, 2)
    (tmp_path / "a.wav").write_bytes(pcm_wav(wave_NC, subtype, None, 44100, kind))
    heard_N = through_pipe(pcm_wav(wave_NC, subtype, size, 44100, kind), [1, 999, 44])
    assert np.array_equal(heard_N, read_audio(tmp_path / "a.wav"))


@pytest.mark.parametrize("kind", ["FLAC", "OGG", "MP3", "AIFF", "CAF"])
def test_other_formats_come_through_a_pipe_too(kind, tmp_path):
    soundfile.write(tmp_path / "a.x", noise(1.0), RATE, format=kind)
    assert np.array_equal(through_pipe((tmp_path / "a.x").read_bytes(), [4096]), read_audio(tmp_path / "a.x"))


def test_headerless_samples_come_through_a_pipe():
    wave_N = np.round(noise(1.0)[:, 0] * 32768) / np.float32(32768)
    data = (wave_N * 32768).astype("<i2").tobytes()
    assert np.array_equal(through_pipe(data, [1, 777], raw_rate=RATE), wave_N)
    assert len(through_pipe(data, [5000], raw_rate=8000)) == 2 * len(wave_N)
    with pytest.raises(ValueError, match="--raw-rate 7: 2000 to 768000 Hz"):
        through_pipe(b"", [1], raw_rate=7)


def test_a_wav_that_grows_is_answered_before_it_ends():
    read_end, write_end = os.pipe()
    data = pcm_wav(noise(1.0), size=0)
    with open(read_end, "rb") as file, open(write_end, "wb", buffering=0) as writer:
        blocks = piped_blocks(file, "-")
        writer.write(data[:8044])
        came = 0
        while came < 4000:
            came += len(next(blocks))
        assert came == 4000
        writer.write(data[8044:])
        assert len(next(blocks)) > 0


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (pcm_wav(noise(1.0))[:20000], r"-: its header says 1\.00 s of audio, 0\.62 s are there"),
        (pcm_wav(noise(1.0))[:44], "-: holds no samples"),
        (pcm_wav(noise(1.0))[:30], "-: "),
        (b"", "-: not readable as audio"),
        (b"RIFF____WAVEdata\x00\x00\x00\x00", "-: "),
        (b"hello" * 1000, "-: not readable as audio"),
    ],
)
def test_what_is_no_audio_in_a_pipe_is_one_line(data, told):
    with pytest.raises(ValueError, match=told) as error:
        through_pipe(data, [1000])
    assert "\n" not in str(error.value)


def test_without_the_package_the_microphone_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(ValueError, match=r"--mic: needs the package sounddevice\. Run .*mic"):
        next(microphone_blocks(lambda: True))
