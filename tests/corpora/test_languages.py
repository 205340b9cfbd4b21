"""Languages are named once, by their codes, and refused where they are not known."""

import json

import numpy as np
import pytest
import soundfile

from asr_kd.cli import main
from asr_kd.corpora.languages import LANGUAGES, language_code, language_of, one_language
from asr_kd.corpora.text import normalise


@pytest.mark.parametrize(
    ("tag", "code"),
    [
        ("de", "de"),
        ("pt-BR", "pt"),
        ("zh_Hant-TW", "zh"),
        ("cmn", "zh"),
        ("iw", "he"),
        (" EN-us ", "en"),
        ("nb", "no"),
        ("German", "de"),
    ],
)
def test_a_tag_is_known_by_its_first_part(tag: str, code: str):
    assert language_code(tag) == code


@pytest.mark.parametrize("tag", ["xx", "", "e", "englisch", "-de"])
def test_unknown_codes_are_refused_with_those_that_are_known(tag: str):
    with pytest.raises(ValueError, match=r"Known: af, am, .* zu\."):
        language_code(tag)
    with pytest.raises(ValueError, match="Known"):
        normalise("text", tag)


def test_more_than_a_hundred_languages_have_one_name_each():
    assert len(set(LANGUAGES.values())) == len(LANGUAGES) > 150


def test_texts_of_two_languages_are_refused_naming_both():
    assert one_language([], "x") == "en" and one_language(["de", "de"], "x") == "de"
    with pytest.raises(ValueError, match=r"x: .* German \(de\) and French \(fr\)"):
        one_language(["fr", "de"], "x")
    with pytest.raises(ValueError, match="7"):
        language_of({"lang": 7})


def test_prepare_notes_the_language_of_every_utterance_and_a_line_may_name_another(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(16000) + 0.1, 16000)
    lines = [
        {"id": name, "audio_filepath": "a.wav", "duration": 0.5, "text": "hallo", **more}
        for name, more in [("x", {}), ("y", {"lang": "fr-CA"}), ("z", {"lang": "??"}), ("w", {"lang": "en"})]
    ]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    command = ["prepare", "manifest", str(tmp_path / "m.jsonl"), "--dev-fraction", "0", "--max-skipped", "0.5"]
    assert main([*command, "--language", "de-AT", "--out", str(tmp_path / "out")]) == 0
    rows = [json.loads(line) for line in (tmp_path / "out/labelled.jsonl").read_text().splitlines()]
    assert {row["id"]: language_of(row.get("meta", {}) | row) for row in rows} == {"x": "de", "y": "fr", "w": "en"}
    assert "lang '??'" in (tmp_path / "out/rejected.jsonl").read_text()


def test_an_english_corpus_refuses_another_language(tmp_path, capsys):
    command = ["prepare", "an4", str(tmp_path), "--language", "de", "--out", str(tmp_path / "out")]
    assert main(command) == 2
    assert "the corpus is English (en)" in capsys.readouterr().err
