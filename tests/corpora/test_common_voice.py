"""Common Voice and LJSpeech: official parts, what becomes unlabelled, what is left out; nothing is lost silently."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr_kd.cli import main
from asr_kd.corpora.audio import read_audio
from asr_kd.corpora.manifest import read_manifest

COLUMNS = ("client_id", "path", "sentence", "up_votes", "down_votes", "age", "gender", "accents", "locale", "segment")


def clip(path: Path, seconds: float = 0.6, rate: int = 16000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.3 * np.sin(0.1 * np.arange(round(seconds * rate))), rate)


def parts_of(out: Path) -> tuple[dict[str, list], dict[str, str]]:
    """Utterances by manifest, and reasons of the rejected by id."""
    parts = {p.stem: list(read_manifest(p)) for p in out.glob("*.jsonl") if p.stem != "rejected"}
    rejected = out / "rejected.jsonl"
    lines = rejected.read_text().splitlines() if rejected.exists() else []
    return parts, {row["id"]: row["error"] for row in map(json.loads, lines)}


@pytest.fixture(scope="module")
def german(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a language: 12 clips by 6 speakers, in all lists."""
    folder = tmp_path_factory.mktemp("cv") / "cv-corpus-99.0" / "de"
    lists: dict[str, list[tuple[str, str, str]]] = {
        "train": [("ann", "t1", "Grüß Gott"), ("ann", "t2", '"Schön", sagte er'), ("bob", "t3", "Drei")],
        "dev": [("cat", "d1", "Ja")],
        "test": [("dan", "e1", "Nein"), ("dan", "gone", "Fehlt")],
        "validated": [("ann", "t1", "Grüß Gott"), ("ann", "v1", 'Noch "eins'), ("dan", "v2", "Auch geprüft")],
        "other": [("eve", "o1", "Ungeprüft"), ("eve", "o2", "Noch eins")],
        "invalidated": [("fay", "i1", "Falsch")],
    }
    for name, rows in lists.items():
        lines = ["\t".join(COLUMNS)]
        for who, path, text in rows:
            lines.append("\t".join((who, f"{path}.mp3", text, "2", "0", "", "female", "", "de", "")))
            if path != "gone":
                clip(folder / "clips" / f"{path}.mp3")
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n")
    clip(folder / "clips" / "stray.mp3")
    (folder / "clips" / "o2.mp3").write_bytes(b"no audio at all")
    with open(folder / "train.tsv", "a") as f:
        f.write("broken line\n")
    return folder


def test_official_parts_and_the_rest_without_text(german, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["prepare", "common-voice", str(german.parent), "--out", str(out), "--max-skipped", "0.5"]) == 0
    parts, rejected = parts_of(out)
    texts = {name: {u.id: u.text for u in utterances} for name, utterances in parts.items()}
    assert texts["labelled"] == {"t1": "GRÜẞ GOTT", "t2": "SCHÖN SAGTE ER", "t3": "DREI"}
    assert texts["dev"] == {"d1": "JA"} and texts["test"] == {"e1": "NEIN"}
    assert texts["unlabelled"] == {"v1": None, "o1": None} and texts["unlabelled_references"] == {"v1": "NOCH EINS"}
    first = parts["labelled"][0]
    assert first.meta == {"gender": "female", "up_votes": 2, "down_votes": 0, "lang": "de"}
    assert (first.speaker, first.duration) == ("ann", pytest.approx(0.6, abs=0.1))
    assert len(read_audio(first.audio_filepath)) == pytest.approx(first.duration * 16000, abs=2)
    assert set(rejected) == {"gone", "o2", "stray", "train-5"}
    assert "1 values for 10 columns" in rejected["train-5"] and "no list has it" in rejected["stray"]
    said = capsys.readouterr().err
    assert "clips left out: 1 of invalidated.tsv" in said
    assert "1 utterances without text" in said and "dev: 1 speakers, none of them in train" in said  # v2 is of dan


def test_the_text_of_some_speakers_of_train_is_hidden_where_that_is_asked(german, tmp_path):
    given = ["--labelled-fraction", "0.4", "--unlabelled", "none", "--max-skipped", "0.9"]
    assert main(["prepare", "common-voice", str(german), "--out", str(tmp_path / "out"), *given]) == 0
    parts, _ = parts_of(tmp_path / "out")
    assert {u.speaker for u in parts["labelled"]} | {u.speaker for u in parts["unlabelled"]} == {"ann", "bob"}
    assert {u.id for u in parts["unlabelled"]} == {u.id for u in parts["unlabelled_references"]}


def test_a_folder_of_several_languages_asks_for_one(german, tmp_path, capsys):
    for name in ("de", "fr"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.tsv").write_text("x\n")
    assert main(["prepare", "common-voice", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "holds 2 languages (de, fr)" in capsys.readouterr().err


def test_ljspeech_takes_the_spelt_text_and_lists_lines_that_cannot_be_used(tmp_path):
    root = tmp_path / "LJ"
    for name in ("LJ-1", "LJ-2", "LJ-3", "more/x"):
        clip(root / "wavs" / f"{name}.wav")
    lines = ["LJ-1|In 1994,|In nineteen ninety-four,", 'LJ-2|He said "no".|', "LJ-9|lost|lost", "LJ-1|again", "alone"]
    (root / "metadata.csv").write_text("\n".join([*lines, "../../etc/x|out"]))
    given = ["--dev-fraction", "0", "--max-skipped", "0.9"]
    assert main(["prepare", "ljspeech", str(root), "--out", str(tmp_path / "out"), *given]) == 0
    parts, rejected = parts_of(tmp_path / "out")
    assert {u.id: u.text for u in parts["labelled"]} == {"LJ-1": "IN NINETEEN NINETY FOUR", "LJ-2": "HE SAID NO"}
    assert {u.id for u in parts["unlabelled"]} == {"LJ-3", "more-x"}
    assert set(rejected) == {"LJ-9", "metadata-4", "metadata-5", "metadata-6"}
    assert "leads out of wavs/" in rejected["metadata-6"]


def test_a_clip_that_is_twice_in_one_list_costs_that_line(tmp_path):
    folder = tmp_path / "cv"
    for name in ("c1.mp3", "c1.wav", "c2.mp3"):
        clip(folder / "clips" / name)
    rows = [("ann", "c1.mp3", "One"), ("ann", "c1.mp3", "One"), ("ann", "c1.wav", "One"), ("bob", "c2.mp3", "Two")]
    (folder / "train.tsv").write_text(
        "\n".join("\t".join(r) for r in [("client_id", "path", "sentence"), *rows]) + "\n"
    )
    out = tmp_path / "out"
    assert main(["prepare", "common-voice", str(folder), "--out", str(out), "--max-skipped", "0.6"]) == 0
    parts, rejected = parts_of(out)
    assert [u.id for u in parts["labelled"]] == ["c1", "c2"]
    assert "line 3, c1.mp3 is listed a second time" in rejected["c1.mp3 of train"]
    assert "line 4, c1.wav has the id of c1.mp3" in rejected["c1.wav of train"]
