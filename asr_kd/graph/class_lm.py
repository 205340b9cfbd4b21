"""Word classes: words that stand in the same places share what the text shows of those places.

Little text shows few of the ways in which letters, digits or names follow each other. A class model (Brown et al. 1992)
predicts the class of the next word from the classes before it and then the word of that class; it is interpolated
with the word model and written as one back-off model, so search and graph see no difference.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path

from asr_kd.core.text_files import read_lines
from asr_kd.graph.ngram import BOS, EOS, LOG10_NEVER, Gram, NgramModel, Sentence, sentence_words, train_ngram

Classes = dict[str, tuple[str, ...]]


def read_classes(path: str | Path, vocabulary: Iterable[str]) -> Classes:
    """Read `NAME word word ...`, a class a line; `#` begins a comment. Words without pronunciation are left out.

    ValueError names the line where a word is in a second class, or a class has one word or the name of another.
    """
    known = frozenset(vocabulary)
    lines = read_lines(Path(path), advice="Give a class a line: NAME word word ...")
    classes: Classes = {}
    seen: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        name, *words = line.partition("#")[0].split() or [""]
        if not name:
            continue
        if name in classes or len(words) < 2:
            problem = "is declared twice" if name in classes else "needs at least two words"
            raise ValueError(f"{path}:{number}: class {name} {problem}")
        for word in words:
            if word in seen:
                raise ValueError(f"{path}:{number}: {word} is in class {seen[word]} already. A word has one class.")
            seen[word] = name
        classes[name] = tuple(w for w in words if w in known)
    if not any(classes.values()):
        raise ValueError(f"{path}: none of its words is in the lexicon. Write them as the lexicon does.")
    return {name: words for name, words in classes.items() if words}


def with_classes(
    words: NgramModel, sentences: Sequence[Sentence], classes: Classes, weight: float = 0.5, order: int = 2
) -> NgramModel:
    """Interpolate a word model with a class model of the same sentences.

    P(w | h) = (1 - weight) P_words(w | h) + weight P(class of w | classes of h) P(w | class of w), where a word in no
    class is one by itself and P(w | class) has one added to every count. order: of the class model. N-grams stored are
    those of the words and of the words of every class n-gram seen: a class of n words seen twice in a row brings n^2.
    """
    if not 0 <= weight < 1:
        raise ValueError(f"--class-weight {weight}: must be at least 0 and below 1")
    class_of = {
        word: (f"class:{name}" if len(members) > 1 else word) for name, members in classes.items() for word in members
    }
    vocabulary = words.vocabulary - {EOS}
    members: dict[str, list[str]] = defaultdict(list)
    for word in sorted(vocabulary):
        members[class_of.get(word, word)].append(word)
    members |= {BOS: [BOS], EOS: [EOS]}
    class_sentences = [[class_of.get(w, w) for w in sentence_words(s)] for s in sentences]
    model = train_ngram(class_sentences, set(members) - {BOS, EOS}, order)
    counts = Counter(w for s in sentences for w in sentence_words(s))
    of_class = {
        word: (counts[word] + 1) / (sum(counts[w] for w in group) + len(group)) if len(group) > 1 else 1.0
        for group in members.values()
        for word in group
    }

    def probability(word: str, history: Gram) -> float:
        of_words = 10 ** words.log10_prob(word, history)
        of_classes = 10 ** model.log10_prob(class_of.get(word, word), [class_of.get(w, w) for w in history])
        return (1 - weight) * of_words + weight * of_classes * of_class[word]

    grams: list[dict[Gram, tuple[float, float]]] = []
    for n in range(max(words.order, order)):
        stored = set(words.grams[n]) if n < words.order else set()
        if n < order:
            stored |= {gram for g in model.grams[n] for gram in product(*(members[c] for c in g))}
        new: dict[Gram, tuple[float, float]] = {}
        explicit: dict[Gram, float] = defaultdict(float)
        below: dict[Gram, float] = defaultdict(float)
        lower = NgramModel(grams)
        for gram in sorted(stored):
            if gram == (BOS,):
                new[gram] = (LOG10_NEVER, 0.0)
                continue
            p = probability(gram[-1], gram[:-1])
            new[gram] = (math.log10(p), 0.0)
            if n:
                explicit[gram[:-1]] += p
                below[gram[:-1]] += 10 ** lower.log10_prob(gram[-1], gram[1:-1])
        for history, p in explicit.items():
            left, left_below = max(1 - p, 1e-12), max(1 - below[history], 1e-12)
            grams[-1][history] = (grams[-1][history][0], math.log10(left / left_below))
        grams.append(new)
    return NgramModel(grams)
