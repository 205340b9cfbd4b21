import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from asr_kd.corpora.manifest import read_manifest
from asr_kd.corpora.synthetic import SyntheticConfig, write_synthetic_corpus
from asr_kd.corpora.synthetic_speakers import ACCENTS, HIGH_FAMILIES, LOW_FAMILIES, draw_voices
from asr_kd.corpora.tts import synthesise

pytest.importorskip("espeakng_loader", reason="needs the extra voices")

SMALL = {
    **{"seed": 3, "labelled_minutes": 0.2, "dev_minutes": 0.1, "unlabelled_minutes": 0.4, "test_utterances": 8},
    **{"voices": 30, "labelled_voices": 3, "dev_voices": 2, "test_voices": 7},
}
PARTS = ("labelled", "dev", "unlabelled", "unlabelled_references", "test")


def digests(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    out = tmp_path_factory.mktemp("voices")
    write_synthetic_corpus(out, SyntheticConfig(**SMALL))
    return out


@pytest.fixture(scope="module")
def parts(corpus):
    return {part: list(read_manifest(corpus / f"{part}.jsonl")) for part in PARTS}


def test_another_process_makes_the_same_bytes(corpus, tmp_path):
    code = (
        "import sys, pathlib, json; from asr_kd.corpora.synthetic import *;"
        "write_synthetic_corpus(pathlib.Path(sys.argv[1]), SyntheticConfig(**json.loads(sys.argv[2])))"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "5", "MALLOC_PERTURB_": "77"}
    subprocess.run([sys.executable, "-c", code, tmp_path, json.dumps(SMALL)], check=True, env=environment)
    assert digests(tmp_path) == digests(corpus)


def test_samples_do_not_depend_on_what_was_said_before():
    variants = [family[-1] for family in (*LOW_FAMILIES, *HIGH_FAMILIES)]
    calls = [("set the alarm", f"{list(ACCENTS.values())[i % 8]}+{v}", 150 + i, 50, 50) for i, v in enumerate(variants)]
    first = {call: synthesise(*call)[0].tobytes() for call in calls}
    again = {call: synthesise(*call)[0].tobytes() for call in reversed(calls)}
    assert first == again


def test_files_of_an_earlier_run_are_kept_and_broken_ones_made_again(corpus, tmp_path):
    write_synthetic_corpus(tmp_path, SyntheticConfig(**SMALL | {"unlabelled_minutes": 0.1}))
    kept = {p: p.stat().st_mtime_ns for p in (tmp_path / "audio").iterdir()}
    cut, lost, *_ = sorted(kept)
    cut.write_bytes(cut.read_bytes()[:40])
    lost.unlink()
    write_synthetic_corpus(tmp_path, SyntheticConfig(**SMALL))
    assert digests(tmp_path) == digests(corpus)
    assert all(p.stat().st_mtime_ns == time for p, time in kept.items() if p not in (cut, lost))


def test_another_seed_replaces_the_audio(tmp_path):
    tiny = SMALL | {"labelled_minutes": 0.05, "dev_minutes": 0, "unlabelled_minutes": 0, "test_utterances": 1}
    for folder, seeds in (("over", (1, 2)), ("fresh", (2,))):
        for seed in seeds:
            write_synthetic_corpus(tmp_path / folder, SyntheticConfig(**tiny | {"seed": seed}))
    fresh = digests(tmp_path / "fresh")
    assert fresh.items() <= digests(tmp_path / "over").items()


def test_parts_share_no_speaker_no_family_of_voices_and_no_held_out_sentence(parts):
    family_of = {variant: family for family in (*LOW_FAMILIES, *HIGH_FAMILIES) for variant in family}
    for a, b in (
        ("labelled", "dev"),
        ("labelled", "unlabelled_references"),
        ("labelled", "test"),
        ("unlabelled_references", "test"),
        ("dev", "test"),
    ):
        assert {u.speaker for u in parts[a]}.isdisjoint(u.speaker for u in parts[b])
        assert {family_of[u.meta["variant"]] for u in parts[a]}.isdisjoint(
            family_of[u.meta["variant"]] for u in parts[b]
        )
        if b in ("test", "dev"):
            assert {u.text for u in parts[a]}.isdisjoint(u.text for u in parts[b])


def test_unlabelled_has_no_text_and_hidden_is_the_same_with_text(parts):
    assert all(u.text is None for u in parts["unlabelled"])
    assert all(u.text for u in parts["unlabelled_references"])
    assert [(u.id, u.duration) for u in parts["unlabelled"]] == [
        (u.id, u.duration) for u in parts["unlabelled_references"]
    ]


def test_sizes_are_those_asked_for(parts):
    for part in ("labelled", "dev", "unlabelled"):
        wanted_s = SMALL[f"{part}_minutes"] * 60
        assert wanted_s <= sum(u.duration for u in parts[part]) < wanted_s + 8
    assert [u.meta["snr"] for u in parts["test"]] == ["clean", 20, 10, 5] * 2
    drawn = draw_voices({"labelled": 10, "dev": 3, "test": 15, "unlabelled": 72}, seed=0)
    assert {part: len(voices) for part, voices in drawn.items()} == {
        **{"labelled": 10, "dev": 3, "test": 15, "unlabelled": 72}
    }


def test_audio_is_16_khz_16_bit_and_does_not_clip(parts):
    for utterance in (u for part in PARTS for u in parts[part]):
        info = soundfile.info(utterance.audio_filepath)
        assert (info.samplerate, info.channels, info.format, info.subtype) == (16000, 1, "FLAC", "PCM_16")
        wave_N, _ = soundfile.read(utterance.audio_filepath)
        assert len(wave_N) / 16000 == utterance.duration
        assert 0.01 < np.abs(wave_N).max() < 0.96
        assert abs(wave_N.mean()) < 0.1 * wave_N.std()


def test_lexicon_spells_every_word(corpus, parts):
    lines = [line.split() for line in (corpus / "lexicon.txt").read_text().splitlines()]
    assert {
        w for part in ("labelled", "dev", "unlabelled_references", "test") for u in parts[part] for w in u.text.split()
    } <= {word for word, *_ in lines}
    assert all(phones and all(p.isalpha() for p in phones) for _, *phones in lines)


def test_missing_package_is_told_with_the_way_out(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(ValueError, match=r"setup.sh voices,dev` .*pip install -e '\.\[voices\]'"):
        write_synthetic_corpus(tmp_path, SyntheticConfig())


def test_too_few_or_unknown_voices_are_told():
    with pytest.raises(ValueError, match="--voices is 30"):
        SyntheticConfig(voices=30)
    with pytest.raises(ValueError, match="too many"):
        draw_voices({"labelled": 30, "dev": 3, "test": 15, "unlabelled": 72}, seed=0)
    with pytest.raises(ValueError, match="no voice"):
        synthesise("hello", "en-us-nowhere", 150, 50, 50)
