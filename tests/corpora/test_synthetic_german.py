"""The second language of the synthetic corpus: what is said, how it is pronounced, what its manifests say."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_kd.cli import main
from asr_kd.corpora.synthetic_text import draw_sentence, pronunciations, vocabulary
from asr_kd.corpora.text import normalise
from asr_kd.inventory.lexicon import Lexicon

pytest.importorskip("espeakng_loader", reason="needs the extra voices")
pytest.importorskip("num2words", reason="needs the extra languages")
WORDS = set(vocabulary("de"))


@given(seed=st.integers(0, 2**32))
@settings(max_examples=50, deadline=None)
def test_sentences_are_normal_without_digits_and_within_the_vocabulary(seed: int):
    sentence = draw_sentence(np.random.default_rng(seed), "de")
    assert sentence == normalise(sentence, "de") != ""
    assert not any(c.isdigit() for c in sentence) and set(sentence.split()) <= WORDS


def test_every_word_has_one_pronunciation_and_the_words_have_umlauts_and_sharp_s():
    assert [word for word, _ in pronunciations(sorted(WORDS), "de")] == sorted(WORDS)
    assert {"GIEẞEN", "GRÜN", "KÜCHE", "EINUNDZWANZIG", "KOMMA"} <= WORDS


def test_the_manifests_are_german(tmp_path):
    sizes = ["--labelled-minutes", "0.05", "--dev-minutes", "0", "--unlabelled-minutes", "0", "--test-utterances", "1"]
    assert main(["prepare", "synthetic", "--language", "de", *sizes, "--out", str(tmp_path)]) == 0
    lines = [json.loads(line) for name in ("labelled", "test") for line in (tmp_path / f"{name}.jsonl").open()]
    assert {line["lang"] for line in lines} == {"de"} and {line["meta"]["group"] for line in lines} == {"de"}
    assert all(word in Lexicon.read(tmp_path / "lexicon.txt") for line in lines for word in line["text"].split())


def test_a_language_without_a_grammar_is_refused(tmp_path, capsys):
    assert main(["prepare", "synthetic", "--language", "fr", "--out", str(tmp_path)]) == 2
    assert "the voices speak en and de" in capsys.readouterr().err
