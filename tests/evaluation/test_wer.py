import jiwer
from hypothesis import given
from hypothesis import strategies as st

from asr_kd.evaluation.wer import columns, utterance_errors

words = st.lists(st.sampled_from(["one", "two", "three", "it's", "o"]), max_size=6).map(" ".join)
pairs = st.lists(st.tuples(words, words), min_size=1, max_size=8)


@given(pairs)
def test_totals_are_jiwers(pairs):
    refs, hyps = [r.upper() for r, _ in pairs], [h.upper() for _, h in pairs]
    if not any(refs):
        return
    scored = utterance_errors(refs, hyps)
    assert sum(e.errors for e in scored) / sum(e.words for e in scored) == jiwer.wer(refs, hyps)
    assert sum(e.char_errors for e in scored) / sum(e.chars for e in scored) == jiwer.cer(refs, hyps)


@given(words, words)
def test_alignment_spells_out_both_texts(ref, hyp):
    (e,) = utterance_errors([ref], [hyp])
    cols = list(columns(e.reference, e.hypothesis, e.path))
    assert " ".join(r for _, r, _ in cols if r is not None) == e.reference
    assert " ".join(h for _, _, h in cols if h is not None) == e.hypothesis
    assert all((r == h) == (symbol == "=") for symbol, r, h in cols)


def test_empty_reference_counts_insertions_and_no_words():
    (e,) = utterance_errors([""], ["one two"])
    assert (e.errors, e.words, e.path) == (2, 0, "II")


def test_empty_hypothesis_counts_deletions():
    (e,) = utterance_errors(["one two"], [" "])
    assert (e.errors, e.words, e.path) == (2, 2, "DD")


def test_case_and_punctuation_are_no_errors():
    (e,) = utterance_errors(["It's ONE, two!"], ["it's one two"])
    assert (e.errors, e.char_errors) == (0, 0)
