"""Lengths are counted, not believed: what a header says and what a file holds are compared, whatever the format."""

import errno
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr_kd.cli import main
from asr_kd.corpora.audio import audio_seconds, decode_audio, read_audio
from asr_kd.corpora.audio_file import Measured, measure_audio, read_samples
from asr_kd.corpora.audio_stream import file_blocks
from asr_kd.shards.reader import open_shard

RATE = 16000


def speech(seconds: float, rate: int = RATE, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    t_N = np.arange(int(rate * seconds)) / rate
    return (0.05 * rng.standard_normal(len(t_N)) + 0.2 * np.sin(2 * np.pi * 200 * t_N)).astype(np.float32)


def encoded(kind: str, subtype: str | None = None, seconds: float = 3.0, seed: int = 0, **options) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, speech(seconds, seed=seed), RATE, format=kind, subtype=subtype, **options)
    return buffer.getvalue()


def flac_declaring(samples: int) -> bytes:
    data = bytearray(encoded("FLAC"))
    data[21:26] = ((data[21] >> 4 << 36) | samples).to_bytes(5, "big")
    return bytes(data)


def wav_declaring(size: int) -> bytes:
    data = bytearray(encoded("WAV", "PCM_16"))
    data[40:44] = size.to_bytes(4, "little")
    return bytes(data)


def headless_mp3(bitrate_mode: str, seconds: float = 8.0) -> bytes:
    """MP3 whose first frame, which says how many follow, is cut off, and which grows louder as it goes."""
    wave_N = speech(seconds) * np.linspace(0, 1, int(seconds * RATE), dtype=np.float32)
    buffer = io.BytesIO()
    options = {"bitrate_mode": bitrate_mode, "compression_level": 0.5}
    soundfile.write(buffer, wave_N, RATE, format="MP3", **options)
    data = buffer.getvalue()
    assert b"Xing" in data[:64] or b"Info" in data[:64]
    return data[data.index(data[:2], 4) :]


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "AIFF", "AU", "CAF", "W64", "RF64", "NIST", "VOC", "OGG", "MP3"])
def test_a_whole_file_has_the_length_that_its_header_says(kind: str, tmp_path: Path):
    (tmp_path / "a.x").write_bytes(encoded(kind))
    assert audio_seconds(tmp_path / "a.x") == 3.0
    assert len(read_audio(tmp_path / "a.x")) == 3 * RATE
    assert len(read_audio(tmp_path / "a.x", 1.0, 0.5)) == RATE // 2


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "AIFF", "AU", "CAF", "W64", "RF64", "NIST", "VOC", "OGG", "MP3"])
@pytest.mark.parametrize("share", [0.4, 0.9])
def test_a_file_that_is_cut_off_is_refused_and_never_taken_for_a_shorter_one(kind: str, share: float, tmp_path: Path):
    data = encoded(kind)
    (tmp_path / "a.x").write_bytes(data[: int(len(data) * share)])
    for read in (audio_seconds, read_audio):
        with pytest.raises(ValueError, match=r"a\.x: ") as error:
            read(tmp_path / "a.x")
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("mode", ["VARIABLE", "AVERAGE"])
def test_an_mp3_without_a_length_is_read_to_its_end(mode: str, tmp_path: Path):
    (tmp_path / "a.mp3").write_bytes(headless_mp3(mode))
    assert audio_seconds(tmp_path / "a.mp3") == pytest.approx(8.0, abs=0.2)
    wave_N = read_audio(tmp_path / "a.mp3")
    assert len(wave_N) / RATE == audio_seconds(tmp_path / "a.mp3")
    np.testing.assert_allclose(read_audio(tmp_path / "a.mp3", 6.0, 1.0), wave_N[6 * RATE : 7 * RATE], atol=1e-3)


def test_a_flac_of_unknown_length_is_read_to_its_end(tmp_path: Path):
    (tmp_path / "known.flac").write_bytes(encoded("FLAC"))
    (tmp_path / "stream.flac").write_bytes(flac_declaring(0))
    assert audio_seconds(tmp_path / "stream.flac") == 3.0
    for stretch in ((0.0, None), (0.0, 3.0), (1.5, 1.0), (2.9, None)):
        np.testing.assert_array_equal(
            read_audio(tmp_path / "stream.flac", *stretch), read_audio(tmp_path / "known.flac", *stretch)
        )


@pytest.mark.parametrize("size", [0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFF000])
def test_a_wav_written_to_a_pipe_is_read_to_its_end(size: int, tmp_path: Path):
    (tmp_path / "a.wav").write_bytes(wav_declaring(size))
    assert audio_seconds(tmp_path / "a.wav") == 3.0


def rated(rate: int) -> bytes:
    data = bytearray(encoded("WAV", "PCM_16"))
    data[24:28] = rate.to_bytes(4, "little")
    return bytes(data)


LIES = {
    "flac-more": (flac_declaring(2**36 - 1), r"says 4294967\.30 s of audio, 3\.00 s are there"),
    "flac-twice": (flac_declaring(6 * RATE), r"says 6\.00 s of audio, 3\.00 s are there"),
    "flac-less": (flac_declaring(RATE), r"says 1\.00 s of audio, 3\.00 s are there"),
    "wav-more": (wav_declaring(10 * RATE), r"says 5\.00 s of audio, 3\.00 s are there"),
    "wav-less": (wav_declaring(RATE), "in no chunk of it"),
    "wav-none": (wav_declaring(0), "holds no samples"),
    "mp3-joined": (encoded("MP3") * 2, r"says 3\.00 s of audio, 6\.\d\d s are there"),
    "vorbis-joined": (encoded("OGG", "VORBIS") + encoded("OGG", "VORBIS", seed=1), "several streams"),
    "opus-joined": (encoded("OGG", "OPUS") + encoded("OGG", "OPUS", seconds=1), "several streams"),
    "slow": (rated(1), "1 Hz"),
    "fast": (rated(10_000_000), "10000000 Hz"),
    "no-rate": (rated(0), "not readable as audio"),
}


@pytest.mark.parametrize("name", LIES)
def test_a_length_or_rate_that_is_not_true_is_refused_before_memory_is_taken(name: str, tmp_path: Path):
    data, reason = LIES[name]
    path = tmp_path / "lie"
    path.write_bytes(data)
    for read in (audio_seconds, read_audio):
        with pytest.raises(ValueError, match=reason) as error:
            read(path)
        assert str(error.value).startswith(f"{path}: ")


@pytest.mark.parametrize("tail", [b"TAG" + bytes(125), bytes(3000), b"LIST" + bytes(40)])
@pytest.mark.parametrize("kind", ["FLAC", "MP3", "WAV"])
def test_tags_and_padding_after_the_audio_are_no_fault(kind: str, tail: bytes):
    assert measure_audio(io.BytesIO(encoded(kind) + tail), "a").frames == 3 * RATE


def test_audio_in_a_shard_must_be_as_long_as_its_index_says():
    data = encoded("FLAC")
    assert len(decode_audio(data, "a", 3.0)) == 3 * RATE
    with pytest.raises(ValueError, match=r"a: 3\.00 s of audio, its index says 1000\.00 s"):
        decode_audio(data, "a", 1000.0)


class Failing(io.BytesIO):
    """A file on a disk that fails beyond a place."""

    def readinto(self, buffer):
        if self.tell() >= 20_000:
            raise OSError(errno.EIO, "Input/output error")
        return super().readinto(buffer)


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "MP3", "OGG"])
def test_a_disk_that_fails_while_reading_is_no_fault_of_the_audio(kind: str):
    data = encoded(kind, seconds=20.0)
    assert len(data) > 40_000
    with pytest.raises(OSError, match="Input/output error") as error:
        read_samples(Failing(data), "a", Measured(RATE, 1, 20 * RATE))
    assert error.value.errno == errno.EIO


@pytest.mark.parametrize("duration", ["NaN", "Infinity", "1e308", "1000", "-1", '"1"', "null", "0.01"])
def test_a_foreign_tar_is_as_long_as_its_audio_whatever_it_says(duration: str, tmp_path: Path):
    members = {"a.wav": encoded("WAV", "PCM_16", 1.0), "a.json": f'{{"text": "x", "duration": {duration}}}'.encode()}
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    shard = open_shard(tmp_path / "t.tar")
    assert [entry.seconds for entry in shard.entries] == [1.0]
    assert shard.seconds == 1.0
    assert len(shard.audio(0)) == RATE


def test_a_damaged_file_of_each_kind_costs_one_utterance_of_its_shard(tmp_path: Path, capsys):
    lines = []
    for name, (data, _) in LIES.items():
        (tmp_path / name).write_bytes(data)
        lines.append({"id": name, "audio_filepath": name, "duration": 1.0})
    (tmp_path / "good.wav").write_bytes(encoded("WAV", "PCM_16"))
    lines.append({"id": "good", "audio_filepath": "good.wav", "duration": 3.0})
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main(["shard", str(tmp_path / "m.jsonl"), "--out", str(tmp_path / "s"), "--max-skipped", "0.95"]) == 0
    shard = open_shard(tmp_path / "s" / "m" / "shard-000000.tar")
    assert [entry.id for entry in shard.entries] == ["good"]
    assert {item["id"] for item in shard.set_aside} == set(LIES)


@pytest.mark.parametrize(("kind", "subtype"), [("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None)])
def test_what_a_lossy_codec_makes_of_an_overdriven_recording_is_read_by_all_alike(kind, subtype, tmp_path: Path):
    loud_N = np.clip(8 * speech(3.0), -1, 1)
    buffer = io.BytesIO()
    soundfile.write(buffer, loud_N, RATE, format=kind, subtype=subtype)
    path = tmp_path / "loud.x"
    path.write_bytes(buffer.getvalue())
    wave_N = read_audio(path)
    assert np.mean(np.abs(wave_N) > 1) > 0.01, "as many as would be a wrong scale in a WAV of floats"
    np.testing.assert_array_equal(decode_audio(buffer.getvalue(), "a", 3.0), wave_N)
    np.testing.assert_array_equal(np.concatenate(list(file_blocks(path))), wave_N)
    soundfile.write(tmp_path / "loud.wav", wave_N, RATE, subtype="FLOAT")
    with pytest.raises(ValueError, match=r"loud\.wav: samples reach \d\.\d+ and must lie in \[-1, 1\]"):
        read_audio(tmp_path / "loud.wav")
