"""A stream gives the same words however it is fed, and the words of the whole where it is one utterance."""

import itertools

import jiwer
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

import asr_kd
from asr_kd.corpora.audio import read_audio
from asr_kd.corpora.found_audio import audio_files
from asr_kd.corpora.pauses import PauseCutter
from asr_kd.decode.stream import EndPoints
from asr_kd.models.acoustic import build_model
from asr_kd.models.checkpoint import load_model, save_model
from asr_kd.models.config import ModelConfig


@pytest.fixture(scope="module")
def student(trained):
    return asr_kd.load(trained / "model", graph=trained / "graph")


@pytest.fixture(scope="module")
def recording(tone_utterances):
    """All utterances, a second of faint noise between them: 16 kHz samples."""
    rng = np.random.default_rng(1)
    parts = []
    for utterance in tone_utterances:
        parts += [soundfile.read(utterance.audio_filepath, dtype="float32")[0], 0.001 * rng.standard_normal(16_000)]
    return np.concatenate(parts).astype(np.float32)


def fed(stream, wave_N, cuts=()):
    edges = [0, *np.clip(np.cumsum(cuts), 0, len(wave_N)).astype(int).tolist(), len(wave_N)]
    found = [t for a, b in itertools.pairwise(edges) for t in stream.accept(wave_N[a:b])]
    return found + stream.finish()


def test_a_stream_has_the_words_and_times_of_the_whole(student, tone_utterances):
    for utterance in tone_utterances:
        wave_N, _ = soundfile.read(utterance.audio_filepath, dtype="float32")
        whole = student.transcribe(wave_N)
        assert whole.text == utterance.text
        (found,) = fed(student.stream(None), wave_N, [777] * 50)
        assert [(w.word, w.start_s, w.end_s) for w in found.words] == [
            (w.word, w.start_s, w.end_s) for w in whole.words
        ]
        assert found.confidence == pytest.approx(whole.confidence, abs=1e-3)


@settings(max_examples=15)
@given(st.lists(st.integers(1, 80_000), max_size=12))
def test_pieces_of_any_size_give_the_same_bits(student, recording, cuts):
    assert fed(student.stream(), recording, cuts) == fed(student.stream(), recording)


def test_utterances_end_at_pauses_and_each_word_is_there_once(student, recording, tone_utterances):
    stream, partials, ended = student.stream(), [], []
    for first in range(0, len(recording), 1600):
        ended += stream.accept(recording[first : first + 1600])
        partials.append(" ".join(stream.partial))
    ended += stream.finish()
    assert len(ended) >= len(tone_utterances) // 2  # this model takes some of the noise for words
    assert jiwer.wer(" ".join(u.text for u in tone_utterances), " ".join(t.text for t in ended)) < 0.2
    times = [time for t in ended for w in t.words for time in (w.start_s, w.end_s)]
    assert times == sorted(times) and times[-1] <= len(recording) / 16_000
    assert {t.text for t in ended} <= set(partials)


def test_many_streams_at_a_time_do_not_mix(student, recording):
    alone = fed(student.stream(), recording)
    one, other, found = student.stream(), student.stream(), []
    for first in range(0, len(recording), 4000):
        found += one.accept(recording[first : first + 4000])
        other.accept(recording[::-1][first : first + 4000])
    assert found + one.finish() == alone


def test_an_utterance_without_end_is_cut_and_none_of_its_words_lost(student, recording):
    loud = recording[np.abs(recording) > 0.002]
    found = fed(student.stream(EndPoints(most_s=1.0)), loud)
    assert len(found) > 3
    assert all(t.words[-1].end_s - t.words[0].start_s <= 1.2 for t in found)
    whole = fed(student.stream(EndPoints(most_s=1000.0)), loud)
    assert abs(sum(len(t.words) for t in found) - sum(len(t.words) for t in whole)) <= len(found)


def test_silence_makes_no_utterances_and_keeps_no_memory(student):
    rng, stream = np.random.default_rng(0), student.stream()
    for _ in range(40):
        assert stream.accept((0.001 * rng.standard_normal(16_000)).astype(np.float32)) == []
        assert sum(map(len, stream._audio)) < 16_000 and stream._frames < 40
    assert stream.finish() == [] and student.stream().finish() == []


def test_a_model_that_needs_whole_utterances_gets_them_at_pauses(trained, recording, tone_utterances, tmp_path):
    known = load_model(trained / "model")
    model = build_model(ModelConfig(num_layers=1, hidden_size=16, bidirectional=True), known.inventory, known.frontend)
    weights = known.state_dict()
    state = model.state_dict()
    for name in state:  # its backward direction is not listened to
        if name in weights and state[name].shape == weights[name].shape:
            state[name] = weights[name]
        elif name == "output.weight":
            state[name].zero_()[:, :16] = weights[name]
    model.load_state_dict(state)
    save_model(tmp_path / "model", model)
    teacher = asr_kd.load(tmp_path / "model", graph=trained / "graph")
    assert not teacher.is_live
    stream = teacher.stream()
    found = fed(stream, recording, [5000] * 30)
    assert stream.partial == []
    assert found == fed(teacher.stream(), recording)
    cutter = PauseCutter()
    utterances = cutter.accept(recording) + cutter.finish()
    assert len(utterances) >= len(tone_utterances)
    whole = [teacher.transcribe(wave_N) for _, wave_N in utterances]
    assert [t.text for t in found] == [t.text for t in whole if t.words]


def test_samples_that_are_not_numbers_are_refused(student):
    for wave in (np.array([0.0, np.nan]), np.array([np.inf]), np.zeros((10, 2))):
        with pytest.raises(ValueError, match="audio"):
            student.stream().accept(wave)


@pytest.mark.parametrize("corpus", ["an4", "speechocean762"])
def test_streams_of_real_speech_have_the_words_and_times_of_the_whole(data_root, trained, corpus):
    """This model says nothing sensible to speech, but it says it of every frame."""
    if not (data_root / corpus).is_dir():
        pytest.skip(f"{data_root} has no {corpus}/")
    student, rng = asr_kd.load(trained / "model", graph=trained / "graph"), np.random.default_rng(0)
    paths = sorted(audio_files(data_root / corpus)[0])[::100][:8]
    assert len(paths) == 8
    for path in paths:
        wave_N = read_audio(path)
        whole = student.transcribe(wave_N)
        (found,) = fed(student.stream(None), wave_N, np.exp(rng.uniform(np.log(16), np.log(80_000), 30)))
        assert [(w.word, w.start_s, w.end_s) for w in found.words] == [
            (w.word, w.start_s, w.end_s) for w in whole.words
        ]
