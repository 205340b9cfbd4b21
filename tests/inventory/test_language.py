"""The language is chosen once, by `asr-kd prepare`, and carried; texts and models of two languages are refused."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from asr_kd.cli import main
from asr_kd.graph.graph import load_graph
from asr_kd.inventory.lexicon import Lexicon
from asr_kd.inventory.pronunciations import kind_of, pronouncer
from asr_kd.inventory.registry import inventory_from_dict, load_inventory
from asr_kd.inventory.senones import Senones
from asr_kd.inventory.tokens import Tokens

TEXTS = {"de": "die große Straße", "en": "the large street"}


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    """Manifests, shards and tokens of a German and an English corpus of one utterance."""
    root = tmp_path_factory.mktemp("languages")
    for language, text in TEXTS.items():
        (root / f"audio_{language}").mkdir()
        soundfile.write(root / f"audio_{language}/a.wav", np.random.default_rng(0).normal(0, 0.1, 16000), 16000)
        (root / f"audio_{language}/a.txt").write_text(text)
        manifests = root / language
        for command in (
            ["prepare", "folder", root / f"audio_{language}", "--language", language, "--dev-fraction", "0"],
            ["shard", manifests / "labelled.jsonl"],
            ["tokens", manifests / "labelled.jsonl", "--type", "characters"],
        ):
            out = manifests if command[0] == "prepare" else manifests / command[0]
            assert main([*map(str, command), "--out", str(out)]) == 0
    return root


def refused(capsys, *command) -> str:
    capsys.readouterr()
    assert main([str(word) for word in command]) == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_tokens_and_graph_are_of_the_manifest_s_language(corpora, tmp_path):
    tokens = load_inventory(corpora / "de/tokens")
    assert tokens.language == "de" and "ẞ" in tokens.symbols
    text = corpora / "de/labelled.jsonl"
    assert main(["graph", str(text), "--inventory", str(corpora / "de/tokens"), "--out", str(tmp_path)]) == 0
    assert load_graph(tmp_path).language == "de" and "STRAẞE" in load_graph(tmp_path).words


def test_plain_text_is_read_in_the_language_that_is_given(tmp_path):
    (tmp_path / "t.txt").write_text("ılık\n")
    command = ["tokens", str(tmp_path / "t.txt"), "--type", "characters", "--out", str(tmp_path / "tokens")]
    assert main([*command, "--language", "tr"]) == 0
    assert load_inventory(tmp_path / "tokens").symbols[1:] == ("▁", "I", "K", "L")
    assert load_inventory(tmp_path / "tokens").language == "tr"


def test_the_graph_refuses_text_of_another_language(corpora, tmp_path, capsys):
    text, inventory = corpora / "en/labelled.jsonl", corpora / "de/tokens"
    said = refused(capsys, "graph", text, "--inventory", inventory, "--out", tmp_path)
    assert "labelled.jsonl:1" in said and "English (en)" in said and "German (de)" in said


def test_training_refuses_text_of_another_language(corpora, tmp_path, capsys):
    shards, tokens = corpora / "en/shard/labelled", corpora / "de/tokens"
    said = refused(capsys, "train", shards, "--tokens", tokens, "--dev", shards, "--out", tmp_path)
    assert "English (en)" in said and "German (de)" in said and "shard-000000.tar" in said


def test_alignment_refuses_shards_of_two_languages_and_a_dictionary_of_another(corpora, tmp_path, capsys):
    shards = corpora / "de/shard/labelled"
    shutil.copytree(corpora / "en/shard/labelled", tmp_path / "english")
    said = refused(capsys, "align", shards, "--align-only", tmp_path / "english", "--out", tmp_path / "out")
    assert "German (de) and English (en)" in said
    said = refused(capsys, "align", shards, "--pronunciations", "cmudict", "--out", tmp_path / "out")
    assert "the texts are German (de), cmudict is English" in said


def _scored(root, tmp_path, language: str, notes: dict | None = None, *more: str) -> int:
    folder = tmp_path / "hyp"
    folder.mkdir(exist_ok=True)
    (folder / "hyp.jsonl").write_text(json.dumps({"id": "a", "text": "DIE GROSSE STRAẞE"}) + "\n")
    if notes is not None:
        (folder / "decode.json").write_text(json.dumps(notes))
    ref = root / language / "labelled.jsonl"
    return main(["score", "--ref", str(ref), "--hyp", f"x={folder}", "--out", str(tmp_path / "scores"), *more])


def test_scoring_is_in_the_language_of_the_references_and_refuses_hypotheses_of_another(corpora, tmp_path, capsys):
    assert _scored(corpora, tmp_path, "de", {"language": "de"}) == 0
    scores = json.loads((tmp_path / "scores/scores.json").read_text())
    assert (scores["language"], scores["measure"], scores["systems"]["x"]["errors"]) == ("de", "WER", 1)
    assert _scored(corpora, tmp_path, "en", {"language": "de"}) == 2
    said = capsys.readouterr().err
    assert "x was decoded in German (de)" in said and "is in English (en)" in said
    assert _scored(corpora, tmp_path, "de", {"language": "de"}, "--language", "fr") == 2
    assert "is in German (de)" in capsys.readouterr().err


def test_english_inventories_keep_their_description_and_others_say_their_language():
    english = Tokens(("A", "▁"))
    assert "language" not in english.to_dict() and inventory_from_dict(english.to_dict()).language == "en"
    for inventory in (replace(english, language="de"), replace(Senones.monophone(["SIL", "a"]), language="de")):
        again = inventory_from_dict(inventory.to_dict())
        assert again == inventory and again.language == "de"
        assert again.fingerprint != replace(inventory, language="en").fingerprint


def test_pronunciations_by_kind_and_language():
    assert pronouncer("auto", "hi")(["कि"]) == {"कि": ([("_क", "_ि")], "graphemes")}
    assert pronouncer("auto", "en")(["CAT"]) == {"CAT": ([("K", "AE", "T")], "cmudict")}
    pytest.importorskip("espeakng_loader")
    assert pronouncer("espeak", "de")(["JA"]) == {"JA": ([("j", "ɑː")], "espeak")}
    with pytest.raises(ValueError, match="espeak-ng has no pronunciations of Japanese"):
        pronouncer("espeak", "ja")
    phones = {"espeak": ["SIL", "ɑː", "j"], "graphemes": ["SIL", "_A"]}
    for kind, names in phones.items():
        assert kind_of(Senones.monophone(names, language="de")) == kind
    assert kind_of(Senones.monophone(["SIL", "AA", "_Q"])) == "cmudict"


def test_a_lexicon_in_small_letters_is_read_in_its_language():
    lexicon, added = Lexicon({"straße": [("a",)]}).extended(["STRAẞE"], pronouncer("graphemes", "de"), "de")
    assert lexicon.pronunciations == {"STRAẞE": [("a",)]} and not added
