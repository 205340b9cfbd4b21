"""Interpolates a general n-gram model with one of your own text, with a given weight or the best for held-out text."""

from collections.abc import Iterable, Sequence

import numpy as np

from asr_kd.graph.ngram import BOS, EOS, LOG10_NEVER, Sentence, sentence_words
from asr_kd.graph.ngram_arrays import NgramArrays

EM_STEPS = 30
"""Of the weight; it moves by less than 0.001 well before."""


def interpolated(own: NgramArrays, general: NgramArrays, weight: float) -> NgramArrays:
    """P(w | h) = weight P_own(w | h) + (1 - weight) P_general(w | h) for the n-grams of both, as one back-off model.

    Its words are those of `own`; what `general` gives to other words is spread over them by restricting it first.
    ValueError unless the weight lies in (0, 1).
    """
    if not 0 < weight < 1:
        raise ValueError(f"--interpolate {weight:g}: the weight of your own text must lie between 0 and 1")
    to_general = np.array([general.ids.get(word, -1) for word in own.words] + [-1])
    to_own = np.array([own.ids.get(word, -1) for word in general.words], dtype=np.int64)
    grams, log_p = [], []
    for k in range(1, max(own.order, general.order) + 1):
        found = [own.grams(k)] if k <= own.order else []
        if k <= general.order:
            ids_Nk = to_own[general.grams(k)]
            found.append(ids_Nk[(ids_Nk >= 0).all(axis=1)])
        ids_Nk = np.unique(np.concatenate(found), axis=0)
        with np.errstate(divide="ignore"):
            mixed_N = np.log10(
                weight * 10.0 ** own.score(ids_Nk) + (1 - weight) * 10.0 ** general.score(to_general[ids_Nk])
            )
        grams.append(ids_Nk)
        log_p.append(np.maximum(mixed_N, LOG10_NEVER))
    return NgramArrays.of_grams(own.words, grams, log_p)


def best_weight(own: NgramArrays, general: NgramArrays, sentences: Iterable[Sentence]) -> float:
    """The weight of `own` under which held-out sentences are most likely (expectation maximisation).

    ValueError when none of their words is known.
    """
    sentences = list(sentences)
    of_own_N, of_general_N = (10.0 ** token_scores(model, sentences) for model in (own, general))
    known_N = of_own_N + of_general_N > 0
    if not known_N.any():
        raise ValueError("--held-out: no word of it is known")
    of_own_N, of_general_N = of_own_N[known_N], of_general_N[known_N]
    weight = 0.5
    for _ in range(EM_STEPS):
        weight = float(np.mean(weight * of_own_N / (weight * of_own_N + (1 - weight) * of_general_N)))
    return min(max(weight, 0.001), 0.999)


def token_scores(model: NgramArrays, sentences: Sequence[Sentence]) -> np.ndarray:
    """log10 probability of each word and sentence end, in order of length of its history; -inf for unknown words."""
    by_length: dict[int, list[list[int]]] = {}
    for sentence in sentences:
        ids = [model.ids.get(word, -1) for word in (BOS, *sentence_words(sentence), EOS)]
        for end in range(1, len(ids)):
            gram = ids[max(0, end + 1 - model.order) : end + 1]
            by_length.setdefault(len(gram), []).append(gram)
    return np.concatenate([model.score(np.array(grams)) for grams in by_length.values()] or [np.zeros(0)])


def perplexity_of(model: NgramArrays, sentences: Sequence[Sentence]) -> tuple[float, int]:
    """Perplexity of the known tokens of sentences, and the number of unknown words."""
    score_N = token_scores(model, sentences)
    known_N = np.isfinite(score_N)
    return float(10 ** -score_N[known_N].mean()), int((~known_N).sum())
