"""`asr-kd transcribe`: words of files and pipes, many files at once, damaged ones, and runs that were stopped."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile
from decoding import run
from encoding import encoded

from asr_kd.shards.reader import open_shard

RATE = 16000


@pytest.fixture(scope="module")
def talks(tone_shards, tmp_path_factory):
    """Files of several utterances with pauses between them."""
    folder = tmp_path_factory.mktemp("talks")
    waves = [shard.audio(row) for shard in map(open_shard, tone_shards) for row in range(len(shard.entries))]
    pause_N = np.zeros(RATE, np.float32)
    for number in range(3):
        parts = [part for wave_N in waves[number::3] for part in (wave_N, pause_N)]
        soundfile.write(folder / f"talk{number}.wav", np.concatenate(parts), RATE, subtype="PCM_16")
    return folder


def options(trained):
    return ["--graph", trained / "graph", "--device", "cpu", "--threads", 1]


def words(capsys):
    return capsys.readouterr().out.split()


def test_files_pipes_and_headerless_samples_give_the_same_words(trained, talks, tmp_path, capsys, monkeypatch):
    talk = talks / "talk0.wav"
    assert run("transcribe", trained / "model", talk, *options(trained)) == 0
    told = capsys.readouterr()
    assert told.out.split() and set(told.out.split()) <= {"AH", "EE", "OH"}
    assert "real-time factor" in told.err
    soundfile.write(tmp_path / "a.flac", *soundfile.read(talk))
    samples = soundfile.read(talk, dtype="int16")[0].astype("<i2").tobytes()
    (tmp_path / "a.pcm").write_bytes(samples)
    (tmp_path / "a.m4a").write_bytes(encoded("ipod", "alac", soundfile.read(talk)[0], RATE))
    for same in ("a.flac", "a.m4a"):
        assert run("transcribe", trained / "model", tmp_path / same, *options(trained)) == 0
        assert words(capsys) == told.out.split()
    for source, more in ((talk, []), (tmp_path / "a.m4a", []), (tmp_path / "a.pcm", ["--raw-rate", RATE])):
        with open(source, "rb") as file, monkeypatch.context() as patched:
            patched.setattr(sys, "stdin", os.fdopen(os.dup(file.fileno())))
            assert run("transcribe", trained / "model", "-", *options(trained), *more) == 0
            sys.stdin.close()
        assert words(capsys) == told.out.split()


def test_many_files_have_an_output_each_and_a_second_run_does_nothing(trained, talks, tmp_path, capsys):
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "talk0.wav").write_bytes((talks / "talk1.wav").read_bytes())
    inputs = [talks, tmp_path / "more" / "talk0.wav"]
    command = [
        "transcribe",
        trained / "model",
        *inputs,
        *options(trained),
        "--format",
        "json",
        "--out",
        tmp_path / "out",
    ]
    assert run(*command, "--dry-run") == 0
    assert not (tmp_path / "out").exists()
    assert run(*command, "--workers", 2) == 0
    made = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("talk*.json")}
    assert set(made) == {"talk0.json", "talk1.json", "talk2.json", "talk0-wav.json"}
    read = {name: json.loads((tmp_path / "out" / name).read_text()) for name in made}
    assert read["talk0-wav.json"]["utterances"] == read["talk1.json"]["utterances"] != []
    capsys.readouterr()
    assert run(*command) == 0
    assert "0 of 4 files to transcribe" in capsys.readouterr().err
    assert made == {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("talk*.json")}


def test_outputs_of_other_settings_are_refused(trained, talks, tmp_path, capsys):
    (tmp_path / "tune.json").write_text('{"acoustic": 0.5, "prior": 0.3}')
    command = ["transcribe", trained / "model", talks / "talk0.wav", *options(trained), "--out", tmp_path / "out"]
    assert run(*command) == 0
    assert run(*command, "--decoding-scales", tmp_path) == 2
    assert "is there already with scales null" in capsys.readouterr().err


def test_damaged_files_are_skipped_counted_and_listed(trained, talks, tmp_path, capsys):
    (tmp_path / "bad.wav").write_bytes((talks / "talk1.wav").read_bytes()[:20_000])
    command = ["transcribe", trained / "model", talks / "talk0.wav", tmp_path / "bad.wav", *options(trained)]
    assert run(*command, "--out", tmp_path / "out") == 2
    assert "1 of 2 files skipped" in capsys.readouterr().err
    assert json.loads((tmp_path / "out" / "skipped.jsonl").read_text())["id"] == str(tmp_path / "bad.wav")
    assert (tmp_path / "out" / "talk0.txt").read_text()
    assert run(*command, "--out", tmp_path / "out", "--max-skipped", 0.5) == 0


def test_a_killed_run_goes_on(trained, talks, tmp_path):
    words = ["transcribe", trained / "model", talks, *options(trained)]
    assert run(*words, "--out", tmp_path / "whole") == 0
    program = [sys.executable, "-m", "asr_kd.cli", *map(str, words), "--out", str(tmp_path / "cut"), "--workers", "1"]
    process = subprocess.Popen(program, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list((tmp_path / "cut").glob("talk*.txt")):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert run(*words, "--out", tmp_path / "cut") == 0
    for path in (tmp_path / "whole").glob("talk*.txt"):
        assert (tmp_path / "cut" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--mic", "a.wav"], "--mic: records from the microphone, and a.wav is given too"),
        (["-", "a.wav"], "-: standard input is one recording of its own"),
        (["-", "--out", "out"], "--out: is for files"),
        (["a.wav", "b.wav"], "--out: is needed for several files"),
        (["a.wav", "--raw-rate", "8000"], "--raw-rate: is for samples"),
        (["a.wav"], "a.wav: "),
    ],
)
def test_wrong_use_is_one_line(given, told, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("transcribe", "model", *given) == 2
    err = capsys.readouterr().err
    assert told in err and err.count("\n") == 1


def test_without_its_package_the_microphone_is_one_line(trained, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert run("transcribe", trained / "model", "--mic", *options(trained)) == 2
    err = capsys.readouterr().err
    assert "--mic: needs the package sounddevice" in err and err.count("\n") == 1


def test_a_model_of_senones_without_graph_and_what_is_no_model_are_one_line(trained, talks, tmp_path, capsys):
    assert run("transcribe", trained / "model", talks / "talk0.wav") == 2
    assert "says no words without a graph" in capsys.readouterr().err
    assert run("transcribe", tmp_path, talks / "talk0.wav") == 2
    assert "no model there" in capsys.readouterr().err


def test_a_reader_that_has_read_enough_ends_the_command_without_a_word(trained, talks):
    """As `| head -1` does; the pipe is closed before the first line."""
    program = [sys.executable, "-m", "asr_kd.cli"]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    for words in (["transcribe", trained / "model", talks / "talk0.wav", *options(trained)], ["--help"]):
        reads, writes = os.pipe()
        os.close(reads)
        with os.fdopen(writes, "w") as stdout:
            done = subprocess.run(
                [*program, *map(str, words)], stdout=stdout, stderr=subprocess.PIPE, text=True, env=buffered
            )
        assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")
