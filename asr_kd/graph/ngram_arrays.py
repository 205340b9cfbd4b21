"""N-gram models of millions of entries as arrays: scored, restricted to a vocabulary, given back-off weights.

An entry of order k is its context's place among the entries of order k - 1 and its last word; they are sorted by both.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from asr_kd.graph.ngram import BOS, LOG10_NEVER, NgramModel

SMALLEST_MASS = 1e-12
"""Of what a context leaves to words that it does not list; rounding may make it negative."""


@dataclass(frozen=True)
class Order:
    """Entries of one order, N of them, sorted by context and word."""

    context_N: np.ndarray
    """Place of the first k - 1 words among the entries of the order below; 0 for unigrams."""
    word_N: np.ndarray
    """Id of the last word."""
    log_p_N: np.ndarray
    """log10 P(word | context)."""
    log_b_N: np.ndarray
    """log10 of the back-off weight of the whole entry as a context."""

    def __len__(self) -> int:
        return len(self.word_N)


class NgramArrays:
    """A back-off model. The id of a word is its place in `words`, and among the unigrams."""

    def __init__(self, words: Sequence[str], orders: Sequence[Order]) -> None:
        self.words, self.orders = list(words), list(orders)
        self.ids = {word: number for number, word in enumerate(self.words)}
        self._keys = [o.context_N.astype(np.int64) * len(self.words) + o.word_N for o in self.orders]

    @property
    def order(self) -> int:
        """Of the longest entries."""
        return len(self.orders)

    def __len__(self) -> int:
        return sum(map(len, self.orders))

    @classmethod
    def of_grams(
        cls,
        words: Sequence[str],
        grams: Sequence[np.ndarray],
        log_p: Sequence[np.ndarray],
        log_b: Sequence[np.ndarray] | None = None,
    ) -> "NgramArrays":
        """From the word ids (N, k) of each order's entries in any order. Unigrams are all words.

        log_b: without it, weights that make each context's probabilities sum to one. Entries whose context is no entry
        are left out.
        """
        unigrams = grams[0][:, 0].argsort()
        weights = log_b if log_b is not None else [np.zeros(len(p)) for p in log_p]
        none = np.zeros(len(words), np.int64)
        orders = [Order(none, np.arange(len(words)), log_p[0][unigrams], weights[0][unigrams])]
        model = cls(words, orders)
        for ids_Nk, p_N, b_N in zip(grams[1:], log_p[1:], weights[1:], strict=True):
            context_N = model.find(ids_Nk[:, :-1])
            kept = np.flatnonzero(context_N >= 0)
            kept = kept[np.lexsort((ids_Nk[kept, -1], context_N[kept]))]
            orders.append(Order(context_N[kept], ids_Nk[kept, -1], p_N[kept], b_N[kept]))
            model = cls(words, orders)
        return model if log_b is not None else model.normalised()

    @classmethod
    def of_model(cls, model: NgramModel) -> "NgramArrays":
        """The same model as arrays."""
        words = sorted(gram[0] for gram in model.grams[0])
        ids = {word: number for number, word in enumerate(words)}
        grams = [
            np.array([[ids.get(w, -1) for w in gram] for gram in g], np.int64).reshape(-1, n)
            for n, g in enumerate(model.grams, 1)
        ]
        values = [np.array(list(g.values()), np.float64).reshape(-1, 2) for g in model.grams]
        return cls.of_grams(words, grams, [v[:, 0] for v in values], [v[:, 1] for v in values])

    def to_model(self) -> NgramModel:
        """The same model as dictionaries."""
        grams = []
        for k, order in enumerate(self.orders, 1):
            names = ([self.words[i] for i in ids] for ids in self.grams(k).tolist())
            values = zip(order.log_p_N.tolist(), order.log_b_N.tolist(), strict=True)
            grams.append({tuple(name): value for name, value in zip(names, values, strict=True)})
        return NgramModel(grams)

    def grams(self, k: int) -> np.ndarray:
        """Word ids (N, k) of the entries of order k."""
        order = self.orders[k - 1]
        if k == 1:
            return order.word_N[:, None]
        return np.column_stack([self.grams(k - 1)[order.context_N], order.word_N])

    def find(self, ids_Mk: np.ndarray) -> np.ndarray:
        """The place of each n-gram among the entries of its order; -1 where it is none, or a word is unknown (-1)."""
        place_M = ids_Mk[:, 0].copy()
        for k in range(2, ids_Mk.shape[1] + 1):
            place_M = self._under(k, place_M, ids_Mk[:, k - 1])
        return place_M

    def score(self, ids_Mk: np.ndarray) -> np.ndarray:
        """log10 P(last word | words before), backing off; -inf for an unknown last word."""
        n = ids_Mk.shape[1]
        word_M = ids_Mk[:, -1]
        score_M = np.zeros(len(ids_Mk))
        open_M = np.ones(len(ids_Mk), bool)
        for start in range(max(0, n - self.order), n):
            k = n - start
            context_M = self.find(ids_Mk[:, start:-1]) if k > 1 else np.zeros(len(ids_Mk), np.int64)
            place_M = self._under(k, context_M, word_M) if k > 1 else word_M
            hit_M = open_M & (place_M >= 0)
            score_M[hit_M] += self.orders[k - 1].log_p_N[place_M[hit_M]]
            open_M &= ~hit_M
            if k > 1:
                back_M = open_M & (context_M >= 0)
                score_M[back_M] += self.orders[k - 2].log_b_N[context_M[back_M]]
        score_M[open_M] = -np.inf
        return score_M

    def normalised(self) -> "NgramArrays":
        """With back-off weights, and a scale of what is listed where nothing backs off, that make all probabilities of
        a context sum to one."""
        first = self.orders[0]
        p_N = 10.0**first.log_p_N
        bos = self.ids.get(BOS, -1)
        if bos >= 0:
            p_N[bos] = 0.0
        with np.errstate(divide="ignore"):
            log_p_N = np.maximum(np.log10(p_N / p_N.sum()), LOG10_NEVER)
        orders = [Order(first.context_N, first.word_N, log_p_N, np.zeros(len(first)))]
        for k, order in enumerate(self.orders[1:], 2):
            model = NgramArrays(self.words, [*orders, order])
            left_N, left_below_N = model.left_masses(k)
            backs_off_N = left_below_N > SMALLEST_MASS
            log_b_N = np.log10(left_N / np.where(backs_off_N, left_below_N, left_N))
            scale_N = np.where(
                backs_off_N, 0.0, -np.log10(np.bincount(order.context_N, 10.0**order.log_p_N, len(left_N)) + 1e-99)
            )
            below = orders[-1]
            orders[-1] = Order(below.context_N, below.word_N, below.log_p_N, log_b_N)
            log_p_N = order.log_p_N + scale_N[order.context_N]
            orders.append(Order(order.context_N, order.word_N, log_p_N, np.zeros(len(order))))
        return NgramArrays(self.words, orders)

    def left_masses(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """What each context of order k's entries leaves to words that it does not list, and what the order below gives
        to those words: two arrays over the entries of order k - 1, at least SMALLEST_MASS."""
        order, contexts = self.orders[k - 1], len(self.orders[k - 2])
        listed_N = np.bincount(order.context_N, 10.0**order.log_p_N, contexts)
        below_N = np.bincount(order.context_N, 10.0 ** self.score(self.grams(k)[:, 1:]), contexts)
        return np.maximum(1 - listed_N, SMALLEST_MASS), np.maximum(1 - below_N, SMALLEST_MASS)

    def restricted(self, vocabulary: Collection[str]) -> "NgramArrays":
        """The model of these words alone (and of sentence marks), normalised."""
        kept = [number for number, word in enumerate(self.words) if word in vocabulary]
        new_id = np.full(len(self.words), -1)
        new_id[kept] = np.arange(len(kept))
        grams, log_p = [], []
        for k, order in enumerate(self.orders, 1):
            ids_Nk = new_id[self.grams(k)]
            whole_N = (ids_Nk >= 0).all(axis=1)
            grams.append(ids_Nk[whole_N])
            log_p.append(order.log_p_N[whole_N])
        return NgramArrays.of_grams([self.words[i] for i in kept], grams, log_p)

    def _under(self, k: int, context_M: np.ndarray, word_M: np.ndarray) -> np.ndarray:
        """The places of entries of order k by context and last word; -1 where there is none."""
        keys_N = self._keys[k - 1]
        key_M = np.where((context_M >= 0) & (word_M >= 0), context_M * len(self.words) + word_M, -1)
        place_M = np.searchsorted(keys_N, key_M)
        inside_M = np.minimum(place_M, max(len(keys_N) - 1, 0))
        found_M = (keys_N[inside_M] == key_M) if len(keys_N) else np.zeros(len(key_M), bool)
        return np.where(found_M, inside_M, -1)
