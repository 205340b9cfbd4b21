"""tests/stress/streaming.py and long_audio.py, made small: a model that knows the tones, half a minute of them."""

from pathlib import Path

import long_audio
import numpy as np
import pytest
import soundfile
import streaming

import asr_kd


def test_streams_in_random_pieces_have_the_words_of_the_whole(trained, tone_utterances):
    student = asr_kd.load(trained / "model", graph=trained / "graph", precision="float32")
    rng = np.random.default_rng(0)
    waves = [soundfile.read(u.audio_filepath, dtype="float32")[0] for u in tone_utterances]
    found = streaming.compare(student, waves, rng) | streaming.with_end_points(student, waves, rng)
    assert found["words"] == sum(len(u.text.split()) for u in tone_utterances)
    assert found["utterances_with_other_words"] == found["utterances_with_other_times"] == 0
    assert found["largest_difference_of_confidence"] < 1e-3
    assert found["utterances_found"] > 1 and found["of_them_other_bits"] == 0


@pytest.mark.slow
def test_long_audio_takes_the_memory_of_its_first_minutes_and_its_words_do_not_depend_on_the_way_in(
    trained, tone_utterances, tmp_path
):
    rng = np.random.default_rng(0)
    folder = Path(tone_utterances[0].audio_filepath).parent
    wave_N = long_audio.recording([folder], 1.0, rng)
    found = long_audio.measure(str(trained / "model"), ["--graph", str(trained / "graph")], wave_N, 0.1, tmp_path, rng)
    assert found["minutes"] == 1.0 and found["words"] > 20
    assert found["subtitles_have_the_words_of_the_pipe"] and found["stream_has_the_words_of_the_pipe"]
    assert max(found["file_ratio"], found["pipe_ratio"]) < long_audio.MOST_MEMORY
