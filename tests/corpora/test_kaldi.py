"""A Kaldi data directory: every utterance, recording and line is used, or listed with what to do about it."""

import json
from pathlib import Path

import kaldiio
import numpy as np
import soundfile

from asr_kd.cli import main
from asr_kd.corpora.audio import read_audio
from asr_kd.corpora.manifest import read_manifest

RATE = 16000


def tone(seconds: float, hertz: float = 300.0) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def data_directory(folder: Path, **files: str | bytes) -> Path:
    """A folder of the files given, `wav_scp` for wav.scp."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        path = folder / name.replace("_", ".")
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def prepared(root: Path, out: Path, *options: str, code: int = 0) -> tuple[dict[str, dict], dict[str, str]]:
    """Utterances and reasons of the rejected, by id."""
    assert main(["prepare", "kaldi", str(root), "--out", str(out), "--max-skipped", "0.9", *options]) == code
    used = {u.id: vars(u) for p in out.glob("*.jsonl") if p.stem in ("labelled", "dev", "test", "unlabelled")
            for u in read_manifest(p)}  # fmt: skip
    rejected = out / "rejected.jsonl"
    lines = rejected.read_text().splitlines() if rejected.exists() else []
    return used, {row["id"]: row["error"] for row in map(json.loads, lines)}


def test_segments_text_speakers_and_genders_become_utterances_of_the_recordings(tmp_path):
    audio = tmp_path / "audio"
    audio.mkdir()
    for name, hertz in (("call 1", 300), ("call2", 500)):
        soundfile.write(audio / f"{name}.flac", tone(4.0, hertz), RATE)
    root = data_directory(
        tmp_path / "exp" / "data" / "train",
        wav_scp="r1 audio/call 1.flac\r\nr2\taudio/call2.flac  \r\n\r\n",
        segments="ann-2 r1 2.5 -1\nann-1 r1 0.5 2\nbob-1 r2 1.0 3.25\n",
        text="ann-1 Hello,   world\r\nann-2 over-the-top\nbob-1\n",
        utt2spk="ann-1 ann\nann-2 ann\nbob-1 bob\n",
        spk2gender="ann f\nbob m\n",
        reco2dur="r1 99\n",
    )
    used, rejected = prepared(root, tmp_path / "out", "--dev-fraction", "0")
    assert rejected == {}
    first = used["ann-1"]
    assert (first["text"], first["speaker"], first["offset"], first["duration"]) == ("HELLO WORLD", "ann", 0.5, 1.5)
    assert first["meta"] == {"recording": "r1", "gender": "f"}
    assert Path(first["audio_filepath"]).samefile(audio / "call 1.flac")
    assert (used["ann-2"]["offset"], used["ann-2"]["duration"]) == (2.5, 1.5)
    assert used["bob-1"]["text"] == ""
    assert len(read_audio(used["bob-1"]["audio_filepath"], 1.0, 2.25)) == 2.25 * RATE


def test_a_command_is_listed_with_what_to_do_and_never_run(tmp_path):
    soundfile.write(tmp_path / "b.wav", tone(1.0), RATE)
    root = data_directory(
        tmp_path, wav_scp=f"a touch {tmp_path}/ran; cat b.wav |\nb b.wav\nc | tee {tmp_path}/ran\nd -\n"
    )
    used, rejected = prepared(root, tmp_path / "out")
    assert set(used) == {"b"} and set(rejected) == {"a", "c", "d"}
    assert "no command of data is run" in rejected["a"] and "wav-copy scp:wav.scp" in rejected["a"]
    assert not (tmp_path / "ran").exists()


def test_what_does_not_hold_together_is_listed(tmp_path):
    for name in "rst":
        soundfile.write(tmp_path / f"{name}.wav", tone(2.0), RATE)
    root = data_directory(
        tmp_path,
        wav_scp="r r.wav\ns s.wav\ngone gone.wav\nt t.wav\nr t.wav\n",
        segments="ok r 0 1\nlate r 1.5 9\nnowhere x 0 1\nback r 1 0.5\nword r one 2\nstereo r 0 1 A\nshort r 0\n"
        "lost gone 0 1\nok s 0 1\nplain s 0.5 1\n",
        text="ok ONE\nstray TWO\nplain THREE\n",
        utt2spk="ok ann\nother bob\n",
    )
    used, rejected = prepared(root, tmp_path / "out", "--dev-fraction", "0")
    assert {name: u["text"] for name, u in used.items()} == {"ok": "ONE", "plain": "THREE"}
    wanted = {
        "late": "ends at 9.00 s",
        "nowhere": "recording x is not in wav.scp",
        "back": "from 1 to 0.5 s",
        "word": "'one' is no number",
        "stereo": "channels are averaged",
        "short": "not recording, start and end",
        "lost": "does not exist",
        "ok": "segments:9: ok occurs a second time",
        "r": "wav.scp:5: r occurs a second time",
        "stray": "text: stray is not in segments",
        "other": "utt2spk: other is not in segments",
        "t": "no segment is of recording t",
    }
    assert {name for name, why in wanted.items() if why not in rejected.get(name, "")} == set()
    assert set(rejected) == set(wanted)


def test_text_in_another_encoding_costs_its_utterance_until_the_encoding_is_given(tmp_path):
    for name in "ab":
        soundfile.write(tmp_path / f"{name}.wav", tone(1.0), RATE)
    root = data_directory(tmp_path, wav_scp="a a.wav\nb b.wav\n", text="a Müller\nb plain\n".encode("cp1252"))
    used, rejected = prepared(root, tmp_path / "out", "--dev-fraction", "0")
    assert used["a"]["text"] is None and used["b"]["text"] == "PLAIN" and "--encoding cp1252" in rejected["a"]
    used, rejected = prepared(root, tmp_path / "again", "--dev-fraction", "0", "--encoding", "cp1252")
    assert used["a"]["text"] == "MÜLLER" and rejected == {}


def test_a_folder_without_wav_scp_is_refused(tmp_path, capsys):
    assert main(["prepare", "kaldi", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "neither it nor a folder in it has a wav.scp" in capsys.readouterr().err


def test_several_data_directories_become_parts_by_their_names_or_by_options(tmp_path, capsys):
    data, audio = tmp_path / "data", tmp_path / "audio"
    audio.mkdir()
    for split in ("train", "dev", "test", "train_hires", "mix"):
        lines = []
        for i in range(2):
            name = f"{split.removesuffix('_hires')}-{i}"
            soundfile.write(audio / f"{name}.wav", tone(0.5), RATE)
            lines.append(f"{name} audio/{name}.wav")
        text = "".join(f"{line.split()[0]} {split}\n" for line in lines)
        data_directory(data / split, wav_scp="\n".join(lines), text=text, utt2spk=text)
    used, rejected = prepared(data, tmp_path / "out", "--dev-fraction", "0")
    assert "in split train and in train_hires" in rejected["train-0"]
    used, rejected = prepared(data, tmp_path / "named", "--train-splits", "train", "--unlabelled-splits", "mix")
    parts = {
        p.stem: [u.id for u in read_manifest(p)] for p in (tmp_path / "named").glob("*.jsonl") if p.stem != "rejected"
    }
    assert parts == {
        "labelled": ["train-0", "train-1"],
        "dev": ["dev-0", "dev-1"],
        "test": ["test-0", "test-1"],
        "unlabelled": ["mix-0", "mix-1"],
        "unlabelled_references": ["mix-0", "mix-1"],
    }
    assert all(not name.startswith("train_hires") for name in used)
    assert "train_hires: left out" in capsys.readouterr().err


def test_entries_of_archives_are_read_where_they_are(tmp_path):
    waves = {f"u{i}": (tone(0.5 + i, 200 + 100 * i) * 32767).astype(np.int16) for i in range(3)}
    with kaldiio.WriteHelper(f"ark,scp:{tmp_path}/wav.ark,{tmp_path}/wav.scp") as writer:
        for name, wave in waves.items():
            writer(name, (RATE, wave))
    with open(tmp_path / "wav.scp", "a") as f:
        f.write(f"beyond {tmp_path}/wav.ark:99999999\nmatrix {tmp_path}/wav.ark:3[0:5]\n")
    used, rejected = prepared(tmp_path, tmp_path / "out")
    assert set(used) == set(waves) and set(rejected) == {"beyond", "matrix"}
    for name, wave in waves.items():
        assert np.array_equal(np.round(read_audio(used[name]["audio_filepath"]) * 32768).astype(np.int16), wave)
