"""Shards: same input, same bytes; anyone's webdataset reads them; an interrupted run goes on; damage is told."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import webdataset
from hypothesis import given
from hypothesis import strategies as st

from asr_kd.cli import main
from asr_kd.core.files import sha256_file
from asr_kd.corpora.manifest import Utterance, read_manifest, write_manifest
from asr_kd.shards.index import build_index, index_path, read_index
from asr_kd.shards.reader import find_shards, open_shard
from asr_kd.shards.writer import check_written, plan_shards, tar_key, write_shards


def pcm(seed: int, samples: int = 3200) -> np.ndarray:
    return np.random.default_rng(seed).integers(-32768, 32768, samples).astype(np.int16)


@pytest.fixture
def manifest(tmp_path) -> Path:
    """Seven utterances of 0.2 s, one with an id that no tar member could have."""
    utterances = []
    for i in range(7):
        soundfile.write(tmp_path / f"{i}.wav", pcm(i), 16000, subtype="PCM_16")
        name = "a/b.c é" if i == 3 else f"utt-{i}"
        text = None if i == 5 else f"WORD {i}"
        utterances.append(Utterance(name, str(tmp_path / f"{i}.wav"), 0.2, 0.0, text, f"spk{i % 2}", {"snr": i}))
    write_manifest(tmp_path / "labelled.jsonl", utterances)
    return tmp_path / "labelled.jsonl"


def shard(manifest: Path, out: Path, *options: str) -> list[Path]:
    command = ["shard", str(manifest), "--out", str(out), "--minutes", str(0.5 / 60), *options]
    assert main(command) == 0
    return find_shards(out / manifest.stem)


def test_shards_give_back_audio_bit_for_bit_and_every_field(manifest, tmp_path):
    tars = shard(manifest, tmp_path / "out")
    assert [tar.name for tar in tars] == [f"shard-{i:06d}.tar" for i in range(4)]
    shards = [open_shard(tar) for tar in tars]
    entries = [entry for s in shards for entry in s.entries]
    waves = [s.audio(row) for s in shards for row in range(len(s.entries))]
    for i, (u, entry, wave) in enumerate(zip(read_manifest(manifest), entries, waves, strict=True)):
        assert (entry.id, entry.text, entry.speaker, entry.meta) == (u.id, u.text, u.speaker, u.meta)
        assert entry.seconds == 0.2
        assert wave.dtype == np.float32
        np.testing.assert_array_equal(wave * 32768, pcm(i))


def test_rows_are_read_in_any_order(manifest, tmp_path):
    (tar,) = write_shards(read_manifest(manifest), tmp_path / "one", 600)
    whole = open_shard(tar)
    for row in (6, 0, 3):
        np.testing.assert_array_equal(whole.audio(row) * 32768, pcm(row))


def test_the_same_input_gives_the_same_bytes_with_any_number_of_jobs(manifest, tmp_path):
    one, four = shard(manifest, tmp_path / "one"), shard(manifest, tmp_path / "four", "--jobs", "4")
    assert [sha256_file(t) for t in one] == [sha256_file(t) for t in four]
    assert [open_shard(t).digest for t in one] == [sha256_file(t) for t in one]
    assert index_path(one[0]).read_bytes() == index_path(four[0]).read_bytes()


def test_webdataset_reads_the_tars(manifest, tmp_path):
    (tar,) = write_shards(read_manifest(manifest), tmp_path / "one", 600)
    samples = list(webdataset.WebDataset(str(tar), shardshuffle=False))
    assert [json.loads(sample["json"])["id"] for sample in samples] == [u.id for u in read_manifest(manifest)]
    info = soundfile.info(io.BytesIO(samples[0]["flac"]))
    assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")


def test_the_tars_are_what_webdataset_writes_of_the_same_members(manifest, tmp_path):
    (tar,) = write_shards(read_manifest(manifest), tmp_path / "one", 600)
    theirs = io.BytesIO()
    with webdataset.TarWriter(theirs, encoder=False, mtime=0.0, user="asr_kd", group="asr_kd", mode=0o644) as writer:
        for sample in webdataset.WebDataset(str(tar), shardshuffle=False):
            writer.write({name: sample[name] for name in ("__key__", "flac", "json")})
    assert tar.read_bytes() == theirs.getvalue()
    counted = [entry.seconds for entry in build_index(tar).entries]
    assert [entry.seconds for entry in read_index(tar).entries] == counted


def test_strip_text_leaves_no_transcript_behind(manifest, tmp_path):
    for tar in shard(manifest, tmp_path / "out", "--strip-text"):
        assert b"WORD" not in tar.read_bytes()
        assert all(entry.text is None for entry in open_shard(tar).entries)
        assert "WORD" not in index_path(tar).read_text()


def test_an_interrupted_run_goes_on_and_leaves_finished_shards_alone(manifest, tmp_path):
    tars = shard(manifest, tmp_path / "out")
    before = [sha256_file(tar) for tar in tars]
    tars[1].unlink()  # not begun
    index_path(tars[2]).unlink()  # killed between tar and index
    tars[3].write_bytes(tars[3].read_bytes()[:1000])  # cut off by something else
    kept = tars[0].stat().st_mtime_ns
    assert [sha256_file(tar) for tar in shard(manifest, tmp_path / "out")] == before
    assert tars[0].stat().st_mtime_ns == kept


def test_a_shard_of_changed_utterances_is_written_anew(manifest, tmp_path):
    (tar,) = write_shards(read_manifest(manifest), tmp_path / "out", 600)
    before = open_shard(tar)
    write_shards(read_manifest(manifest), tmp_path / "out", 600, strip_text=True)
    assert before.entries[0].text == "WORD 0"
    assert open_shard(tar).entries[0].text is None


def test_shards_of_an_older_longer_run_are_never_mixed_in(manifest, tmp_path, capsys):
    shard(manifest, tmp_path / "out")
    assert main(["shard", str(manifest), "--out", str(tmp_path / "out"), "--minutes", "5"]) == 2
    assert "shard-000001.tar, which this run would not write" in capsys.readouterr().err


def test_audio_that_fails_is_set_aside_and_listed_also_on_resume(manifest, tmp_path, capsys):
    (tmp_path / "2.wav").write_bytes(b"broken")
    soundfile.write(tmp_path / "4.wav", pcm(4, 800), 16000)
    for _ in range(2):
        assert main(["shard", str(manifest), "--out", str(tmp_path / "out"), "--minutes", str(0.5 / 60)]) == 2
        assert "accept it with --max-skipped 0.29" in capsys.readouterr().err
        tars = shard(manifest, tmp_path / "out", "--max-skipped", "0.29")
        assert sum(len(open_shard(tar).entries) for tar in tars) == 5
        listed = (tmp_path / "out" / "labelled" / "rejected.jsonl").read_text().splitlines()
        assert [json.loads(line)["id"] for line in listed] == ["utt-2", "utt-4"]
        told = capsys.readouterr().err
        assert f"2 of 7 utterances of {manifest} skipped (1 x " in told and f"first {tmp_path / '2.wav'};" in told


def test_a_manifest_without_readable_audio_is_an_error(tmp_path, capsys):
    write_manifest(tmp_path / "m.jsonl", [Utterance("a", "missing.wav", 1.0)])
    assert main(["shard", str(tmp_path / "m.jsonl"), "--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert "1 of 1 utterances" in told and "missing.wav" in told and "None is left" in told


def test_offsets_cut_the_utterance_out_of_a_long_recording(tmp_path):
    soundfile.write(tmp_path / "long.wav", pcm(0, 16000), 16000, subtype="PCM_16")
    (tar,) = write_shards([Utterance("a", str(tmp_path / "long.wav"), 0.25, 0.5)], tmp_path / "out")
    np.testing.assert_array_equal(open_shard(tar).audio(0) * 32768, pcm(0, 16000)[8000:12000])


@given(st.lists(st.text(min_size=1, max_size=100), min_size=1, max_size=20, unique=True))
def test_member_names_are_safe_and_told_apart(ids):
    keys = [tar_key(name) for name in ids]
    assert len(set(keys)) == len(ids)
    assert all(len(key) <= 90 and "." not in key and "/" not in key and key.isascii() for key in keys)


def foreign(path: Path, members: list[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def wav(seed: int, rate: int = 16000) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, pcm(seed), rate, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def test_a_foreign_tar_is_given_an_index_and_read(tmp_path, capsys):
    members = [
        ("d/one.wav", wav(1)),
        ("d/one.txt", b"hello\n"),
        ("d/two.wav", wav(2, 8000)),
        ("d/two.json", json.dumps({"text": "two", "speaker": 7, "lang": "en"}).encode()),
        ("d/three.txt", b"no audio"),
        ("d/four.wav", b"RIFF nonsense"),
    ]
    tar = foreign(tmp_path / "their.tar", members)
    for _ in range(2):  # the second time from the index
        shard = open_shard(tar)
        assert [(e.id, e.text, e.speaker, e.meta) for e in shard.entries] == [
            ("d/one", "hello", None, {}),
            ("d/two", "two", "7", {"lang": "en"}),
        ]
        assert [e.seconds for e in shard.entries] == [0.2, 0.4]
        assert shard.digest == sha256_file(tar)
        np.testing.assert_array_equal(shard.audio(0) * 32768, pcm(1))
        assert shard.audio(1).shape == (6400,)
    assert index_path(tar).is_file()
    assert [item["id"] for item in read_index(tar).set_aside] == ["d/three", "d/four"]
    assert "2 samples set aside" in capsys.readouterr().err


def one_line(error) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_tar_cut_off_anywhere_is_refused(tmp_path):
    data = foreign(tmp_path / "whole.tar", [("a.wav", wav(1)), ("b.wav", wav(2))]).read_bytes()
    for size in (0, 100, 600, 3000, 7168, 7500, 9000, 13000):
        path = tmp_path / "cut.tar"
        path.write_bytes(data[:size])
        with pytest.raises(ValueError, match=r"cut\.tar: ") as error:
            open_shard(path)
        one_line(error)


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda index: index[:-40], "not valid JSON"),
        (lambda index: index.replace(b'"version": 3', b'"version": 99'), "version 99"),
        (lambda index: index.replace(b'"count": 7', b'"count": 6'), "damaged index"),
        (lambda index: index.replace(b'"audio_size": ', b'"audio_size": 99999'), "damaged index"),
        (lambda index: index.replace(b'"seconds"', b'"second"', 1), "damaged index"),
        (lambda index: index.replace(b'"bytes": ', b'"bytes": 9'), "damaged index"),
        (lambda index: b"[]", "index version None"),
    ],
)
def test_a_damaged_index_is_one_clear_line(manifest, tmp_path, damage, complaint):
    (tar,) = write_shards(read_manifest(manifest), tmp_path / "out", 600)
    path = index_path(tar)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=complaint) as error:
        open_shard(tar)
    assert one_line(error).startswith(str(tar.parent))


def test_damaged_audio_in_a_tar_is_named_and_found_by_verify(manifest, tmp_path, capsys):
    (tar,) = write_shards(read_manifest(manifest), tmp_path / "out", 600)
    data = bytearray(tar.read_bytes())
    start = open_shard(tar).entries[2].audio_offset
    data[start : start + 8] = b"\0" * 8
    tar.write_bytes(data)
    with pytest.raises(ValueError, match=r"shard-000000\.tar: utt-2: damaged audio") as error:
        open_shard(tar).audio(2)
    one_line(error)
    assert main(["inspect", str(tar)]) == 0
    assert main(["inspect", str(tar), "--verify"]) == 2
    assert "its bytes are not those" in capsys.readouterr().err


def test_ids_are_unique_in_a_shard(tmp_path):
    tar = foreign(tmp_path / "t.tar", [("a.wav", wav(1)), ("b.wav", wav(2)), ("b.json", b'{"id": "a"}')])
    with pytest.raises(ValueError, match="id a occurs twice"):
        open_shard(tar)


def test_finding_shards_is_sorted_and_never_mixes_parts(manifest, tmp_path):
    tars = shard(manifest, tmp_path / "out")
    assert find_shards(tars[2], tmp_path / "out" / "labelled") == tars
    with pytest.raises(ValueError, match="Give one of its folders: labelled"):
        find_shards(tmp_path / "out")
    with pytest.raises(ValueError, match="no such shard"):
        find_shards(tmp_path / "nothing")
    with pytest.raises(ValueError, match="not a shard"):
        find_shards(manifest)


def test_shards_that_something_else_changed_are_not_reported_as_written(manifest, tmp_path):
    wanted = list(read_manifest(manifest))
    planned = list(plan_shards(wanted, tmp_path / "out", shard_seconds=0.3))
    assert len(write_shards(wanted, tmp_path / "out", shard_seconds=0.3)) > 1
    check_written(planned)
    tar, index = planned[1].path, index_path(planned[1].path)
    for spoil in (
        lambda: tar.write_bytes(tar.read_bytes()[:-512]),
        tar.unlink,
        index.unlink,
        lambda: index.write_text("{"),
        lambda: index.write_bytes(index_path(planned[0].path).read_bytes()),
    ):
        spoil()
        with pytest.raises(ValueError, match=r"shard-000001.tar: is not what this run wrote"):
            check_written(planned)
        write_shards(wanted, tmp_path / "out", shard_seconds=0.3)
        check_written(planned)
