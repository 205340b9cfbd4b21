"""Readers: parts are disjoint, text never reaches the unlabelled part, unreadable audio is set aside."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr_kd.cli import main
from asr_kd.corpora.audio import read_audio
from asr_kd.corpora.librilight import cut, read_librilight
from asr_kd.corpora.librispeech import read_librispeech
from asr_kd.corpora.manifest import read_manifest


def tone(path: Path, seconds: float = 0.2, rate: int = 16000, **kwargs) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = 0.3 * np.sin(2 * np.pi * 300 * np.arange(round(seconds * rate)) / rate)
    soundfile.write(path, wave, rate, **kwargs)
    return path


def an4_root(root: Path, speakers=("fa", "fb", "fc", "ma", "mb", "mc", "md"), suffix=".wav") -> Path:
    """AN4's layout with two utterances a speaker."""
    for part, names in {"train": speakers, "test": ("fz", "mz")}.items():
        folder = "an4_clstk" if part == "train" else "an4test_clstk"
        ids = [f"{folder}/{name}/an{i}-{name}-b" for name in names for i in range(2)]
        (root / "etc").mkdir(parents=True, exist_ok=True)
        (root / "etc" / f"an4_{part}.fileids").write_text("\n".join(ids) + "\n")
        lines = [f"<s> YES {i % 2} </s> ({name.split('/')[-1]})" for i, name in enumerate(ids)]
        (root / "etc" / f"an4_{part}.transcription").write_text("\n".join(lines) + "\n")
        for name in ids:
            tone(root / "wav" / (name + suffix))
    (root / "etc" / "an4.dic").write_text("YES   Y EH S\nYES(2)   Y AE S\n")
    return root


def prepared(out: Path) -> dict[str, list]:
    return {path.stem: list(read_manifest(path)) for path in out.glob("*.jsonl") if path.stem != "rejected"}


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_an4_parts_are_disjoint_by_speaker_and_the_unlabelled_part_has_no_text(tmp_path, suffix):
    root = an4_root(tmp_path / "an4", suffix=suffix)
    (tmp_path / "list.txt").write_text("fa dev\nfb\nma dev\nmb\n")
    out = tmp_path / "out"
    assert main(["prepare", "an4", str(root), "--out", str(out), "--labelled", str(tmp_path / "list.txt")]) == 0
    parts = prepared(out)
    speakers = {name: {u.speaker for u in us} for name, us in parts.items()}
    assert speakers == {
        "labelled": {"fb", "mb"},
        "dev": {"fa", "ma"},
        "unlabelled": {"fc", "mc", "md"},
        "unlabelled_references": {"fc", "mc", "md"},
        "test": {"fz", "mz"},
    }
    assert all(u.text is None for u in parts["unlabelled"])
    assert [(u.id, u.duration) for u in parts["unlabelled_references"]] == [
        (u.id, u.duration) for u in parts["unlabelled"]
    ]
    assert {u.text for u in parts["unlabelled_references"]} == {"YES 0", "YES 1"}
    assert (out / "lexicon.txt").read_text() == "YES Y AE S\nYES Y EH S\n"


def test_labelled_all_keeps_the_dev_speakers_out_and_removes_stale_manifests(tmp_path):
    root, out = an4_root(tmp_path / "an4"), tmp_path / "out"
    main(["prepare", "an4", str(root), "--out", str(out)])
    held_out = {u.speaker for u in read_manifest(out / "dev.jsonl")}
    assert main(["prepare", "an4", str(root), "--out", str(out), "--labelled", "all"]) == 0
    parts = prepared(out)
    assert set(parts) == {"labelled", "dev", "test"}
    assert {u.speaker for u in parts["dev"]} == held_out
    assert held_out.isdisjoint({u.speaker for u in parts["labelled"]})
    assert len(parts["labelled"]) + len(parts["dev"]) == 14


def test_unreadable_audio_is_set_aside_and_listed(tmp_path, capsys):
    root, out = an4_root(tmp_path / "an4"), tmp_path / "out"
    (root / "wav/an4_clstk/ma/an0-ma-b.wav").write_bytes(b"not audio")
    (root / "wav/an4_clstk/mb/an1-mb-b.wav").unlink()
    tone(root / "wav/an4_clstk/mc/an0-mc-b.wav", seconds=0)
    assert main(["prepare", "an4", str(root), "--out", str(out)]) == 0
    listed = [json.loads(line) for line in (out / "rejected.jsonl").read_text().splitlines()]
    assert [item["id"] for item in listed] == ["an0-ma-b", "an1-mb-b", "an0-mc-b"]
    assert f"3 of 18 recordings of {root} skipped (1 x " in capsys.readouterr().err
    assert main(["prepare", "an4", str(root), "--out", str(out), "--max-skipped", "0.1"]) == 2
    assert "accept it with --max-skipped 0.17" in capsys.readouterr().err
    assert sum(len(us) for name, us in prepared(out).items() if name != "unlabelled_references") == 18 - 3


def test_a_dry_run_writes_nothing(tmp_path, capsys):
    root = an4_root(tmp_path / "an4")
    assert main(["prepare", "an4", str(root), "--out", str(tmp_path / "out"), "--dry-run"]) == 0
    assert not (tmp_path / "out").exists()
    assert "labelled" in capsys.readouterr().out


def test_a_wrong_root_is_one_line(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for corpus in ("an4", "speechocean762", "librispeech", "folder"):
        for root in (tmp_path / "empty", tmp_path / "missing"):
            assert main(["prepare", corpus, str(root), "--out", str(tmp_path / "out")]) == 2
            *_, line = capsys.readouterr().err.strip().splitlines()
            assert line.startswith(f"asr-kd prepare: {root}")


@pytest.mark.skipif(not hasattr(tarfile, "data_filter"), reason="archives are unpacked from Python 3.11.4 on")
def test_download_fetches_the_archive_to_root(tmp_path):
    root = an4_root(tmp_path / "made" / "an4-master")
    with tarfile.open(tmp_path / "an4.tar.gz", "w:gz") as tar:
        tar.add(root, arcname="an4-master")
    command = ["prepare", "an4", str(tmp_path / "got"), "--download", "--url", (tmp_path / "an4.tar.gz").as_uri()]
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "got" / "etc" / "an4.dic").is_file()
    assert len(prepared(tmp_path / "out")["test"]) == 4


def test_an_archive_that_leads_out_of_its_folder_is_refused(tmp_path, capsys):
    (tmp_path / "evil").write_text("x")
    with tarfile.open(tmp_path / "evil.tar", "w") as tar:
        tar.add(tmp_path / "evil", arcname="../../outside")
    for url in ((tmp_path / "evil.tar").as_uri(), (tmp_path / "nothing.tar").as_uri(), (tmp_path / "evil").as_uri()):
        command = ["prepare", "an4", str(tmp_path / "root" / "an4"), "--download", "--url", url, "--out", str(tmp_path)]
        assert main(command) == 2
        assert url in capsys.readouterr().err
        assert list((tmp_path / "root").iterdir()) == []
    assert not (tmp_path / "outside").exists()


def test_speechocean762_holds_out_test_speakers_only_where_the_official_half_is_missing(tmp_path):
    root = tmp_path / "so"
    ages = {"0001": 8, "0002": 9, "0003": 30, "0004": 31, "0005": 10}
    for half in ("train", "test"):
        (root / half).mkdir(parents=True)
        people = ages if half == "train" else {"0100": 12, "0101": 40}
        (root / half / "spk2age").write_text("".join(f"{n}\t{age}\n" for n, age in people.items()))
        (root / half / "spk2gender").write_text("".join(f"{n}\tf\n" for n in people))
        (root / half / "utt2spk").write_text("".join(f"{n}1 {n}\n" for n in people))
        (root / half / "text").write_text("".join(f"{n}1\tHE IS\n" for n in people))
        (root / half / "wav.scp").write_text("".join(f"{n}1\tWAVE/SPEAKER{n}/{n}1.WAV\n" for n in people))
        for name in people:
            tone(root / f"WAVE/SPEAKER{name}/{name}1.flac")
    (tmp_path / "list").write_text("0001 dev\n0002\n0003 test\n")
    command = ["prepare", "speechocean762", str(root), "--labelled", str(tmp_path / "list"), "--out"]
    assert main([*command, str(tmp_path / "whole")]) == 0
    whole = prepared(tmp_path / "whole")
    assert {u.speaker for u in whole["test"]} == {"0100", "0101"}
    assert {u.speaker for u in whole["unlabelled"]} == {"0003", "0004", "0005"}
    assert {u.meta["group"] for u in whole["test"]} == {"child", "adult"}
    (root / "test").rename(tmp_path / "gone")
    assert main([*command, str(tmp_path / "half")]) == 0
    assert {u.speaker for u in prepared(tmp_path / "half")["test"]} == {"0003"}


def librispeech_chapter(folder: Path, speaker: str, count: int = 2) -> None:
    names = [f"{speaker}-77-{i:04d}" for i in range(count)]
    chapter = folder / speaker / "77"
    for name in names:
        tone(chapter / f"{name}.flac")
    (chapter / f"{speaker}-77.trans.txt").write_text("".join(f"{name} MISTER QUILTER {name[-1]}\n" for name in names))


def test_librispeech_parts_are_subsets(tmp_path, capsys):
    for subset, speaker in {
        "train-clean-100": "19",
        "train-clean-360": "20",
        "dev-clean": "21",
        "test-clean": "22",
    }.items():
        librispeech_chapter(tmp_path / "LibriSpeech" / subset, speaker)
    (tmp_path / "LibriSpeech" / "SPEAKERS.TXT").write_text("; ID | SEX\n19 | F | train-clean-100 | 25.19 | Kara\n")
    corpus = read_librispeech(tmp_path)
    assert [u.id for u in corpus.labelled] == ["19-77-0000", "19-77-0001"]
    assert corpus.labelled[0].text == "MISTER QUILTER 0"
    assert corpus.labelled[0].meta == {"subset": "train-clean-100", "gender": "f"}
    assert {u.speaker for u in corpus.unlabelled} == {"20"}
    assert "train-other-500: not there" in capsys.readouterr().err


def test_librilight_chapters_are_cut_at_pauses_and_the_limited_set_is_labelled(tmp_path):
    audio = tone(tmp_path / "small/100/book/chapter_1.flac", seconds=6)
    audio.with_suffix(".json").write_text(json.dumps({"voice_activity": [[0.5, 1.5], [2.0, 3.0], [4.0, 5.5]]}))
    librispeech_chapter(tmp_path / "librispeech_finetuning/1h/0/clean", "31")
    librispeech_chapter(tmp_path / "librispeech_finetuning/9h/other", "32")
    corpus = read_librilight(tmp_path, max_seconds=3)
    assert [(u.offset, u.duration) for u in corpus.unlabelled] == [(0.5, 2.5), (4.0, 1.5)]
    assert len({u.id for u in corpus.unlabelled}) == 2
    assert {u.speaker for u in corpus.labelled} == {"31", "32"}
    assert {u.speaker for u in read_librilight(tmp_path, limited="10min").labelled} == {"31"}


def test_no_piece_of_a_chapter_is_longer_than_asked():
    pieces = list(cut([(0.0, 1.0), (1.5, 2.0), (3.0, 14.0), (14.5, 15.0)], 4.0))
    assert all(end - start <= 4.0 for start, end in pieces)
    assert pieces[0] == (0.0, 2.0)
    assert pieces[-1][1] == 15.0


def test_a_folder_is_split_by_speaker_and_files_without_text_are_unlabelled(tmp_path):
    for speaker in "abcde":
        for i in range(2):
            tone(tmp_path / "root" / speaker / f"{i}.wav").with_suffix(".txt").write_text("Hello there.\n")
    tone(tmp_path / "root" / "f" / "0.flac")
    command = ["prepare", "folder", str(tmp_path / "root"), "--out", str(tmp_path / "out"), "--dev-fraction", "0.2"]
    assert main(command) == 0
    parts = prepared(tmp_path / "out")
    assert {name: len(us) for name, us in parts.items()} == {"labelled": 8, "dev": 2, "unlabelled": 1}
    assert len({u.speaker for u in parts["dev"]}) == 1
    assert parts["dev"][0].text == "HELLO THERE"
    assert parts["unlabelled"][0].id == "f-0"


def test_a_manifest_is_checked_against_its_audio(tmp_path):
    tone(tmp_path / "a.wav", seconds=2)
    base = {"audio_filepath": "a.wav", "duration": 1.0}
    lines = [{**base, "text": "one"}, {**base, "offset": 1.0, "text": "-"}, {**base, "offset": 1.5}]
    lines.append({"audio_filepath": "missing.wav", "duration": 1.0})
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    command = ["prepare", "manifest", str(tmp_path / "in.jsonl"), "--out", str(tmp_path / "out")]
    assert main([*command, "--max-skipped", "0.5"]) == 0
    parts = prepared(tmp_path / "out")
    assert [u.text for u in parts["labelled"]] == ["ONE"]
    assert [u.offset for u in parts["unlabelled"]] == [1.0]
    assert len((tmp_path / "out" / "rejected.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize("order", ["<i2", ">i2"])
def test_headerless_audio_is_read_in_either_byte_order(tmp_path, order):
    wave = read_audio(tone(tmp_path / "a.wav", subtype="PCM_16"))
    (tmp_path / "a.raw").write_bytes((wave * 32768).astype(order).tobytes())
    np.testing.assert_array_equal(read_audio(tmp_path / "a.raw"), wave)
    np.testing.assert_array_equal(read_audio(tmp_path / "a.raw", 0.05, 0.1), wave[800:2400])


def test_any_rate_and_channels_become_16_khz_mono(tmp_path):
    stereo = np.stack([np.full(8000, 0.5), np.full(8000, 0.25)], axis=1)
    soundfile.write(tmp_path / "s.wav", stereo, 8000)
    wave = read_audio(tmp_path / "s.wav")
    assert wave.shape == (16000,)
    assert wave.dtype == np.float32
    assert np.abs(wave[1000:-1000] - 0.375).max() < 1e-3


def test_a_list_of_an4_speakers_cannot_make_a_test_speaker_of_one(tmp_path, capsys):
    root = an4_root(tmp_path / "an4")
    (tmp_path / "list.txt").write_text("fa dev\nfb\nma test\n")
    options = ["--out", str(tmp_path / "out"), "--labelled", str(tmp_path / "list.txt")]
    assert main(["prepare", "an4", str(root), *options]) == 2
    assert "list.txt: line 3: 'ma test'; write SPEAKER or SPEAKER dev" in capsys.readouterr().err


def test_a_librilight_chapter_without_speech_is_listed(tmp_path):
    for number, stretches in enumerate(([], [[9.0, 10.0]], [[0.0, 1.0]])):
        audio = tone(tmp_path / f"small/100/book/chapter_{number}.flac", seconds=2)
        audio.with_suffix(".json").write_text(json.dumps({"voice_activity": stretches}))
    corpus = read_librilight(tmp_path)
    assert [u.id for u in corpus.unlabelled] == ["100-book-chapter_2-00000000"]
    assert [r.id for r in corpus.rejected] == ["100-book-chapter_0", "100-book-chapter_1"]
    assert "chapter_0.json: voice_activity lists no speech" in corpus.rejected[0].error
