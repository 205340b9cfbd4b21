"""The language model of `asr-kd graph`: of your own text, a general one, or both; its vocabulary and its size."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from asr_kd.core.options import option
from asr_kd.core.terminal import say
from asr_kd.corpora.languages import ENGLISH
from asr_kd.corpora.sentences import read_sentences
from asr_kd.graph.class_lm import read_classes, with_classes
from asr_kd.graph.lm_pruning import pruned
from asr_kd.graph.mixture import best_weight, interpolated, perplexity_of
from asr_kd.graph.ngram import BOS, EOS, RESERVED, NgramModel, Sentence, read_arpa, train_ngram, without_context
from asr_kd.graph.ngram_arrays import NgramArrays
from asr_kd.graph.sphinx_lm import SCHEME, packaged_model, read_sphinx_lm

EVEN_WEIGHT = 0.5
"""Of your own text, where no held-out text says better."""


@dataclass(frozen=True, kw_only=True)
class LanguageModelOptions:
    """Of `asr-kd graph`, about its language model."""

    order: int = option("order of the n-gram language model of the text", 3, metavar="N")
    word_classes: Path | None = option(
        "word classes of a class-based language model, `NAME word word ...` a line", None, metavar="FILE"
    )
    class_weight: float = option("interpolation weight of the class-based language model", 0.5, metavar="W")
    arpa: Path | None = option(
        "n-gram language model in ARPA format, or `pocketsphinx:en-us` (extra `general-lm`): instead of text, or "
        "interpolated with it",
        None,
        metavar="FILE",
    )
    interpolate: float | None = option(
        "weight of the text's model beside --arpa, between 0 and 1 (default: the best for --held-out, else 0.5)",
        None,
        metavar="W",
    )
    held_out: Path | None = option(
        "text that is in none of the models, such as dev.jsonl: chooses the weight and measures perplexity",
        None,
        metavar="FILE",
    )
    vocabulary: int | None = option(
        "recognise only the N most frequent words: of the text first, then of --arpa (default: those of the lexicon)",
        None,
        metavar="N",
    )
    prune: float | None = option(
        "leave out n-grams without which perplexity rises by less than this share, such as 1e-8", None, metavar="SHARE"
    )
    max_ngrams: int | None = option("prune the language model to this many n-grams", None, metavar="N")

    @property
    def is_mixed(self) -> bool:
        """Whether the language model is more than a model of text, or a file that is taken as it is."""
        sizes = (self.vocabulary, self.prune, self.max_ngrams, self.interpolate, self.held_out)
        return any(x is not None for x in sizes) or str(self.arpa).startswith(SCHEME)

    def check_language_model(self, has_text: bool) -> None:
        """ValueError where options do not go together."""
        if not has_text and self.arpa is None:
            raise ValueError("give labelled text to train a language model on, or --arpa FILE, or both")
        if not has_text and self.word_classes:
            raise ValueError("--word-classes goes with text to train on: an --arpa model is taken as it is")
        if self.interpolate is not None and not (has_text and self.arpa):
            raise ValueError("--interpolate: is the weight of text beside --arpa. Give both.")
        if self.vocabulary is not None and self.vocabulary < 1:
            raise ValueError(f"--vocabulary {self.vocabulary}: at least one word is needed")


def general_model(arpa: Path) -> NgramArrays:
    """A model of `--arpa` as arrays. ValueError when it cannot be read."""
    if str(arpa).startswith(SCHEME):
        return read_sphinx_lm(packaged_model(str(arpa)))
    return NgramArrays.of_model(checked_arpa(arpa))


def checked_arpa(arpa: Path) -> NgramModel:
    """A user's model. ValueError when it cannot be compiled: kaldilm would end the process. Tells what is lost."""
    model = read_arpa(arpa)
    for mark in (BOS, EOS):
        if (mark,) not in model.grams[0]:
            raise ValueError(f"{arpa}: has no unigram {mark}. Language models for decoding begin and end sentences.")
    if lost := without_context(model):
        first = " ".join(lost[0])
        say(f"{arpa}: {len(lost)} n-grams have no entry for their context and are left out; the first: {first}")
    return model


def tell_lost_words(arpa: Path, known: Collection[str], words: Iterable[str], are_all: bool = True) -> None:
    """Say which words have no pronunciation or no probability. ValueError when no word has both.

    are_all: whether the words are those of a lexicon, and the model's the only ones; a vocabulary leaves words out, and
    a text adds some, on purpose.
    """
    wanted, of_model = set(words), set(known) - {BOS, EOS}
    if not of_model & wanted:
        raise ValueError(f"{arpa}: shares no word with the lexicon. Give a lexicon of the model's words, in its case.")
    for count, what in (
        (len(of_model - wanted), "words of the language model have no pronunciation"),
        (len(wanted - of_model), "words of the lexicon are not in the language model"),
    ):
        if count and are_all:
            say(f"{count} {what}: they cannot be recognised")


def chosen_words(count: int, sentences: Sequence[Sequence[str]], general: NgramArrays | None) -> list[str]:
    """The most frequent words: those of the text, then those that the general model finds most likely; sorted."""
    counts = Counter(word for sentence in sentences for word in sentence)
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    if general is not None:
        log_p = general.orders[0].log_p_N
        ranked += [word for word, _ in sorted(zip(general.words, log_p, strict=True), key=lambda x: (-x[1], x[0]))]
    kept = [word for word in dict.fromkeys(ranked) if word not in RESERVED]
    return sorted(kept[:count])


def language_model(
    options: LanguageModelOptions,
    sentences: Sequence[Sentence],
    words: Sequence[str],
    general: NgramArrays | None,
    language: str = ENGLISH,
) -> NgramModel:
    """The model of these words. sentences: none where `general` stands alone.  language: of the held-out text.

    ValueError when options do not go together, or the general model has none of the words.
    """
    own = None
    if sentences:
        model = train_ngram(sentences, words, options.order)
        if options.word_classes:
            classes = read_classes(options.word_classes, words)
            model = with_classes(model, sentences, classes, options.class_weight)
        if not options.is_mixed and general is None:
            return model
        own = NgramArrays.of_model(model)
    held_out = list(read_sentences(options.held_out, language)) if options.held_out is not None else []
    if options.held_out is not None and not held_out:
        raise ValueError(f"{options.held_out}: holds no text. --held-out needs text that no model has seen.")
    mixed = _mixed(options, own, general, words, held_out)
    size = len(mixed)
    if options.prune is not None or options.max_ngrams is not None:
        mixed = pruned(mixed, options.prune or 0.0, options.max_ngrams)
        say(f"language model: {size} n-grams, pruned to {len(mixed)}")
    if held_out:
        perplexity, unknown = perplexity_of(mixed, held_out)
        say(f"{options.held_out}: perplexity {perplexity:.1f}, {unknown} unknown words")
    return mixed.to_model()


def _mixed(
    options: LanguageModelOptions,
    own: NgramArrays | None,
    general: NgramArrays | None,
    words: Sequence[str],
    held_out: Sequence[Sentence],
) -> NgramArrays:
    if general is None:
        assert own is not None
        return own
    assert options.arpa is not None
    tell_lost_words(options.arpa, general.words, words, are_all=own is None and options.vocabulary is None)
    size = len(set(general.words) - RESERVED)
    general = general.restricted({*words, BOS, EOS})
    if own is None:
        return general
    say(f"{options.arpa}: {len(general.words) - 2} of its {size} words can be recognised (--vocabulary adds more)")
    weight = options.interpolate
    if weight is None:
        weight = best_weight(own, general, held_out) if held_out else EVEN_WEIGHT
        why = f"the best for {options.held_out}" if held_out else "--interpolate and --held-out change it"
        say(f"language model: weight {weight:.3f} of the text, {1 - weight:.3f} of {options.arpa} ({why})")
    return interpolated(own, general, weight)
