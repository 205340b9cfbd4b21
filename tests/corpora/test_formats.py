"""What libsndfile does not know is read through FFmpeg: the same samples in part as in whole, and every fault named."""

import io
import json
import sys
import tarfile
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from encoding import encoded

from asr_kd.cli import main
from asr_kd.corpora.any_audio import measure_audio, read_samples
from asr_kd.corpora.audio import audio_seconds, read_audio
from asr_kd.corpora.audio_stream import BLOCK_FRAMES, file_blocks
from asr_kd.corpora.ffmpeg_file import FFmpegMeasured
from asr_kd.shards.reader import open_shard

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


RATE = 16000


def speech(seconds: float, rate: int, channels: int = 1) -> np.ndarray:
    """Two tones that jump in loudness, so that a shift shows. Without noise: AAC and AC-3 draw theirs at random."""
    t_N = np.arange(round(seconds * rate)) / rate
    rng = np.random.default_rng(0)
    wave_N = sum(
        0.1 * np.sin(2 * np.pi * f * t_N) * rng.standard_normal(99)[(t_N * 1.3).astype(int)] for f in (200, 510)
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


@pytest.mark.parametrize(
    "subtype", ["PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW", "IMA_ADPCM", "MS_ADPCM", "GSM610"]
)
def test_encodings_of_wav_that_libsndfile_knows_stay_with_it(subtype: str, tmp_path: Path):
    wave_NC = speech(2.0, 8000)
    soundfile.write(tmp_path / "a.wav", wave_NC, 8000, subtype=subtype, format="WAV")
    assert audio_seconds(tmp_path / "a.wav") == pytest.approx(2.0, abs=0.1)
    wave_N = read_audio(tmp_path / "a.wav")[::2][: len(wave_NC)]
    assert np.corrcoef(wave_N, wave_NC[: len(wave_N), 0])[0, 1] > 0.98


def test_samples_are_those_that_were_written(tmp_path: Path):
    wave_NC = np.round(speech(1.0, RATE, 2) * np.float32([0.5, 1.0]) * 32768) / np.float32(32768)
    for kind, codec in (
        ("ipod", "alac"),
        ("mov", "pcm_s24le"),
        ("mov", "pcm_f32le"),
        ("matroska", "flac"),
    ):
        (tmp_path / "a").write_bytes(encoded(kind, codec, wave_NC, RATE))
        np.testing.assert_allclose(read_audio(tmp_path / "a"), wave_NC.mean(axis=1), atol=1e-6, err_msg=codec)


def test_video_is_heard_and_of_several_audio_streams_the_first_is_taken_and_named(tmp_path: Path, capsys):
    wave_NC = speech(2.0, RATE)
    for kind in ("mp4", "matroska"):
        (tmp_path / "sound").write_bytes(encoded(kind, "aac", wave_NC, RATE))
        (tmp_path / "film").write_bytes(encoded(kind, "aac", wave_NC, RATE, video=True, streams=2))
        assert np.array_equal(read_audio(tmp_path / "film"), read_audio(tmp_path / "sound"))
        assert capsys.readouterr().err.count("film: 2 audio streams; the first is read") == 1


def damaged(data: bytes, how: str) -> bytes:
    middle, some = len(data) // 2, len(data) // 10
    return {
        "zeros": data[:middle] + bytes(some) + data[middle + some :],
        "noise": data[:middle] + np.random.default_rng(0).bytes(some) + data[middle + some :],
        "cut off": data[: len(data) - 3 * some],
        "a part missing": data[:middle] + data[middle + some :],
    }[how]


@pytest.mark.parametrize("how", ["zeros", "noise", "cut off", "a part missing"])
@pytest.mark.parametrize("name", ["m4a", "aac", "webm", "wma", "ac3", "wv", "avi", "mkv", "amr", "flv"])
def test_damage_is_an_error_and_never_a_silent_gap(name: str, how: str, tmp_path: Path):
    kind, codec, rate, channels = FORMATS[name]
    noise_NC = speech(4.0, rate, channels) + 0.02 * np.random.default_rng(0).standard_normal((4 * rate, 1))
    path = tmp_path / f"a.{name}"
    path.write_bytes(damaged(encoded(kind, codec, noise_NC, rate), how))
    for read in (audio_seconds, read_audio, lambda path: list(file_blocks(path))):
        with pytest.raises(ValueError, match=r"a\.[a-z0-9]+: .*([0-9] s|no audio format)") as error:
            read(path)
        assert "\n" not in str(error.value)


def picture() -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mjpeg") as container:
        stream = container.add_stream("mjpeg", rate=1, width=64, height=64, pix_fmt="yuvj420p")
        frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "rgb24")
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return buffer.getvalue()


NO_AUDIO = {
    "empty": b"",
    "text": b"no audio at all\n" * 400,
    "picture": picture(),
    "noise": np.random.default_rng(0).bytes(50_000),
    "program": Path(sys.executable).read_bytes()[:200_000],
    "film without sound": encoded("mp4", "aac", speech(1.0, RATE), RATE, video=True, streams=0),
}


@pytest.mark.parametrize("what", NO_AUDIO)
def test_what_is_no_audio_is_refused_with_the_reason(what: str, tmp_path: Path):
    path = tmp_path / "a.mp3"
    path.write_bytes(NO_AUDIO[what])
    with pytest.raises(ValueError, match=r"a\.mp3: (not readable as audio \(.+\)|holds no audio \(video only\))$"):
        audio_seconds(path)


@pytest.mark.parametrize("name", ["list.m3u8", "list.ffconcat", "list.m4a", "list.sdp"])
def test_a_list_that_points_to_another_file_is_not_followed(name: str, tmp_path: Path):
    (tmp_path / "secret.wav").write_bytes(encoded("wav", "pcm_s16le", speech(2.0, RATE), RATE))
    texts = {
        "m3u8": "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXTINF:2.0,\n{}\n#EXT-X-ENDLIST\n",
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
    }
    text = texts.get(name[5:], "ffconcat version 1.0\nfile '{}'\n")
    for target in ("secret.wav", str(tmp_path / "secret.wav"), f"subfile,,start,0,end,0,,:{tmp_path}/secret.wav"):
        (tmp_path / name).write_text(text.format(target))
        with pytest.raises(ValueError, match="not readable as audio"):
            read_audio(tmp_path / name)
        if name.endswith("ffconcat") and not target.startswith("subfile"):  # FFmpeg itself would follow it
            with av.open(str(tmp_path / name), options={"safe": "0"}) as container:
                assert container.streams.audio


def test_random_bytes_in_a_file_are_an_error_or_audio_and_nothing_else():
    rng = np.random.default_rng(1)
    for name in ("m4a", "webm", "wma", "aac", "amr", "ts"):
        kind, codec, rate, channels = FORMATS[name]
        data = encoded(kind, codec, speech(0.5, rate, channels), rate)
        for _ in range(25):
            changed = bytearray(data)
            for place in rng.integers(len(data), size=rng.integers(1, 20)):
                changed[place] = rng.integers(256)
            file = io.BytesIO(bytes(changed))
            try:
                measured = measure_audio(file, "a")
                assert np.isfinite(read_samples(file, "a", measured)).all() or not measured.frames
            except ValueError as e:
                assert str(e).startswith("a: ") and "\n" not in str(e)


class Failing(io.BytesIO):
    """A file on a disk that fails beyond a place."""

    def read(self, size=-1):
        if self.tell() >= 40_000:
            raise OSError(5, "Input/output error")
        return super().read(size)


@pytest.mark.parametrize("name", ["aac", "webm", "wma"])
def test_a_disk_that_fails_is_no_fault_of_the_audio(name: str):
    kind, codec, rate, channels = FORMATS[name]
    data = encoded(kind, codec, speech(20.0, rate, channels), rate)
    assert len(data) > 80_000
    with pytest.raises(OSError, match="Input/output error"):
        measure_audio(Failing(data), "a")


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_folder_of_every_format_becomes_shards_and_every_file_is_accounted_for(tmp_path: Path, capsys):
    root = tmp_path / "Zoë's talks"
    root.mkdir()
    names = {f"talk {n}.{name}" for n, name in enumerate(FORMATS)} | {"without suffix", "odd.x-audio"}
    for name in sorted(names):
        kind, codec, rate, channels = FORMATS.get(name.partition(".")[2], FORMATS["m4a"])
        (root / name).write_bytes(encoded(kind, codec, speech(1.0, rate, channels), rate))
    (root / "talk 0.txt").write_text("hello there")
    (root / "broken.m4a").write_bytes(NO_AUDIO["noise"])
    (root / "silent film.mp4").write_bytes(NO_AUDIO["film without sound"])
    (root / "._talk 0.m4a").write_bytes(bytes(4096))
    (root / "notes.pdf").write_bytes(b"%PDF")
    (root / "data").write_bytes(NO_AUDIO["noise"])
    assert main(["prepare", "folder", str(root), "--dev-fraction", "0", "--out", str(tmp_path / "m")]) == 0
    assert "3 other files such as ._talk 0.m4a are no audio" in capsys.readouterr().err
    used = {
        Path(row["audio_filepath"]).name
        for part in ("labelled", "unlabelled")
        for row in rows(tmp_path / "m" / f"{part}.jsonl")
    }
    assert used == names
    rejected = {Path(row["audio_filepath"]).name: row["error"] for row in rows(tmp_path / "m" / "rejected.jsonl")}
    assert rejected.keys() == {"broken.m4a", "silent film.mp4"}
    assert "holds no audio (video only)" in rejected["silent film.mp4"]
    assert main(["shard", str(tmp_path / "m" / "unlabelled.jsonl"), "--out", str(tmp_path / "s")]) == 0
    shard = open_shard(tmp_path / "s" / "unlabelled" / "shard-000000.tar")
    assert len(shard.entries) == len(names) - 1 and not shard.set_aside
    assert all(entry.seconds == pytest.approx(1.0, abs=0.15) for entry in shard.entries)


def test_without_the_extra_each_file_that_needs_it_is_listed_with_what_to_install(tmp_path: Path, monkeypatch, capsys):
    root = tmp_path / "in"
    root.mkdir()
    (root / "a.m4a").write_bytes(encoded("ipod", "aac", speech(1.0, RATE), RATE))
    for n in range(5):
        soundfile.write(root / f"b{n}.wav", speech(1.0, RATE), RATE)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ValueError, match=r"a\.m4a: .*FFmpeg reads more\. Run .*formats"):
        read_audio(root / "a.m4a")
    assert main(["prepare", "folder", str(root), "--out", str(tmp_path / "m")]) == 0
    (row,) = rows(tmp_path / "m" / "rejected.jsonl")
    assert row["audio_filepath"].endswith("a.m4a") and "pip install -e '.[formats]'" in row["error"]


@pytest.mark.parametrize("name", ["m4a", "aac", "webm", "wv", "tta"])
def test_tags_after_the_audio_are_no_fault(name: str):
    kind, codec, rate, channels = FORMATS[name]
    data = encoded(kind, codec, speech(3.0, rate, channels), rate)
    measured = measure_audio(io.BytesIO(data), "a")
    tagged = io.BytesIO(data + b"TAG" + bytes(125))
    assert measure_audio(tagged, "a") == measured
    assert np.array_equal(read_samples(tagged, "a", measured), read_samples(io.BytesIO(data), "a", measured))
    assert len(read_samples(tagged, "a", measured, 2.5)) == measured.frames - round(2.5 * measured.rate)


def test_a_long_upload_is_not_counted_to_its_end():
    data = encoded("webm", "libopus", np.zeros((48000 * 30, 1)), 48000)
    assert 2.0 < measure_audio(io.BytesIO(data), "a", max_s=2.0).seconds < 3.0


def test_a_foreign_tar_of_m4a_is_a_shard(tmp_path: Path):
    members = {"a.m4a": encoded("ipod", "alac", speech(1.0, RATE), RATE), "a.txt": b"hello"}
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    shard = open_shard(tmp_path / "t.tar")
    assert [(entry.text, entry.seconds) for entry in shard.entries] == [("hello", 1.0)]
    assert np.array_equal(shard.audio(0), read_audio(f"{tmp_path}/t.tar::a.m4a"))
