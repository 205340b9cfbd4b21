"""Audio inside tars, Parquet, Arrow and Kaldi archives is read like files, by many threads, or refused by name."""

import io
import struct
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import kaldiio
import numpy as np
import pyarrow as pa
import pytest
from clips import RATE, audio_rows, clip, samples, write_parquet, write_stream, write_tar

from asr_kd.corpora.audio import audio_seconds, read_audio
from asr_kd.corpora.audio_stream import file_blocks
from asr_kd.corpora.containers.names import in_reading_order, source_file
from asr_kd.corpora.containers.tables import audio_table

CLIPS = [clip(i, 0.2 + 0.05 * i, "FLAC" if i % 2 else "WAV") for i in range(10)]


def container(kind: str, folder: Path) -> list[str]:
    """The clips in a container of this kind: their names."""
    table = audio_rows(CLIPS, {"text": [f"word {i}" for i in range(10)]})
    path = folder / f"täg 1.{kind.partition(' ')[0]}"
    if kind == "tar":
        write_tar(path, {f"a/{i}.flac": data for i, data in enumerate(CLIPS)})
        return [f"{path}::a/{i}.flac" for i in range(10)]
    if kind == "ark":
        names, data = [], b""
        for i in range(0, 10, 2):
            data += f"utt{i} ".encode()
            names += [f"{path}::{len(data)}"] * 2
            data += CLIPS[i]
        path.write_bytes(data)
        return names
    if kind == "parquet":
        write_parquet(path, table)
    elif kind == "parquet bare":
        write_parquet(path, pa.table({"text": table["text"], "speech": pa.array(CLIPS, pa.large_binary())}))
    elif kind == "arrow file":
        with pa.ipc.new_file(path, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
            writer.write_table(table, max_chunksize=3)
    else:
        write_stream(path, table)
    return [f"{path}::{i}" for i in range(10)]


@pytest.mark.parametrize("kind", ["tar", "parquet", "parquet bare", "arrow", "arrow file", "ark"])
def test_members_have_the_samples_of_files_whoever_reads_them(kind: str, tmp_path: Path):
    names = container(kind, tmp_path)
    want = [samples(CLIPS[i // 2 * 2 if kind == "ark" else i]) for i in range(10)]
    for name, wave_N in zip(names, want, strict=True):
        assert audio_seconds(Path(name)) == len(wave_N) / RATE
        np.testing.assert_array_equal(np.concatenate(list(file_blocks(name))), wave_N)
        np.testing.assert_array_equal(read_audio(name, 0.05, 0.1), wave_N[800:2400])
    order = np.random.default_rng(0).integers(0, 10, 200)
    with ThreadPoolExecutor(8) as pool:
        for i, wave_N in zip(order, pool.map(lambda i: read_audio(names[i]), order), strict=True):
            np.testing.assert_array_equal(wave_N, want[i])


@pytest.mark.parametrize("form", ["flac", "wav", "kaldiio flac"])
def test_kaldi_archives_of_any_audio_are_read_entry_by_entry(form: str, tmp_path: Path):
    path, scp = tmp_path / "wav.ark", tmp_path / "wav.scp"
    kind = form.split()[-1].upper()
    clips = [clip(i, 0.3, kind) for i in range(5)]
    if form == "kaldiio flac":
        waves = {f"u{i}": (RATE, (samples(data) * 32768).astype(np.int16)) for i, data in enumerate(clips)}
        about = {"write_function": "soundfile", "write_kwargs": {"format": "flac"}}
        kaldiio.save_ark(str(path), waves, scp=str(scp), **about)
        offsets = [line.rpartition(":")[2] for line in scp.read_text().splitlines()]
    else:
        offsets, ark = [], b""
        for i, data in enumerate(clips):
            ark += f"u{i} ".encode()
            offsets.append(str(len(ark)))
            ark += data
        path.write_bytes(ark)
    for offset, data in zip(offsets, clips, strict=True):
        np.testing.assert_array_equal(read_audio(f"{path}::{offset}"), samples(data))


def test_a_column_is_named_where_there_are_several(tmp_path: Path):
    table = audio_rows(CLIPS[:2], {"speech/raw": pa.array(CLIPS[2:4], pa.binary())})
    note = table.schema.metadata[b"huggingface"].replace(
        b'{"dtype": "string", "_type": "Value"}', b'{"_type": "Audio"}'
    )
    path = write_parquet(tmp_path / "x.parquet", table.replace_schema_metadata({"huggingface": note}))
    np.testing.assert_array_equal(read_audio(f"{path}::1"), samples(CLIPS[1]))
    np.testing.assert_array_equal(read_audio(f"{path}::speech/raw/1"), samples(CLIPS[3]))
    with pytest.raises(ValueError, match="no column text with audio"):
        read_audio(f"{path}::text/1")


def test_a_file_that_has_such_a_name_wins(tmp_path: Path):
    write_tar(tmp_path / "x.tar", {"a.wav": CLIPS[0]})
    (tmp_path / "x.tar::a.wav").write_bytes(CLIPS[2])
    np.testing.assert_array_equal(read_audio(tmp_path / "x.tar::a.wav"), samples(CLIPS[2]))
    assert source_file(tmp_path / "x.tar::a.wav") == str(tmp_path / "x.tar::a.wav")
    (tmp_path / "x.tar::a.wav").unlink()
    np.testing.assert_array_equal(read_audio(tmp_path / "x.tar::a.wav"), samples(CLIPS[0]))
    odd = write_tar(tmp_path / "y.tar::z" / "b::c.tar", {"d::e.wav": CLIPS[4]})
    np.testing.assert_array_equal(read_audio(f"{odd}::d::e.wav"), samples(CLIPS[4]))


def test_headerless_samples_in_a_tar_are_16_bits_at_16_khz(tmp_path: Path):
    pcm_N = (samples(CLIPS[0]) * 32768).astype("<i2")
    write_tar(tmp_path / "x.tar", {"a.raw": pcm_N.tobytes()})
    np.testing.assert_array_equal(read_audio(tmp_path / "x.tar::a.raw"), samples(CLIPS[0]))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("x.tar::b.flac", "x.tar::b.flac: no such member"),
        ("x.tar::../a.flac", "no such member"),
        ("x.tar::link.flac", "a link"),
        ("x.tar::twice.flac", "occurs twice"),
        ("gone.tar::a.flac", "gone.tar::a.flac: gone.tar does not exist"),
        ("x.tar.gz::a.flac", "no random access. Unpack it"),
        ("x.parquet::10", "the file has 10 rows"),
        ("x.parquet::-1", "names no row"),
        ("x.parquet::3", "x.parquet::3: the row holds no audio, it names '3.flac'"),
        ("x.parquet::4", "x.parquet::4: the row holds no audio"),
        ("text.parquet::0", "has no column of audio (columns: text)"),
        ("bad.parquet::0", "bad.parquet: damaged, or no Parquet file"),
        ("bad.arrow::0", "bad.arrow: damaged, or no Arrow file"),
        ("bad.tar::a.flac", "bad.tar: not a readable, uncompressed tar"),
        ("x.ark::9999999", "none at '9999999'"),
        ("x.ark::0", "neither a WAV nor a FLAC begins there"),
        ("x.ark::2", "the audio says"),
        ("folder.tar::a.flac", "folder.tar is no file"),
    ],
)
def test_what_cannot_be_read_is_a_mistake_that_names_it(name: str, said: str, tmp_path: Path):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for member in ("a.flac", "twice.flac", "twice.flac"):
            info = tarfile.TarInfo(member)
            info.size = len(CLIPS[1])
            tar.addfile(info, io.BytesIO(CLIPS[1]))
        link = tarfile.TarInfo("link.flac")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    (tmp_path / "x.tar.gz").write_bytes(b"\x1f\x8b")
    rows = [None if i == 3 else b"" if i == 4 else data for i, data in enumerate(CLIPS)]
    write_parquet(tmp_path / "x.parquet", audio_rows(rows, {}))
    write_parquet(tmp_path / "text.parquet", pa.table({"text": ["a"]}))
    for kind in ("parquet", "arrow", "tar"):
        (tmp_path / f"bad.{kind}").write_bytes(b"nothing of the kind" * 100)
    (tmp_path / "x.ark").write_bytes(b"a RIFF" + struct.pack("<I", 1 << 20) + b"WAVE")
    (tmp_path / "folder.tar").mkdir()
    with pytest.raises(ValueError) as e:
        read_audio(tmp_path / name)
    assert said in str(e.value) and "\n" not in str(e.value) and name.partition("::")[0] in str(e.value)


def test_of_a_tar_that_is_cut_off_the_whole_members_are_read_and_the_others_refused(tmp_path: Path):
    path = write_tar(tmp_path / "x.tar", {f"{i}.flac": data for i, data in enumerate(CLIPS)})
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(CLIPS[6]) + 100])
    np.testing.assert_array_equal(read_audio(f"{path}::5.flac"), samples(CLIPS[5]))
    with pytest.raises(ValueError, match=r"6\.flac: no such member \(.*cut off within 6\.flac"):
        read_audio(f"{path}::6.flac")
    damaged = bytearray(whole)
    damaged[whole.index(b"6.flac")] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"7\.flac: no such member \(.*damaged at byte"):
        read_audio(f"{path}::7.flac")


def test_rows_in_order_read_each_group_once_and_hold_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write_parquet(tmp_path / "x.parquet", audio_rows(CLIPS, {"text": ["a"] * 10}))
    table, read = audio_table(path), []
    real = type(table)._read
    monkeypatch.setattr(type(table), "_read", lambda self, group, names: read.append(group) or real(self, group, names))
    before = pa.total_allocated_bytes()
    for i in range(10):
        audio_seconds(Path(f"{path}::{i}"))
        read_audio(f"{path}::{i}")
        assert pa.total_allocated_bytes() - before < 2 * sum(map(len, CLIPS)) / 2
    assert read == [0, 1, 2]
    read.clear()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: read_audio(f"{path}::{i}"), range(10)))
    assert sorted(read) == [0, 1] or sorted(set(read)) == [0, 1, 2]


def test_the_order_of_reading_goes_through_tables_row_by_row():
    names = [
        "b.wav",
        "y.parquet::9",
        "x.tar::q",
        "y.parquet::2",
        "z.arrow::audio/1",
        "a.wav",
        "z.arrow::audio/0",
        "x.tar::a",
    ]
    order = [names[i] for i in in_reading_order(names)]
    assert order == [
        "b.wav",
        "y.parquet::2",
        "y.parquet::9",
        "x.tar::q",
        "z.arrow::audio/0",
        "z.arrow::audio/1",
        "a.wav",
        "x.tar::a",
    ]
