"""recipes/mine on one's own audio: every command that it runs, to the table; and what it says of other data."""

import json
import re
import shutil
from pathlib import Path

import pytest

from asr_kd.cli import main
from asr_kd.corpora.manifest import Utterance
from recipes import ROOT, recipe_commands, run_recipe

pytestmark = pytest.mark.slow

PASSES = {"train": ["--set", "epochs=2"], "distill": ["--set", "schedule.epochs=2"]}
"""Fewer than in the recipe's configs."""


@pytest.fixture
def folder(tone_utterances: list[Utterance], tmp_path: Path) -> Path:
    """Six speakers with text, two utterances each."""
    root = tmp_path / "my calls"
    for number, u in enumerate(tone_utterances):
        speaker = root / f"s{number // 2}"
        speaker.mkdir(parents=True, exist_ok=True)
        shutil.copy(u.audio_filepath, speaker)
        (speaker / f"{u.id}.txt").write_text(f"{u.text}\n")
    return root


def test_a_folder_of_ones_own_goes_to_the_table(folder: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    for text in (folder / "s5").glob("*.txt"):  # a speaker without text, besides those whose text is hidden
        text.unlink()
    commands = recipe_commands("mine", folder, "--exp", tmp_path / "exp", "--labelled", "0.3")
    monkeypatch.chdir(ROOT)
    for verb, *arguments in commands:
        given = arguments.index("--set") if "--set" in arguments else len(arguments)  # the oracle's passes
        assert main([verb, *arguments[:given], *arguments[given + 2 :], *PASSES.get(verb, [])]) == 0
    scores = json.loads((tmp_path / "exp/scores/scores.json").read_text())
    assert list(scores["systems"]) == ["teacher", "student_labelled_only", "student_distilled", "student_oracle"]
    shown = capsys.readouterr().out
    assert "95% interval" in shown and "WERR %" in shown and "recovery %" in shown
    assert json.loads((tmp_path / "exp/results.json").read_text())["student"] == "student_distilled"
    assert (tmp_path / "exp/report.html").stat().st_size > 10_000


def test_there_is_an_oracle_only_where_text_was_hidden() -> None:
    data = ROOT / "docs"  # a dry run opens nothing
    titles = lambda *options: set(
        re.findall(r"^stage \d+  (.*)$", run_recipe("mine", data, "--dry-run", *options).stdout, re.M)
    )
    oracle = {"reference shards", "reference alignments", "oracle student"}
    oracle |= {"tune student_oracle", "decode student_oracle"}
    assert titles("--labelled", "0.3") - titles() == oracle
    assert not [
        word for command in recipe_commands("mine", data) for word in command if "oracle" in word or "reference" in word
    ]


def test_a_manifest_is_taken_too_and_paths_are_relative_to_the_caller(tmp_path: Path) -> None:
    (tmp_path / "all.jsonl").write_text("")
    shown = run_recipe("mine", "all.jsonl", "--dry-run", cwd=tmp_path).stdout
    assert f"prepare manifest {tmp_path}/all.jsonl " in shown


@pytest.mark.parametrize(
    "arguments, says",
    [
        ([], "nothing given: Give a folder of audio or a manifest"),
        (["/no/such"], "/no/such: no such file or folder"),
        (["/tmp", "/usr"], "/usr: unknown option"),
    ],
)
def test_a_wrong_path_is_one_line(arguments: list[str], says: str) -> None:
    result = run_recipe("mine", *arguments)
    assert result.returncode == 2
    assert says in result.stderr and result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "keep_text, says",
    [
        (12, "all audio has text. Add some without, or hide some: --labelled 0.2"),
        (2, "too little has text"),
        (0, "too"),
    ],
)
def test_data_that_cannot_be_distilled_is_one_line(keep_text: int, says: str, folder: Path, tmp_path: Path) -> None:
    for text in sorted(folder.rglob("*.txt"))[keep_text:]:
        text.unlink()
    result = run_recipe("mine", folder, "--exp", tmp_path / "exp")
    assert result.returncode == 2
    assert says in result.stderr and result.stderr.startswith(f"mine: {folder}: ")


def test_paths_of_no_labels_are_relative_to_the_caller_and_checked_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "audio").mkdir()
    (tmp_path / "tiny").mkdir()
    (tmp_path / "refs.jsonl").touch()
    recipe = ("no_labels", "audio", "--dry-run", "--exp", "exp")
    shown = run_recipe(*recipe, "--references", "refs.jsonl", "--whisper", "tiny", cwd=tmp_path).stdout
    assert f"--references {tmp_path}/refs.jsonl" in shown and f"whisper:{tmp_path}/tiny" in shown
    assert "whisper:small.en" in run_recipe(*recipe, "--whisper", "small.en", cwd=tmp_path).stdout
    for option, value in (("--references", "none.jsonl"), ("--keep", "0"), ("--keep", "1.5"), ("--keep", "80%")):
        refused = run_recipe(*recipe, option, value, cwd=tmp_path)
        assert refused.returncode == 2 and f"{option} {value}: " in refused.stderr
