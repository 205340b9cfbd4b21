"""N-gram language models over a closed vocabulary: training, ARPA files, perplexity.

Why our own: no package on PyPI both estimates and fits (looked at in 2026). `kenlm` and `flashlight-text` query
models but ship no `lmplz`; `nltk.lm` writes no ARPA and has one fixed discount; `kaldingram` and `arpabo` write ARPA,
but know no words beyond the text, and here every word of the lexicon must stay recognisable.
"""

import itertools
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from asr_kd.core.files import atomic_path
from asr_kd.core.text_files import read_lines

BOS, EOS = "<s>", "</s>"
RESERVED = frozenset({BOS, EOS, "<unk>", "<eps>", "#0"})
LOG10_NEVER = -99.0  # ARPA's way to say that <s> is never predicted
ESTIMATED_DISCOUNTS = 3  # modified Kneser-Ney: one for counts of 1, of 2, and of 3 or more

Gram = tuple[str, ...]
Sentence = str | Sequence[str]
_OOV = ""  # stands for every word outside the vocabulary while counting; no word is empty


class NgramModel:
    """A back-off model: for each n-gram log10 of its probability and of its back-off weight."""

    def __init__(self, grams: list[dict[Gram, tuple[float, float]]]) -> None:
        """grams: one dict an order, from 1 up; a back-off weight of 0 (log10 of 1) where none is stored."""
        self.grams = grams
        self.order = len(grams)

    @property
    def vocabulary(self) -> frozenset[str]:
        """All that can be predicted: the words and `</s>`."""
        return frozenset(gram[0] for gram in self.grams[0] if gram[0] != BOS)

    def log10_prob(self, word: str, history: Sequence[str] = ()) -> float:
        """log10 P(word | history), -inf for unknown words; `</s>` ends a sentence, the history `["<s>"]` begins one."""
        context = tuple(history[max(0, len(history) - self.order + 1) :])
        backed_off = 0.0
        while True:
            gram = (*context, word)
            if gram in self.grams[len(context)]:
                return backed_off + self.grams[len(context)][gram][0]
            if not context:
                return -math.inf
            backed_off += self.grams[len(context) - 1].get(context, (0.0, 0.0))[1]
            context = context[1:]

    def write_arpa(self, path: str | Path) -> None:
        """Write the model as an ARPA file, atomically; the same model gives the same bytes."""
        with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as f:
            f.write("\\data\\\n")
            f.writelines(f"ngram {n}={len(grams)}\n" for n, grams in enumerate(self.grams, 1))
            for n, grams in enumerate(self.grams, 1):
                f.write(f"\n\\{n}-grams:\n")
                for gram, (log_p, log_backoff) in sorted(grams.items()):
                    backoff = f"\t{log_backoff:.7f}" if log_backoff else ""
                    f.write(f"{log_p:.7f}\t{' '.join(gram)}{backoff}\n")
            f.write("\n\\end\\\n")


def read_arpa(path: str | Path) -> NgramModel:
    """Read an ARPA file. ValueError names the file and line that is not ARPA."""
    declared: dict[int, int] = {}
    grams: list[dict[Gram, tuple[float, float]]] = []
    started, ended = False, False
    faults: list[str] = []
    for number, line in enumerate(read_lines(Path(path), advice="Give an ARPA file."), 1):
        fields = line.split()
        if not fields:
            continue
        try:
            if fields[0] == "\\data\\":
                started = True
            elif not started or ended:
                continue  # ARPA allows any text around the model
            elif fields[0] == "\\end\\":
                ended = True
            elif line.startswith("\\"):
                if line.strip() != f"\\{len(grams) + 1}-grams:":
                    raise ValueError
                grams.append({})
            elif grams:
                order = len(grams)
                backoff = float(fields[order + 1]) if len(fields) > order + 1 else 0.0
                if not order + 1 <= len(fields) <= order + 2:
                    raise ValueError
                gram = tuple(fields[1 : order + 1])
                if fault := _fault(gram, float(fields[0]), backoff, gram in grams[-1]):
                    faults.append(f"{path}:{number}: {' '.join(gram)!r}: {fault}")
                grams[-1][gram] = (float(fields[0]), backoff)
            else:
                order_text, count = line.removeprefix("ngram").split("=")
                declared[int(order_text)] = int(count)
        except ValueError:
            raise ValueError(f"{path}:{number}: not a line of an ARPA file: {line.strip()!r}") from None
    if faults:
        raise ValueError(f"{faults[0]}{f' (and {len(faults) - 1} like it)' if len(faults) > 1 else ''}")
    found = {n: len(g) for n, g in enumerate(grams, 1)}
    if not ended or not grams or found != declared:
        raise ValueError(f"{path}: cut short or not ARPA; n-grams declared {declared}, found {found}")
    return NgramModel(grams)


def _fault(gram: Gram, log_p: float, backoff: float, is_known: bool) -> str | None:
    """Why kaldilm would end the process on an entry, or read another model than is written; None where it would not."""
    if not (math.isfinite(log_p) and math.isfinite(backoff)):
        return "a log-probability that is not finite. Write -99 for a probability of 0."
    if any(word == "<eps>" or re.fullmatch(r"#\d+", word) or "\0" in word for word in gram):
        return "<eps>, #0, #1, ... and words with a NUL are names that decoding graphs use themselves. Rename the word."
    return "stands in the file twice" if is_known else None


def without_context(model: NgramModel) -> list[Gram]:
    """N-grams whose first n - 1 words are no entry of their own: a back-off automaton has no state to hold them."""
    return [gram for shorter, longer in itertools.pairwise(model.grams) for gram in longer if gram[:-1] not in shorter]


@dataclass(frozen=True)
class Perplexity:
    """How well a model predicts text."""

    perplexity: float
    """exp of the mean negative log probability of a token."""
    tokens: int
    """Words and sentence ends predicted; unknown words are not among them."""
    unknown: int
    """Words that the model does not know."""


def perplexity(model: NgramModel, sentences: Iterable[Sentence]) -> Perplexity:
    """Perplexity over normalised sentences (text or lists of words). ValueError when there are none."""
    log10_sum, tokens, unknown = 0.0, 0, 0
    for sentence in sentences:
        words = [BOS, *sentence_words(sentence), EOS]
        for position in range(1, len(words)):
            log_p = model.log10_prob(words[position], words[max(0, position - model.order + 1) : position])
            if log_p == -math.inf:
                unknown += 1
            else:
                log10_sum += log_p
                tokens += 1
    if not tokens:
        raise ValueError("perplexity: no sentences to measure on")
    return Perplexity(10 ** (-log10_sum / tokens), tokens, unknown)


def train_ngram(
    sentences: Iterable[Sentence],
    vocabulary: Iterable[str],
    order: int = 3,
    smoothing: Literal["kneser-ney", "witten-bell"] = "kneser-ney",
) -> NgramModel:
    """Estimate an interpolated n-gram model.

    sentences: normalised, as text or lists of words. Words outside `vocabulary` are not predicted, and no n-gram spans
    them.  vocabulary: every word that shall be recognisable; those that the text lacks get an even share of what the
    unigrams' discounts leave.  smoothing: modified Kneser-Ney (Chen & Goodman 1998); an order whose counts of counts
    give no usable discounts, as happens on little text, falls back to Witten-Bell.
    """
    if order < 1:
        raise ValueError(f"--order {order}: an n-gram model has at least order 1")
    words = sorted(set(vocabulary))
    if not words:
        raise ValueError("language model: the vocabulary is empty. Give a lexicon with at least one word.")
    for word in words:
        if word in RESERVED or word.split() != [word]:
            raise ValueError(f"language model: {word!r} cannot be a word. Take it out of the lexicon.")
    raw = _count(sentences, frozenset(words), order)
    probability: dict[Gram, float] = dict.fromkeys([(w,) for w in (*words, EOS)], 1 / (len(words) + 1))
    by_order: list[dict[Gram, float]] = []
    weights: list[dict[Gram, float]] = []
    for counts, discounts in _smoothing_plan(raw, smoothing == "kneser-ney"):
        is_unigram = not by_order
        probability, weight = _interpolate(counts, discounts, probability, keep_lower=is_unigram)
        by_order.append(probability)
        weights.append(weight)
    by_order[0][(BOS,)] = 0.0
    grams: list[dict[Gram, tuple[float, float]]] = []
    for n, probabilities in enumerate(by_order):
        backoff = weights[n + 1] if n + 1 < order else {}
        grams.append(
            {
                gram: (math.log10(p) if p else LOG10_NEVER, math.log10(backoff.get(gram, 1.0)))
                for gram, p in probabilities.items()
            }
        )
    return NgramModel(grams)


def sentence_words(sentence: Sentence) -> Sequence[str]:
    """Words of a sentence given as text or as words."""
    return sentence.split() if isinstance(sentence, str) else sentence


def _count(sentences: Iterable[Sentence], vocabulary: frozenset[str], order: int) -> list[Counter[Gram]]:
    """N-grams of each order that end in a known word or `</s>`; only the first of their words may be unknown.

    Those with an unknown first word are no part of the model, but tell that the rest had one more left neighbour.
    """
    raw: list[Counter[Gram]] = [Counter() for _ in range(order)]
    for sentence in sentences:
        tokens = [BOS, *(w if w in vocabulary else _OOV for w in sentence_words(sentence)), EOS]
        for end in range(1, len(tokens)):
            if tokens[end] == _OOV:
                continue
            for start in range(end, max(-1, end - order), -1):
                raw[end - start][tuple(tokens[start : end + 1])] += 1
                if tokens[start] == _OOV:
                    break
    return raw


def _smoothing_plan(raw: list[Counter[Gram]], kneser_ney: bool) -> list[tuple[dict[Gram, int], list[float] | None]]:
    """For each order from 1 up its counts and Kneser-Ney discounts, or None for Witten-Bell.

    Below an order of Kneser-Ney, an n-gram counts once for each word seen to its left (n-grams that begin a sentence
    have none and keep their plain counts); below Witten-Bell and at the top, counts are plain.
    """
    plan: list[tuple[dict[Gram, int], list[float] | None]] = []
    below_kneser_ney = False
    for n in reversed(range(len(raw))):
        counts: dict[Gram, int] = {g: c for g, c in raw[n].items() if g[0] != _OOV}
        if below_kneser_ney:
            neighbours = Counter(gram[1:] for gram in raw[n + 1])
            counts = {g: c if g[0] == BOS else neighbours[g] for g, c in counts.items()}
        discounts = _discounts(counts) if kneser_ney else None
        below_kneser_ney = discounts is not None
        plan.append((counts, discounts))
    return plan[::-1]


def _discounts(counts: dict[Gram, int]) -> list[float] | None:
    """Modified Kneser-Ney's discounts of counts 1, 2 and 3 or more; None when the counts of counts give none."""
    n = Counter(counts.values())
    if not all(n[k] for k in range(1, ESTIMATED_DISCOUNTS + 2)):
        return None
    y = n[1] / (n[1] + 2 * n[2])
    discounts = [k - (k + 1) * y * n[k + 1] / n[k] for k in range(1, ESTIMATED_DISCOUNTS + 1)]
    return discounts if all(0 < d < k for k, d in enumerate(discounts, 1)) else None


def _interpolate(
    counts: dict[Gram, int], discounts: list[float] | None, lower: dict[Gram, float], keep_lower: bool
) -> tuple[dict[Gram, float], dict[Gram, float]]:
    """Probabilities of one order's n-grams and, for each history, the weight of the lower order in them.

    lower: the lower order's probabilities; for unigrams (`keep_lower`) the even distribution over all words, and words
    without counts are kept in the result.
    """
    total: dict[Gram, int] = defaultdict(int)
    held_out: dict[Gram, float] = defaultdict(float)
    for gram, count in counts.items():
        total[gram[:-1]] += count
        held_out[gram[:-1]] += discounts[min(count, ESTIMATED_DISCOUNTS) - 1] if discounts else 1
    # Witten-Bell adds its held-out mass to the total, Kneser-Ney takes it from the counts.
    denominator = {h: total[h] + (0 if discounts else held_out[h]) for h in total}
    weight = {h: held_out[h] / denominator[h] for h in total}
    probability: dict[Gram, float] = {}
    for gram, count in counts.items():
        history = gram[:-1]
        kept = count - (discounts[min(count, ESTIMATED_DISCOUNTS) - 1] if discounts else 0)
        below = lower[gram] if keep_lower else lower[gram[1:]]
        probability[gram] = kept / denominator[history] + weight[history] * below
    if keep_lower:
        share = weight.get((), 1.0)
        probability.update({gram: share * p for gram, p in lower.items() if gram not in probability})
    return probability, weight
