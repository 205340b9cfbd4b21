import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from asr_kd.corpora.synthetic_text import draw_sentence, draw_sentence_of, part_of_sentence, pronunciations, vocabulary
from asr_kd.corpora.text import normalise


@given(seed=st.integers(0, 2**32))
def test_sentences_are_normal_and_within_the_vocabulary(seed):
    sentence = draw_sentence(np.random.default_rng(seed))
    assert sentence == normalise(sentence) != ""
    assert set(sentence.split()) <= set(vocabulary())


@given(seed=st.integers(0, 2**32), part=st.sampled_from(["train", "dev", "test"]))
def test_a_sentence_belongs_to_one_part(seed, part):
    assert part_of_sentence(draw_sentence_of(part, np.random.default_rng(seed))) == part


def test_grammar_is_varied():
    rng = np.random.default_rng(0)
    sentences = [draw_sentence(rng) for _ in range(2000)]
    assert len(set(sentences)) > 1400
    assert 250 <= len(vocabulary()) <= 400


def test_every_word_has_pronunciations_without_stress():
    spelled = pronunciations(vocabulary())
    assert {word for word, _ in spelled} == set(vocabulary())
    assert len(spelled) == len(set(spelled))
    assert all(phones and all(p.isalpha() and p.isupper() for p in phones) for _, phones in spelled)
