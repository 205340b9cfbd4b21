"""The way back: what Kaldi's, lhotse's, NeMo's and Hugging Face's readers find is what the manifests hold."""

import csv
import json
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr_kd.cli import main
from asr_kd.convert import huggingface
from asr_kd.convert.kaldi_ids import plain_ids
from asr_kd.corpora.audio import read_audio
from asr_kd.corpora.manifest import Utterance, read_manifest, write_manifest

RATE = 16000


def convert(*words: str | Path, code: int = 0) -> None:
    assert main(["convert", *map(str, words)]) == code


def prepare(*words: str | Path) -> None:
    assert main(["prepare", *map(str, words), "--dev-fraction", "0"]) == 0


def heard(u: Utterance) -> np.ndarray:
    return read_audio(u.audio_filepath, u.offset, u.duration)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Utterances of two whole files and of one long one; of three speakers, one without; one without text."""
    folder = tmp_path_factory.mktemp("manifest")
    for name, seconds in (("a", 1.0), ("b c", 1.5), ("long", 6.0)):
        noise = np.random.default_rng(len(name)).uniform(-0.4, 0.4, round(seconds * RATE))
        soundfile.write(folder / f"{name}.flac", noise, RATE)
    files = {name: str(folder / f"{name}.flac") for name in ("a", "b c", "long")}
    utterances = [
        Utterance("z1", files["a"], 1.0, 0.0, "ONE", "ann", {"gender": "f", "snr": 7}),
        Utterance("b c", files["b c"], 1.5, 0.0, "TWO THREE", "bob b", {"gender": "m", "snr": 3.5, "note": "x, y"}),
        Utterance("long-2", files["long"], 1.25, 2.0, "", "ann", {"gender": "f", "recording": "long"}),
        Utterance("long-1", files["long"], 1.0, 0.5, None, None, {"lang": "de"}),
    ]
    write_manifest(folder / "labelled.jsonl", utterances)
    return folder / "labelled.jsonl"


@pytest.fixture
def utterances(manifest: Path) -> dict[str, Utterance]:
    return {u.id: u for u in read_manifest(manifest)}


def test_a_kaldi_directory_sorts_as_kaldi_wants_and_comes_back(manifest, utterances, tmp_path, capsys):
    convert(manifest, "--to", "kaldi", "--out", tmp_path / "k")
    folder = tmp_path / "k" / "labelled"
    tables = {p.name: [line.split(maxsplit=1) for line in p.read_text().splitlines()] for p in folder.iterdir()}
    for table in tables.values():
        keys = [row[0].encode() for row in table]
        assert keys == sorted(set(keys))
    speakers = [row[1].encode() for row in tables["utt2spk"]]
    assert speakers == sorted(speakers)
    renamed = dict(tables["renamed_ids"])
    assert renamed["bob_b-b_c"] == "b c" and renamed["ann-z1"] == "z1"
    assert dict(tables["spk2utt"])["ann"] == "ann-long-2 ann-z1"
    assert (tmp_path / "k" / "labelled_unlabelled" / "wav.scp").is_file()
    prepare("kaldi", tmp_path / "k", "--out", tmp_path / "back")
    names = ("labelled", "unlabelled")
    back = {u.id: u for name in names for u in read_manifest(tmp_path / "back" / f"{name}.jsonl")}
    assert {renamed.get(name, name) for name in back} == set(utterances)
    for name, u in back.items():
        given = utterances[renamed.get(name, name)]
        assert u.text == given.text and u.meta.get("lang") == given.meta.get("lang")
        assert np.array_equal(heard(u), heard(given)), name
    assert "not WAV" in capsys.readouterr().out


def test_a_kaldi_directory_is_read_by_lhotse_and_kaldiio(manifest, utterances, tmp_path):
    import kaldiio
    from lhotse import CutSet
    from lhotse.kaldi import load_kaldi_data_dir

    convert(manifest, "--to", "kaldi", "--out", tmp_path, "--audio", "wav")
    folder = tmp_path / "labelled"
    renamed = dict(line.split(maxsplit=1) for line in (folder / "renamed_ids").read_text().splitlines())
    with kaldiio.ReadHelper(f"scp:{folder}/wav.scp") as reader:
        theirs = {renamed.get(name, name): wave for name, (rate, wave) in reader if rate == RATE}
    wanted = {n: round(u.duration * RATE) for n, u in utterances.items() if u.text is not None}
    assert {n: len(w) for n, w in theirs.items()} == wanted
    for name, wave in theirs.items():
        assert np.array_equal(wave / np.float32(32768), heard(utterances[name]))
    convert(manifest, "--to", "kaldi", "--out", tmp_path / "named")
    recordings, supervisions, _ = load_kaldi_data_dir(tmp_path / "named" / "labelled", RATE)
    cuts = CutSet.from_manifests(recordings=recordings, supervisions=supervisions).trim_to_supervisions().to_eager()
    assert len(cuts) == 3
    for cut in cuts:
        s = cut.supervisions[0]
        given = utterances[renamed.get(s.id, s.id)]
        assert s.text == given.text and np.array_equal(cut.load_audio()[0], heard(given))


def test_lhotse_reads_the_cuts_and_they_come_back(manifest, utterances, tmp_path):
    from lhotse import CutSet

    convert(manifest, "--to", "lhotse", "--out", tmp_path)
    cuts = CutSet.from_file(tmp_path / "cuts_labelled.jsonl.gz")
    assert [cut.id for cut in cuts] == list(utterances)
    for cut in cuts:
        given, s = utterances[cut.id], cut.supervisions[0]
        assert (s.text, s.speaker, s.gender) == (given.text, given.speaker, given.meta.get("gender"))
        assert np.array_equal(cut.load_audio()[0], heard(given))
    assert next(iter(cuts)).supervisions[0].custom == {"snr": 7}
    prepare("lhotse", tmp_path, "--out", tmp_path / "back")
    back = {u.id: u for n in ("labelled", "unlabelled") for u in read_manifest(tmp_path / "back" / f"{n}.jsonl")}
    assert {n: (u.text, u.speaker, u.offset, u.duration) for n, u in back.items()} == {
        n: (u.text, u.speaker, u.offset, u.duration) for n, u in utterances.items()
    }


def test_datasets_loads_the_parquet_and_it_comes_back(manifest, utterances, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    convert(manifest, "--to", "huggingface", "--out", tmp_path / "hf")
    loaded = datasets.load_dataset(str(tmp_path / "hf"), split="train", cache_dir=str(tmp_path / "cache"))
    assert isinstance(loaded.features["audio"], datasets.Audio) and loaded.features["snr"].dtype == "float64"
    rows = {row["id"]: row for row in loaded.cast_column("audio", datasets.Audio(decode=False))}
    assert set(rows) == set(utterances)
    for name, row in rows.items():
        given = utterances[name]
        assert (row["text"], row["speaker"], row["snr"]) == (given.text, given.speaker, given.meta.get("snr"))
        (tmp_path / "x.flac").write_bytes(row["audio"]["bytes"])
        assert np.array_equal(soundfile.read(tmp_path / "x.flac", dtype="float32")[0], heard(given))
    assert rows["z1"]["audio"]["bytes"] == Path(utterances["z1"].audio_filepath).read_bytes()
    prepare("huggingface", tmp_path / "hf", "--out", tmp_path / "back")
    back = {u.id: u for n in ("labelled", "unlabelled") for u in read_manifest(tmp_path / "back" / f"{n}.jsonl")}
    assert {n: u.text for n, u in back.items()} == {n: u.text for n, u in utterances.items()}
    assert all(np.array_equal(heard(u), heard(utterances[n])) for n, u in back.items())


@pytest.mark.parametrize("form", ["nemo", "table"])
def test_plain_tables_come_back(form, manifest, utterances, tmp_path):
    convert(manifest, "--to", form, "--out", tmp_path)
    if form == "nemo":
        lines = [json.loads(line) for line in (tmp_path / "labelled.jsonl").read_text().splitlines()]
        assert lines[1]["note"] == "x, y" and {"audio_filepath", "duration", "offset"} <= lines[0].keys()
        prepare("manifest", tmp_path / "labelled.jsonl", "--out", tmp_path / "back")
    else:
        with open(tmp_path / "labelled.csv", newline="") as f:
            assert [row["id"] for row in csv.DictReader(f)] == list(utterances)
        prepare("table", tmp_path / "labelled.csv", "--out", tmp_path / "back")
    back = {u.id: u for n in ("labelled", "unlabelled") for u in read_manifest(tmp_path / "back" / f"{n}.jsonl")}
    assert set(back) == set(utterances)
    for name, u in back.items():
        given = utterances[name]
        assert (u.text or "", u.speaker, u.offset, u.duration) == (
            given.text or "", given.speaker, given.offset, given.duration
        )  # fmt: skip


def test_shards_give_their_flac_and_transcripts_their_text(manifest, utterances, tmp_path):
    assert main(["shard", str(manifest), "--out", str(tmp_path / "shards")]) == 0
    shards = tmp_path / "shards" / "labelled"
    line = {"id": "long-1", "text": "EINS", "confidence": 0.9, "words": [], "duration": 1.0}
    low = {"id": "z1", "text": "NOT SURE", "confidence": 0.2, "words": [], "duration": 1.0}
    (tmp_path / "t.hyp.jsonl").write_text("\n".join(map(json.dumps, (line, low))))
    convert(shards, "--to", "nemo", "--out", tmp_path / "plain")
    found = {u.id: u for u in read_manifest(tmp_path / "plain" / "labelled.jsonl")}
    assert {n: u.text for n, u in found.items()} == {n: u.text for n, u in utterances.items()}
    assert all(np.array_equal(heard(u), heard(utterances[n])) for n, u in found.items())
    assert all(Path(u.audio_filepath).is_relative_to(tmp_path / "plain" / "audio") for u in found.values())
    given = ["--transcripts", tmp_path / "t.hyp.jsonl", "--min-confidence", "0.5"]
    convert(manifest, "--to", "nemo", "--out", tmp_path / "said", *given)
    found = {u.id: u for u in read_manifest(tmp_path / "said" / "labelled.jsonl")}
    assert {n: u.text for n, u in found.items() if u.text is not None} == {"long-1": "EINS"}
    assert found["long-1"].meta["confidence"] == 0.9


def test_audio_that_cannot_be_read_is_listed_and_stereo_is_written_for_kaldi(tmp_path):
    stereo = np.random.default_rng(0).uniform(-0.4, 0.4, (RATE, 2))
    soundfile.write(tmp_path / "s.wav", stereo, RATE)
    (tmp_path / "broken.wav").write_bytes(b"RIFF nothing")
    rows = [Utterance("s", str(tmp_path / "s.wav"), 1.0), Utterance("b", str(tmp_path / "broken.wav"), 1.0)]
    write_manifest(tmp_path / "m.jsonl", rows)
    convert(tmp_path / "m.jsonl", "--to", "kaldi", "--out", tmp_path / "k", "--max-skipped", "0.5")
    (line,) = (tmp_path / "k" / "m" / "wav.scp").read_text().splitlines()
    wave, _ = soundfile.read(line.split(maxsplit=1)[1])
    assert wave.shape == (RATE,) and line.endswith(".wav")
    assert json.loads((tmp_path / "k" / "rejected.jsonl").read_text())["id"] == "b"


def test_ids_without_blanks_are_all_different():
    ids = plain_ids(["a b", "a_b", "a  b", "c", " "])
    assert ids["a_b"] == "a_b" and ids["c"] == "c" and len(set(ids.values())) == 5
    assert not any(" " in new for new in ids.values())


def test_a_part_without_utterances_is_refused(tmp_path, capsys):
    (tmp_path / "m.jsonl").write_text("")
    convert(tmp_path / "m.jsonl", "--to", "nemo", "--out", tmp_path / "o", code=2)
    assert "holds no utterance" in capsys.readouterr().err and not os.path.exists(tmp_path / "o" / "m.jsonl")


@pytest.mark.parametrize(
    ("form", "first", "second"),
    [
        ("nemo", "x/shard-000000.tar", "y/shard-000000.tar"),
        ("nemo", "a/s.tar", "s.tar/s.tar"),
        ("table", "x/a.jsonl", "a.tar"),
        ("huggingface", "labelled.jsonl", "train.jsonl"),
        ("huggingface", "a-b.jsonl", "a.b.jsonl"),
        ("kaldi", "labelled.jsonl", "labelled_unlabelled.jsonl"),
    ],
)
def test_inputs_that_would_be_written_to_one_place_are_refused(form, first, second, manifest, tmp_path, capsys):
    assert main(["shard", str(manifest), "--out", str(tmp_path / "made")]) == 0
    (shard,) = (tmp_path / "made" / "labelled").glob("*.tar")
    paths = [tmp_path / first, tmp_path / second]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes((shard if path.suffix == ".tar" else manifest).read_bytes())
    convert(*paths, "--to", form, "--out", tmp_path / "c", code=2)
    error = capsys.readouterr().err
    assert str(paths[0]) in error and str(paths[1]) in error and "Rename one" in error
    assert not (tmp_path / "c").exists()


def _contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_output_never_replaces_an_input_or_the_list_beside_it(manifest, tmp_path, capsys):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "dev.jsonl").write_bytes(manifest.read_bytes())
    (tmp_path / "link").symlink_to(tmp_path / "m")
    assert main(["shard", str(manifest), "--out", str(tmp_path / "s")]) == 0
    before = _contents(tmp_path)
    convert(tmp_path / "m" / "dev.jsonl", "--to", "nemo", "--out", tmp_path / "m", code=2)
    convert(tmp_path / "m" / "dev.jsonl", "--to", "nemo", "--out", tmp_path / "link", code=2)
    convert(tmp_path / "s" / "labelled", "--to", "shar", "--out", tmp_path / "s", code=2)
    (tmp_path / "m" / "rejected.jsonl").write_text("{}\n")
    convert(tmp_path / "m" / "dev.jsonl", "--to", "lhotse", "--out", tmp_path / "m", code=2)
    assert _contents(tmp_path) == before | {tmp_path / "m" / "rejected.jsonl": b"{}\n"}
    assert capsys.readouterr().err.count("Give another --out") == 4


def test_integers_beyond_64_bits_become_text(utterances, tmp_path):
    import pyarrow.parquet as pq

    numbers = {"z1": {"big": 10**39, "mixed": 1.5, "max": 2**63 - 1}, "b c": {"big": 7, "mixed": -(2**63) - 1}}
    write_manifest(tmp_path / "m.jsonl", [replace(utterances[name], meta=meta) for name, meta in numbers.items()])
    convert(tmp_path / "m.jsonl", "--to", "huggingface", "--out", tmp_path / "hf")
    rows = pq.read_table(tmp_path / "hf" / "data" / "m-00000-of-00001.parquet").to_pylist()
    assert [row["big"] for row in rows] == [str(10**39), "7"] and [row["max"] for row in rows] == [2**63 - 1, None]
    assert [row["mixed"] for row in rows] == ["1.5", str(-(2**63) - 1)]


def test_the_files_of_a_split_stay_until_all_new_ones_are_complete(manifest, tmp_path, monkeypatch):
    def names(files: Iterable[Path]) -> list[str]:
        return sorted(path.name for path in files)

    data = tmp_path / "data"
    convert(manifest, "--to", "huggingface", "--out", tmp_path)
    before = _contents(data)
    assert names(before) == ["train-00000-of-00001.parquet"]
    monkeypatch.setattr(huggingface, "FILE_S", 2.0)
    encode = huggingface._file_bytes

    def stops_at_the_last(item, reencode):
        if item.utterance.id == "long-1":
            raise KeyboardInterrupt
        return encode(item, reencode)

    with monkeypatch.context() as stopped:
        stopped.setattr(huggingface, "_file_bytes", stops_at_the_last)
        main(["convert", str(manifest), "--to", "huggingface", "--out", str(tmp_path)])
    assert _contents(data) == before
    convert(manifest, "--to", "huggingface", "--out", tmp_path)
    number = len(_contents(data))
    assert number > 1 and names(_contents(data)) == [f"train-{n:05d}-of-{number:05d}.parquet" for n in range(number)]
