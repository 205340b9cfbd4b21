"""recipes/common_voice on a small folder in the layout of Common Voice: every command, to the table."""

import json
import shutil
from pathlib import Path

import pytest
import soundfile
from any_corpora import Spoken, common_voice

from asr_kd.cli import main
from asr_kd.corpora.manifest import Utterance
from recipes import ROOT, recipe_commands

pytestmark = pytest.mark.slow


def test_the_recipe_goes_from_the_folder_to_the_table(
    tone_utterances: list[Utterance], tmp_path: Path, monkeypatch, capsys
) -> None:
    waves = [(str(u.text), soundfile.read(u.audio_filepath, dtype="float32")[0]) for u in tone_utterances]
    speech = [Spoken(text, f"speaker {n}", wave_N) for n in range(6) for text, wave_N in waves]
    folder = tmp_path / "en"
    folder.mkdir()
    common_voice(speech, folder, "en")
    conf = Path(shutil.copytree(ROOT / "recipes/librispeech/conf_tiny", tmp_path / "conf"))
    (conf / "shard.yaml").write_text("minutes: 0.1\n")  # two lanes need two shards
    options = ["--labelled", "0.5", "--exp", tmp_path / "exp", "--conf", conf]
    commands = recipe_commands("common_voice", folder, *options)
    monkeypatch.chdir(ROOT)
    for words in commands:
        assert main(words) == 0, words
    scores = json.loads((tmp_path / "exp/scores/scores.json").read_text())
    assert list(scores["systems"])[-3:] == ["student_labelled_only", "student_distilled", "student_oracle"]
    assert "recovery %" in capsys.readouterr().out
    damaged = [json.loads(line) for line in (tmp_path / "exp/manifests/rejected.jsonl").open()]
    assert len(damaged) == 7 and all(row["error"] for row in damaged)
