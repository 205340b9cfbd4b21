"""recipes/librispeech on a small corpus in the layout of LibriSpeech: every command, to the table; on several ranks."""

import json
import shutil
from pathlib import Path

import pytest

from asr_kd.cli import main
from asr_kd.corpora.manifest import Utterance
from recipes import ROOT, recipe_commands, run_recipe

pytestmark = pytest.mark.slow

SPEAKERS = {
    "train-clean-100": ("19", "26"),
    "train-clean-360": ("27", "28"),
    "train-other-500": ("29",),
    "dev-clean": ("30",),
    "dev-other": ("31",),
    "test-clean": ("32",),
    "test-other": ("33",),
}
CONF = ROOT / "recipes/librispeech/conf_tiny"


def _chapter(folder: Path, speaker: str, utterances: list[Utterance]) -> None:
    chapter = folder / speaker / "7"
    chapter.mkdir(parents=True)
    names = [f"{speaker}-7-{number:04d}" for number in range(len(utterances))]
    for name, u in zip(names, utterances, strict=True):
        shutil.copy(u.audio_filepath, chapter / f"{name}.flac")
    lines = [f"{name} {u.text}\n" for name, u in zip(names, utterances, strict=True)]
    (chapter / f"{speaker}-7.trans.txt").write_text("".join(lines))


@pytest.fixture(scope="module")
def root(tone_utterances: list[Utterance], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven subsets of tones, and twelve utterances of train-clean-100 in the limited set of Libri-Light."""
    root = tmp_path_factory.mktemp("corpora")
    for subset, speakers in SPEAKERS.items():
        for speaker in speakers:
            _chapter(root / "LibriSpeech" / subset, speaker, tone_utterances)
    limited = root / "librispeech_finetuning/9h/clean"
    shutil.copytree(root / "LibriSpeech/train-clean-100/19", limited / "19")
    return root


def test_the_recipe_goes_from_the_corpus_to_the_table(root: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    commands = recipe_commands(
        "librispeech", "--exp", tmp_path / "exp", "--conf", CONF, LIBRISPEECH_ROOT=str(root), PYTHONPATH=str(ROOT)
    )
    monkeypatch.chdir(ROOT)
    for words in commands:
        assert main(words) == 0, words
    scores = json.loads((tmp_path / "exp/scores/scores.json").read_text())
    assert list(scores["systems"])[-3:] == ["student_labelled_only", "student_distilled", "student_oracle"]
    shown = capsys.readouterr().out
    assert "test-clean" in shown and "test-other" in shown and "recovery %" in shown


def test_ten_hours_of_libri_light_leave_the_rest_of_librispeech_without_text(root: Path, tmp_path: Path) -> None:
    manifests, *_ = recipe_commands(
        "librispeech",
        *("--labelled", "10h", "--exp", tmp_path / "exp"),
        LIBRISPEECH_ROOT=str(root),
        LIBRILIGHT_ROOT=str(root),
    )
    assert main(manifests) == 0
    ids = {
        part: {json.loads(line)["id"] for line in (tmp_path / f"exp/manifests/{part}.jsonl").open()}
        for part in ("labelled", "unlabelled", "unlabelled_references", "dev", "test")
    }
    assert {name.split("-")[0] for name in ids["labelled"]} == {"19"}
    assert {name.split("-")[0] for name in ids["unlabelled"]} == {"26", "27", "28", "29"}
    assert ids["unlabelled"] == ids["unlabelled_references"]


def test_subsets_of_librispeech_need_its_folder(root: Path, tmp_path: Path, capsys) -> None:
    command = ["prepare", "librilight", str(root), "--unlabelled-subsets", "train-clean-360", "--out", str(tmp_path)]
    assert main(command) != 0
    assert "--librispeech" in capsys.readouterr().err


def test_with_ranks_all_training_is_started_by_torchrun_and_with_ray_all_labelling_on_it() -> None:
    shown = run_recipe("librispeech", "--dry-run", "--ranks", "4", "--ray").stdout.splitlines()
    trained = [line for line in shown if " asr-kd train " in line or " asr-kd distill " in line]
    labelled = [line for line in shown if " asr-kd label " in line]
    assert len(trained) == 5 and all("--nproc-per-node 4 --no-python asr-kd" in line for line in trained)
    assert len(labelled) == 2 and all(line.endswith("--backend ray") for line in labelled)


def test_configs_of_ones_own_must_be_there(tmp_path: Path) -> None:
    result = run_recipe("librispeech", "--dry-run", "--conf", tmp_path / "none")
    assert result.returncode == 2 and "none: no such folder" in result.stderr


def test_its_finished_language_model_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "3-gram.pruned.3e-7.arpa.gz").touch()
    lines = run_recipe("librispeech", "--dry-run", LIBRISPEECH_ROOT=str(tmp_path)).stdout.splitlines()
    (graph,) = [line for line in lines if " asr-kd graph " in line]
    assert f"--arpa {tmp_path}/3-gram.pruned.3e-7.arpa.gz" in graph and "labelled.jsonl" not in graph
    assert "labelled.jsonl" in run_recipe("librispeech", "--dry-run").stdout


def test_a_general_language_model_beside_it_is_interpolated(tmp_path: Path) -> None:
    (tmp_path / "3-gram.pruned.3e-7.arpa.gz").touch()
    shown = run_recipe(
        "librispeech", "--dry-run", "--arpa", "pocketsphinx:en-us", LIBRISPEECH_ROOT=str(tmp_path)
    ).stdout
    (graph,) = [line for line in shown.splitlines() if " asr-kd graph " in line]
    assert "labelled.jsonl" in graph and "--arpa pocketsphinx:en-us" in graph
