import gzip
import json
import subprocess
import sys

import numpy as np
import pytest

from asr_kd.cli import main
from asr_kd.graph.graph import load_graph
from asr_kd.graph.ngram import read_arpa, train_ngram
from asr_kd.graph.search import Decoder, SearchConfig
from asr_kd.inventory.senones import NO_PHONE, Senones

LEXICON = "A AH0\nBEE B IY1\nSEA S IY1\nSEE S IY1\n"
INVENTORY = Senones.monophone(["SIL", "AH", "B", "IY", "S", "_Q"])


@pytest.fixture
def parts(tmp_path):
    """An inventory, a lexicon, a text and a labelled manifest of the same sentences."""
    INVENTORY.save(tmp_path / "align" / "inventory.json")
    (tmp_path / "lexicon.txt").write_text(LEXICON)
    sentences = ["see a bee", "A bee!", "", "sea"]
    (tmp_path / "text.txt").write_text("\n".join(sentences) + "\n")
    lines = [{"id": f"u{i}", "audio_filepath": "a.wav", "duration": 1.0, "text": s} for i, s in enumerate(sentences)]
    lines.append({"id": "unlabelled", "audio_filepath": "a.wav", "duration": 1.0})
    (tmp_path / "labelled.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def graph(parts, *args, out="graph"):
    options = ["--lexicon", str(parts / "lexicon.txt"), "--inventory", str(parts / "align")]
    return main(["graph", *map(str, args), *options, "--out", str(parts / out)])


def recognise(folder, phones):
    loaded = load_graph(folder)
    numbers = [INVENTORY.phones.index(p) for p in phones]
    classes = [c for n in numbers for c in INVENTORY.senones(NO_PHONE, n, NO_PHONE)]
    score_TC = np.where(np.arange(INVENTORY.num_classes) == np.array(classes)[:, None], 0.0, -50.0)
    path = Decoder(loaded.fst, SearchConfig(beam=40.0)).best(score_TC)
    return [loaded.words[w] for w in path.words]


def test_a_graph_recognises_the_sentences_of_a_manifest(parts):
    assert graph(parts, parts / "labelled.jsonl") == 0
    assert recognise(parts / "graph", ["S", "IY", "AH", "SIL", "B", "IY"]) == ["SEE", "A", "BEE"]
    loaded = load_graph(parts / "graph")
    assert loaded.inventory == INVENTORY.fingerprint
    loaded.check(INVENTORY, "model")
    assert read_arpa(parts / "graph" / "lm.arpa").vocabulary == {"A", "BEE", "SEA", "SEE", "</s>"}


def test_text_and_manifest_of_the_same_sentences_give_the_same_graph(parts):
    assert graph(parts, parts / "labelled.jsonl", out="a") == graph(parts, parts / "text.txt", out="b") == 0
    assert load_graph(parts / "a").fingerprint == load_graph(parts / "b").fingerprint
    graph(parts, parts / "text.txt", "--order", "1", out="c")
    assert load_graph(parts / "c").fingerprint != load_graph(parts / "a").fingerprint


def test_words_of_the_text_that_the_lexicon_lacks_are_pronounced_by_rule(parts, capsys):
    (parts / "text.txt").write_text("see q q\n")
    (parts / "lexicon.txt").write_text("A AH\nQ _Q\n")
    assert graph(parts, parts / "text.txt") == 0
    assert "1 words of the text are not in" in capsys.readouterr().err
    assert recognise(parts / "graph", ["S", "IY", "_Q"]) == ["SEE", "Q"]


def test_a_language_model_of_ones_own_is_taken_and_what_it_loses_is_told(parts, capsys):
    arpa = parts / "own.arpa"
    arpa.write_text("\\data\\\nngram 1=4\n\n\\1-grams:\n-1\t</s>\n-99\t<s>\n-0.5\tBEE\n-0.5\tOWL\n\n\\end\\\n")
    assert graph(parts, "--arpa", arpa) == 0
    told = capsys.readouterr().err
    assert "1 words of the language model have no pronunciation" in told
    assert "3 words of the lexicon are not in the language model" in told
    assert recognise(parts / "graph", ["B", "IY"]) == ["BEE"]
    assert read_arpa(parts / "graph" / "lm.arpa").grams == read_arpa(arpa).grams, "what was compiled stands there"


@pytest.mark.parametrize(
    ("arpa", "message"),
    [
        (None, "no such file"),
        ("this is no language model\n", "cut short or not ARPA"),
        ("\\data\\\nngram 1=2\n\n\\1-grams:\n-1 </s>\n-1 BEE\n\n\\end\\\n", "has no unigram <s>"),
        ("\\data\\\nngram 1=2\n\n\\1-grams:\n-9 <s>\n-1 BEE\n\n\\end\\\n", "has no unigram </s>"),
        ("\\data\\\nngram 1=3\n\n\\1-grams:\n-9 <s>\n-1 </s>\n-1 bee\n\n\\end\\\n", "shares no word with the lexicon"),
    ],
)
def test_a_language_model_that_cannot_be_compiled_is_refused_by_name(parts, capsys, arpa, message):
    if arpa is not None:
        (parts / "own.arpa").write_text(arpa)
    assert graph(parts, "--arpa", parts / "own.arpa") == 2
    told = capsys.readouterr().err
    assert f"{parts / 'own.arpa'}: {message}" in told and told.count("\n") == 1
    assert not (parts / "graph").exists()


def test_without_text_and_language_model_nothing_is_built(parts, capsys):
    assert graph(parts) == 2
    assert "give labelled text to train a language model on, or --arpa FILE, or both" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [("\n\n", "holds no text to train"), (None, "no such file"), ("-", "holds no text")],
)
def test_a_text_without_words_is_refused_by_name(parts, capsys, content, message):
    (parts / "text.txt").unlink() if content is None else (parts / "text.txt").write_text(content)
    assert graph(parts, parts / "text.txt") == 2
    assert f"{parts / 'text.txt'}: {message}" in capsys.readouterr().err


def test_a_phone_that_the_inventory_lacks_is_refused(parts, capsys):
    (parts / "lexicon.txt").write_text(LEXICON + "ZOO Z UW\n")
    assert graph(parts, parts / "text.txt") == 2
    assert "ZOO has phone Z, which the inventory lacks" in capsys.readouterr().err


def test_another_inventory_is_refused_with_both_names(parts):
    graph(parts, parts / "text.txt")
    other = Senones.monophone(INVENTORY.phones, states=3)
    with pytest.raises(ValueError, match=f"exp/model: .*{other.fingerprint[:8]}.*{INVENTORY.fingerprint[:8]}"):
        load_graph(parts / "graph").check(other, "exp/model")


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("HCLG.fst", lambda b: b[:-1], "HCLG.fst: missing, or not the file"),
        ("HCLG.fst", lambda b: b[:100] + bytes([b[100] ^ 1]) + b[101:], "HCLG.fst: missing, or not the file"),
        ("graph.json", lambda b: b[:-5], "graph.json: not valid JSON"),
        ("graph.json", lambda b: b"{}", "graph.json: not written by `asr-kd graph`"),
        ("graph.json", lambda b: b"[]", "graph.json: not written by `asr-kd graph`"),
        ("graph.json", None, "graph.json: no such file"),
        ("HCLG.fst", None, "HCLG.fst: missing"),
    ],
)
def test_a_damaged_graph_is_refused_by_name(parts, name, damage, message):
    graph(parts, parts / "text.txt")
    file = parts / "graph" / name
    file.unlink() if damage is None else file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ValueError, match=message):
        load_graph(parts / "graph")


def test_hypotheses_are_text_to_learn_from_and_a_broken_line_is_named(parts, capsys):
    hypotheses = parts / "hyp.jsonl"
    hypotheses.write_text('{"id": "a", "text": "a bee"}\n{"id": "b", "text": ""}\n{"id": "c", "text": null}\n')
    assert graph(parts, hypotheses) == 0
    assert read_arpa(parts / "graph" / "lm.arpa").log10_prob("BEE", ["A"]) > -0.5
    for line, told in (("not JSON", "1: not valid JSON"), ('{"text": 7}', "1: text is 7; text or null")):
        hypotheses.write_text(line + "\n")
        assert graph(parts, hypotheses, out="other") == 2
        assert f"{hypotheses}:{told}" in capsys.readouterr().err


def test_classes_are_refused_beside_a_language_model_of_ones_own(parts, capsys):
    (parts / "classes.txt").write_text("INSECT BEE A\n")
    assert graph(parts, parts / "text.txt", "--word-classes", parts / "classes.txt") == 0
    plain = train_ngram(["see a bee"], ["A", "BEE", "SEA", "SEE"])
    assert read_arpa(parts / "graph" / "lm.arpa").log10_prob("A", ["A"]) > plain.log10_prob("A", ["A"])
    assert graph(parts, "--arpa", parts / "graph" / "lm.arpa", "--word-classes", parts / "classes.txt") == 2
    assert "an --arpa model is taken as it is" in capsys.readouterr().err


FULL_DISK = """
import resource, sys
from asr_kd.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
sys.exit(main(sys.argv[2:]))
"""


def test_a_graph_that_does_not_fit_on_the_disk_is_not_certified(parts):
    assert graph(parts, parts / "labelled.jsonl", out="whole") == 0
    sizes = {p.name: p.stat().st_size for p in (parts / "whole").iterdir()}
    room = sizes.pop("HCLG.fst") - 1
    assert max(sizes.values()) < room
    command = ["graph", parts / "labelled.jsonl", "--lexicon", parts / "lexicon.txt", "--inventory", parts / "align"]
    command = [sys.executable, "-c", FULL_DISK, str(room), *map(str, command), "--out", str(parts / "cut")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert ended.returncode == 2
    assert "HCLG.fst: could not be written whole" in ended.stderr
    assert [p.name for p in (parts / "cut").iterdir()] == ["lm.arpa"]


@pytest.mark.parametrize("name", ["nemo.json", "labelled.jsonl.gz", "labelled"])
def test_a_manifest_is_known_by_its_lines_whatever_its_name(parts, name):
    data = (parts / "labelled.jsonl").read_bytes()
    (parts / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    assert graph(parts, parts / name, out="a") == graph(parts, parts / "labelled.jsonl", out="b") == 0
    assert load_graph(parts / "a").fingerprint == load_graph(parts / "b").fingerprint
