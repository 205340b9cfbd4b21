"""One's own folder of audio: who is held out, what counts as audio, what samples become."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr_kd.cli import main
from asr_kd.corpora.audio import audio_seconds, read_audio, to_16k_mono
from asr_kd.corpora.folder import split
from asr_kd.corpora.manifest import Utterance

RATE = 16000


def _tone(seconds: float = 0.5, amplitude: float = 0.3) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * 300 * np.arange(int(RATE * seconds)) / RATE)).astype(np.float32)


def _utterances(speakers: list[str | None]) -> list[Utterance]:
    return [Utterance(f"u{i}", f"u{i}.wav", 1.0, text="one", speaker=s) for i, s in enumerate(speakers)]


def _speakers(corpus) -> dict[str, set]:
    return {part: {u.speaker for u in getattr(corpus, part)} - {None} for part in ("labelled", "dev", "test")}


@pytest.mark.parametrize("strays", [1, 5, 20])
def test_speakers_stay_whole_however_many_utterances_have_none(strays: int, capsys):
    corpus = split(_utterances([f"s{i // 5}" for i in range(30)] + [None] * strays), 0.2, 0.2, seed=3)
    parts = list(_speakers(corpus).values())
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]
    assert all(parts) or strays == 20
    assert sum(len(getattr(corpus, part)) for part in ("labelled", "dev", "test")) == 30 + strays
    assert f"{strays} of {30 + strays} utterances with text have no speaker" in capsys.readouterr().err


def test_one_speaker_among_utterances_without_speakers_stays_whole():
    corpus = split(_utterances(["ann"] * 10 + [None] * 10), 0.3, 0.3, seed=0)
    assert sum("ann" in speakers for speakers in _speakers(corpus).values()) == 1


def test_an_utterance_called_like_a_speaker_is_not_of_that_speaker():
    utterances = [Utterance("ann", "x.wav", 1.0, text="one"), *_utterances(["ann"] * 5 + ["bob"] * 5)]
    for seed in range(20):
        parts = list(_speakers(split(utterances, 0.3, 0.3, seed)).values())
        assert sum("ann" in speakers for speakers in parts) == 1


def test_a_single_speaker_is_split_by_utterance_and_that_is_said(capsys):
    corpus = split(_utterances(["ann"] * 20), 0.2, 0.2, seed=0)
    assert corpus.dev and corpus.test and corpus.labelled
    assert "single utterances are held out" in capsys.readouterr().err


@pytest.mark.parametrize("seed", range(5))
def test_two_speakers_cannot_fill_three_parts_but_three_can(seed: int, capsys):
    corpus = split(_utterances(["ann"] * 5 + ["bob"] * 5), 0.2, 0.2, seed)
    assert corpus.dev and corpus.test and corpus.labelled
    assert "text of 2 speakers (ann, bob) cannot fill 3 parts" in capsys.readouterr().err
    parts = list(_speakers(split(_utterances(["ann"] * 5 + ["bob"] * 2 + ["eve"]), 0.2, 0.3, seed)).values())
    assert sorted(map(len, parts)) == [1, 1, 1]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("seed", range(5))
def test_a_labelled_share_hides_the_text_of_whole_speakers(seed: int):
    unlabelled = [Utterance("bare", "x.wav", 1.0, speaker="s0")]
    everyone = _utterances([f"s{i // 5}" for i in range(1, 101)])
    corpus = split(everyone + unlabelled, 0.1, 0.2, seed, labelled_share=0.2)
    assert [len(getattr(corpus, part)) // 5 for part in ("labelled", "dev", "test")] == pytest.approx([4, 2, 4], abs=1)
    parts = corpus.parts()
    assert {u.id for u in parts["unlabelled"]} == {u.id for u in parts["unlabelled_references"]} | {"bare"}
    assert all(u.text is None for u in parts["unlabelled"]) and all(u.text for u in parts["unlabelled_references"])
    hidden = {u.speaker for u in parts["unlabelled_references"]}
    assert not hidden & set().union(*_speakers(corpus).values())


@pytest.mark.parametrize("share", ["0", "0.9", "1", "-0.2"])
def test_a_labelled_share_that_hides_nothing_or_all_is_refused(share: str, tmp_path: Path, capsys):
    soundfile.write(tmp_path / "a.wav", _tone(), RATE)
    assert main(["prepare", "folder", str(tmp_path), "--labelled-fraction", share, "--out", str(tmp_path / "o")]) == 2
    assert f"--labelled-fraction {float(share)}: it must be above 0" in capsys.readouterr().err


def _prepare(root: Path, out: Path, *options: str) -> dict[str, list[dict]]:
    assert main(["prepare", "folder", str(root), "--out", str(out), "--speaker-from", "none", *options]) == 0
    files = {name: out / f"{name}.jsonl" for name in ("unlabelled", "rejected")}
    return {
        n: [json.loads(line) for line in p.read_text().splitlines()] if p.exists() else [] for n, p in files.items()
    }


def test_every_audio_file_is_used_or_listed(tmp_path: Path):
    root = tmp_path / "in"
    root.mkdir()
    for suffix in ("wav", "aiff", "au", "caf", "w64", "flac"):
        soundfile.write(root / f"of-{suffix}.{suffix}", _tone(), RATE)
    for name in ("call.m4a", "film.webm", "note.AMR"):
        (root / name).write_bytes(b"something")
    (root / "notes.pdf").write_bytes(b"no audio")
    found = _prepare(root, tmp_path / "out", "--max-skipped", "0.5")
    assert {u["id"] for u in found["unlabelled"]} == {f"of-{s}" for s in ("wav", "aiff", "au", "caf", "w64", "flac")}
    assert {u["id"] for u in found["rejected"]} == {"call", "film", "note"}
    assert all("no audio format is recognised" in u["error"] for u in found["rejected"])


def test_files_that_would_share_an_id_get_ids_of_their_own(tmp_path: Path, capsys):
    root = tmp_path / "in"
    (root / "a").mkdir(parents=True)
    for name in ("call.wav", "call.flac", "a/b.wav", "a-b.wav", "lone.wav", "call-wav.flac"):
        soundfile.write(root / name, _tone(), RATE)
    ids = {
        Path(u["audio_filepath"]).relative_to(root).as_posix(): u["id"]
        for u in _prepare(root, tmp_path / "o")["unlabelled"]
    }
    assert len(set(ids.values())) == 6
    assert ids["lone.wav"] == "lone" and ids["call.flac"] == "call-flac" and ids["call-wav.flac"] == "call-wav"
    assert "2 names belong to several files" in capsys.readouterr().err


def test_floats_with_the_values_of_16_bit_integers_are_scaled(tmp_path: Path):
    wave_N = _tone()
    soundfile.write(tmp_path / "int16.wav", wave_N * 32768, RATE, subtype="FLOAT")
    assert np.abs(read_audio(tmp_path / "int16.wav") - wave_N).max() < 1e-6


@pytest.mark.parametrize("peak", [3.0, 1e6, 3e38])
def test_samples_of_no_known_scale_are_refused_with_their_peak(peak: float, tmp_path: Path):
    soundfile.write(tmp_path / "loud.wav", _tone() / 0.3 * peak, RATE, subtype="FLOAT")
    with pytest.raises(ValueError, match=r"loud.wav: samples reach"):
        read_audio(tmp_path / "loud.wav")


def test_a_few_samples_beyond_full_scale_stay_as_a_codec_made_them():
    wave_N = _tone()
    wave_N[100] = 1.2
    assert (to_16k_mono(wave_N[:, None], RATE, "x") == wave_N).all()


@pytest.mark.parametrize("channels", [2, 4, 6])
def test_channels_of_opposite_phase_do_not_become_silence(channels: int):
    wave_N = _tone()
    signs_C = np.where(np.arange(channels) % 2, -1.0, 1.0).astype(np.float32)
    mixed_N = to_16k_mono(wave_N[:, None] * signs_C, RATE, "x")
    assert np.abs(mixed_N).max() == pytest.approx(0.3, abs=1e-3)


@pytest.mark.parametrize("channels", [2, 6, 16])
def test_one_channel_of_speech_among_silent_ones_is_averaged_as_before(channels: int):
    wave_NC = np.zeros((8000, channels), np.float32)
    wave_NC[:, 1] = _tone()
    assert (to_16k_mono(wave_NC, RATE, "x") == wave_NC.mean(axis=1)).all()


def test_unlabelled_audio_of_speakers_in_dev_or_test_is_left_out_and_counted(tmp_path: Path, capsys):
    for speaker in "abcdef":
        (tmp_path / "in" / speaker).mkdir(parents=True)
        for name in ("with-text", "without-1", "without-2"):
            soundfile.write(tmp_path / "in" / speaker / f"{name}.flac", _tone(), RATE)
        (tmp_path / "in" / speaker / "with-text.txt").write_text("one")
    options = ("--dev-fraction", "0.3", "--test-fraction", "0.3", "--out", str(tmp_path / "out"))
    assert main(["prepare", "folder", str(tmp_path / "in"), *options]) == 0
    parts = {
        name: [json.loads(line)["speaker"] for line in (tmp_path / "out" / f"{name}.jsonl").read_text().splitlines()]
        for name in ("labelled", "dev", "test", "unlabelled")
    }
    held = {*parts["dev"], *parts["test"]}
    assert held and sorted(parts["unlabelled"]) == sorted(2 * list(set("abcdef") - held))
    told = capsys.readouterr().err
    assert (
        f"{2 * len(held)} utterances without text" in told and f"their {len(held)} speakers are in dev or test" in told
    )


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("missing", "does not exist"),
        ("link", "does not exist: a link to nowhere.wav, which is gone"),
        ("folder", "a folder, not a file"),
        ("below-file", "does not exist"),
    ],
)
def test_a_file_that_is_not_there_is_named_with_the_reason(kind: str, reason: str, tmp_path: Path):
    (tmp_path / "file").write_bytes(b"x")
    path = tmp_path / ("file/a.wav" if kind == "below-file" else f"{kind}.wav")
    if kind == "link":
        path.symlink_to("nowhere.wav")
    elif kind == "folder":
        path.mkdir()
    for read in (read_audio, audio_seconds):
        with pytest.raises(ValueError, match=re.escape(f"{path}: {reason}") + "$"):
            read(path)


@pytest.mark.parametrize("seconds", [(1, 1), (1, 3), (3, 1), (0.1, 20), (20, 0.1)])
def test_flac_files_joined_into_one_are_refused(seconds: tuple[float, float], tmp_path: Path):
    path = tmp_path / "joined.flac"
    for number, length in enumerate(seconds):
        noise_N = 0.1 * np.random.default_rng(number).standard_normal(int(length * RATE))
        soundfile.write(tmp_path / "one.flac", noise_N, RATE)
        assert audio_seconds(tmp_path / "one.flac") == length
        path.write_bytes((path.read_bytes() if number else b"") + (tmp_path / "one.flac").read_bytes())
    for read in (read_audio, audio_seconds):
        with pytest.raises(ValueError, match=r"joined\.flac: several FLAC files"):
            read(path)


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_floats_that_were_scaled_twice_are_refused_and_silence_is_not(subtype: str, tmp_path: Path):
    for name, scale in (("quiet", 1 / 32768), ("silent", 0.0), ("soft", 1e-3)):
        soundfile.write(tmp_path / f"{name}.wav", _tone() * scale, RATE, subtype=subtype)
    with pytest.raises(ValueError, match=r"quiet\.wav: samples reach only 9"):
        read_audio(tmp_path / "quiet.wav")
    assert not read_audio(tmp_path / "silent.wav").any() and read_audio(tmp_path / "soft.wav").any()


def test_manifests_never_replace_the_manifest_that_is_prepared(tmp_path, capsys):
    soundfile.write(tmp_path / "a.wav", _tone(), RATE)
    rows = [{"audio_filepath": str(tmp_path / "a.wav"), "duration": 0.05, "offset": n / 20} for n in range(8)]
    manifest = tmp_path / "m" / "labelled.jsonl"
    manifest.parent.mkdir()
    manifest.write_text("".join(json.dumps({**row, "text": "ONE"}) + "\n" for row in rows))
    before = manifest.read_bytes()
    (tmp_path / "link.jsonl").symlink_to(manifest)
    for root in (manifest, tmp_path / "link.jsonl"):
        assert main(["prepare", "folder", str(root), "--out", str(manifest.parent)]) == 2
        assert "Give another --out" in capsys.readouterr().err
    assert [p.name for p in manifest.parent.iterdir()] == ["labelled.jsonl"] and manifest.read_bytes() == before
    assert main(["prepare", "manifest", str(manifest), "--out", str(manifest.parent), "--dry-run"]) == 0
