"""Prunes an n-gram model to a size: leaves out the entries whose loss changes it least.

Source: Stolcke, "Entropy-based pruning of backoff language models", 1998 (arXiv cs/0006025).
"""

import numpy as np

from asr_kd.graph.ngram import BOS, EOS
from asr_kd.graph.ngram_arrays import NgramArrays


def pruned(model: NgramArrays, threshold: float = 0.0, max_ngrams: int | None = None) -> NgramArrays:
    """Without the entries that raise the model's perplexity, on text of its own, by less than a share of `threshold`.

    max_ngrams: of all orders together; the threshold is raised until so many are left. Unigrams stay, and what is the
    context of an entry that stays. The changes are those of single entries of the whole model. ValueError when there
    are more unigrams than that.
    """
    if threshold < 0:
        raise ValueError(f"--prune {threshold:g}: a share of the perplexity such as 1e-8, at least 0")
    changes = [np.expm1(np.maximum(_entropy_changes(model, k), 0.0)) for k in range(2, model.order + 1)]
    if max_ngrams is not None:
        unigrams = len(model.orders[0])
        if max_ngrams < unigrams:
            raise ValueError(f"--max-ngrams {max_ngrams}: there are {unigrams} words. Lower --vocabulary.")
        if len(model) > max_ngrams:
            steps = np.unique(np.concatenate(changes))
            low, high = 0, len(steps)  # above steps[high - 1], all go
            while low < high:
                middle = (low + high) // 2
                left = unigrams + sum(int(kept_N.sum()) for kept_N in _kept(model, changes, steps[middle]))
                low, high = (low, middle) if left <= max_ngrams else (middle + 1, high)
            threshold = max(threshold, float(steps[low]) if low < len(steps) else np.inf)
    kept = _kept(model, changes, threshold)
    if all(kept_N.all() for kept_N in kept):
        return model
    grams, log_p = [model.grams(1)], [model.orders[0].log_p_N]
    for k, kept_N in enumerate(kept, 2):
        if kept_N.any():
            grams.append(model.grams(k)[kept_N])
            log_p.append(model.orders[k - 1].log_p_N[kept_N])
    return NgramArrays.of_grams(model.words, grams, log_p)


def _kept(model: NgramArrays, changes: list[np.ndarray], threshold: float) -> list[np.ndarray]:
    """Of each order from 2 up, which entries stay: (N,) of bool."""
    kept: list[np.ndarray] = []
    for k in range(model.order, 1, -1):
        kept_N = changes[k - 2] > threshold if threshold > 0 else np.ones(len(changes[k - 2]), bool)
        if kept:
            kept_N[model.orders[k].context_N[kept[0]]] = True
        kept.insert(0, kept_N)
    return kept


def _entropy_changes(model: NgramArrays, k: int) -> np.ndarray:
    """Relative entropy, in nats, between the model and the model without each entry of order k."""
    order = model.orders[k - 1]
    context_N = order.context_N
    p_N = 10.0**order.log_p_N
    below_N = 10.0 ** model.score(model.grams(k)[:, 1:])
    left_N, left_below_N = model.left_masses(k)
    weight_N = left_N / left_below_N
    new_weight_N = (left_N[context_N] + p_N) / (left_below_N[context_N] + below_N)
    moved_N = np.log(new_weight_N / weight_N[context_N])
    lost_N = p_N * (np.log(np.maximum(below_N, 1e-99)) + np.log(new_weight_N) - np.log(np.maximum(p_N, 1e-99)))
    return -np.exp(_log_contexts(model, k - 1))[context_N] * (lost_N + left_N[context_N] * moved_N)


def _log_contexts(model: NgramArrays, k: int) -> np.ndarray:
    """ln P of the words of each entry of order k one after the other; a sentence begins as often as one ends."""
    order = model.orders[k - 1]
    log_p_N = order.log_p_N * np.log(10)
    if k > 1:
        return _log_contexts(model, k - 1)[order.context_N] + log_p_N
    if BOS in model.ids and EOS in model.ids:
        log_p_N = log_p_N.copy()
        log_p_N[model.ids[BOS]] = log_p_N[model.ids[EOS]]
    return log_p_N
