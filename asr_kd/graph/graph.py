"""Trains an n-gram language model from the text of the given manifests, hypotheses or text files and compiles
HCLG (senones, context, lexicon, grammar) for senones, or TLG (tokens, lexicon, grammar) for tokens:

  asr-kd graph exp/manifests/labelled.jsonl --lexicon exp/align/lexicon.txt --inventory exp/align --out exp/graph
  asr-kd graph exp/manifests/labelled.jsonl --inventory exp/tokens --out exp/graph

Every word of the lexicon can be recognised, also words that are not in the text. With tokens, the lexicon needs no
pronunciations; without a lexicon, the words are those of the text. --word-classes FILE helps where there is little
text: each line is a class (`LETTER A B C ...`, `MONTH MAY JUNE ...`), whose words share their contexts.

--arpa takes a general language model, alone or interpolated with the text:

  asr-kd graph exp/manifests/labelled.jsonl --arpa pocketsphinx:en-us --held-out exp/manifests/dev.jsonl \\
      --vocabulary 20000 --max-ngrams 300000 --lexicon exp/align/lexicon.txt --inventory exp/align --out exp/graph
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import kaldifst

from asr_kd.core.commands import command
from asr_kd.core.files import atomic_path, fingerprint, read_json, sha256_file, write_json
from asr_kd.core.options import argument, option
from asr_kd.core.terminal import say
from asr_kd.core.text_files import read_lines
from asr_kd.corpora.languages import ENGLISH
from asr_kd.corpora.sentences import read_sentences
from asr_kd.graph.ctc import token_graph
from asr_kd.graph.graph_arrays import with_word_insertion_penalty
from asr_kd.graph.hclg import decoding_graph
from asr_kd.graph.language_model import (
    LanguageModelOptions,
    checked_arpa,
    chosen_words,
    general_model,
    language_model,
    tell_lost_words,
)
from asr_kd.graph.ngram import BOS, EOS, RESERVED, read_arpa
from asr_kd.graph.ngram_arrays import NgramArrays
from asr_kd.inventory.inventory import Inventory, described_language, language_entry
from asr_kd.inventory.lexicon import Lexicon, has_digit
from asr_kd.inventory.pronounceable import drop_unpronounceable
from asr_kd.inventory.pronunciations import PRONUNCIATIONS_HELP, Kind, kind_of, pronouncer
from asr_kd.inventory.registry import load_inventory, require_senones
from asr_kd.inventory.senones import Senones
from asr_kd.inventory.tokens import Tokens

FST_FILE = "HCLG.fst"
LEXICON_FILE = "lexicon.txt"
"""Beside the graph: the pronunciations it was built from."""
GRAPH_FILES = (FST_FILE, "graph.json", LEXICON_FILE)
"""What decoding reads, the last where there is one."""


@dataclass(frozen=True)
class Graph:
    """A decoding graph in memory."""

    fst: kaldifst.StdVectorFst
    words: list[str]
    """Word of each output label."""
    inventory: str
    """Fingerprint of the inventory whose classes its input labels are."""
    fingerprint: str
    lexicon: Lexicon | None = None
    """How its words are pronounced; None for graphs of tokens, and of versions that did not keep it."""
    language: str = ENGLISH

    def check(self, inventory: Inventory, model: str) -> None:
        """ValueError when a model's classes are not those of this graph."""
        if inventory.fingerprint != self.inventory:
            inventory.check_language(self.language, f"{model}: its graph")
            raise ValueError(
                f"{model}: its inventory is {inventory.fingerprint[:8]}, the graph's is {self.inventory[:8]}. "
                "Build the graph from the model's inventory with `asr-kd graph --inventory`."
            )

    def with_word_insertion_penalty(self, nats: float) -> "Graph":
        """The same graph where each word costs so much more; the graph itself for 0."""
        return replace(self, fst=with_word_insertion_penalty(self.fst, nats)) if nats else self


def load_graph(folder: str | Path) -> Graph:
    """Read what `asr-kd graph` wrote. ValueError names the file that is missing or broken."""
    folder = Path(folder)
    description = read_json(folder / "graph.json")
    texts = ("kind", "inventory", "sha256")
    if not isinstance(description, dict) or not all(isinstance(description.get(key), str) for key in texts):
        raise ValueError(f"{folder / 'graph.json'}: not written by `asr-kd graph`. Run it again.")
    words = description.get("words")
    if description["kind"] != "graph" or not isinstance(words, list) or not all(isinstance(w, str) for w in words):
        raise ValueError(f"{folder / 'graph.json'}: not written by `asr-kd graph`. Run it again.")
    fst_file = folder / FST_FILE
    if not fst_file.is_file() or sha256_file(fst_file) != description["sha256"]:
        raise ValueError(f"{fst_file}: missing, or not the file that graph.json describes. Run `asr-kd graph` again.")
    fst = kaldifst.StdVectorFst.read(str(fst_file))
    lexicon = None
    if "lexicon" in description:
        lexicon_file = folder / LEXICON_FILE
        if not lexicon_file.is_file() or sha256_file(lexicon_file) != description["lexicon"]:
            raise ValueError(
                f"{lexicon_file}: missing, or not the file that graph.json describes. Run `asr-kd graph` again."
            )
        lexicon = Lexicon.read(lexicon_file)
    return Graph(
        fst, words, description["inventory"], fingerprint(description), lexicon, described_language(description)
    )


@dataclass(frozen=True, kw_only=True)
class GraphRun(LanguageModelOptions):
    """What `asr-kd graph` is given."""

    text: tuple[Path, ...] = argument(
        "labelled manifests or hypotheses (.jsonl), or plain text, one sentence a line", ()
    )
    lexicon: Path | None = option(
        "words to be recognised and, for senones, their pronunciations (default, tokens only: the words of the text)",
        None,
        metavar="FILE",
    )
    inventory: Path = option(
        "output classes of the model: inventory.json of `asr-kd align` or `asr-kd tokens`, or its folder", metavar="DIR"
    )
    pronunciations: Kind = option(f"{PRONUNCIATIONS_HELP}as the inventory's phones", "auto")
    out: Path = option("output folder: HCLG.fst, graph.json, lm.arpa and, for senones, lexicon.txt")


@command()
def build_graph(config: GraphRun) -> None:
    """Train or read a language model and compile the graph."""
    config.check_language_model(bool(config.text))
    inventory = load_inventory(config.inventory)
    sentences = [s for path in config.text for s in read_sentences(path, inventory.language)]
    if config.text and not sentences:
        raise ValueError(f"{config.text[0]}: holds no text to train a language model on")
    as_it_is = config.arpa is not None and not config.text and not config.is_mixed
    general = general_model(config.arpa) if config.arpa is not None and not as_it_is else None
    chosen = None if config.vocabulary is None else chosen_words(config.vocabulary, sentences, general)
    if isinstance(inventory, Tokens):
        lexicon, words = None, _spellable(chosen or _words(config, sentences, general), inventory)
    else:
        inventory = require_senones(inventory, config.inventory)
        lexicon = _pronunciations(config, sentences, chosen, inventory)
        words = lexicon.words
    arpa = config.out / "lm.arpa"
    if as_it_is:
        assert config.arpa is not None
        model = checked_arpa(config.arpa)
        tell_lost_words(config.arpa, {word for (word,) in model.grams[0]}, words)
    else:
        model = language_model(config, sentences, words, general, inventory.language)
    model.write_arpa(arpa)  # what was checked is compiled, not the file that was given
    if isinstance(inventory, Tokens):
        fst, names = token_graph(inventory, words, arpa)
    else:
        assert lexicon is not None
        fst, names = decoding_graph(inventory, lexicon, arpa)
    if not fst.num_states:
        raise ValueError(
            f"{config.arpa or config.text[0]}: the graph has no states: no word of the lexicon can be said."
        )
    with atomic_path(config.out / FST_FILE) as temporary:
        if not fst.write(str(temporary)):  # it does not raise
            raise OSError(f"{config.out / 'HCLG.fst'}: could not be written whole. Is the disk full?")
    description = {
        "kind": "graph",
        "version": 1,
        "inventory": inventory.fingerprint,
        "sha256": sha256_file(config.out / FST_FILE),
        "arpa": sha256_file(arpa),
        "order": config.order,
        "states": fst.num_states,
        "words": names,
        **language_entry(inventory.language),
    }
    if lexicon is not None:
        lexicon.write(config.out / LEXICON_FILE)
        description["lexicon"] = sha256_file(config.out / LEXICON_FILE)
    write_json(config.out / "graph.json", description)
    say(f"{config.out}: {len(words)} words, {fst.num_states} states")


def _pronunciations(
    config: GraphRun, sentences: Sequence[Sequence[str]], chosen: Sequence[str] | None, inventory: Senones
) -> Lexicon:
    """A lexicon with all words of the sentences, or of the chosen words alone, that the inventory has phones for."""
    path = config.lexicon
    if path is None:
        raise ValueError("--lexicon: pronunciations are needed for a graph of senones. Give that of `asr-kd align`.")
    words = {w for s in sentences for w in s} if chosen is None else set(chosen)
    kind = kind_of(inventory) if config.pronunciations == "auto" else config.pronunciations
    language = inventory.language
    lexicon, added = Lexicon.read(path).extended(words, pronouncer(kind, language), language)
    if chosen is not None:
        lexicon = Lexicon({word: lexicon.pronunciations[word] for word in lexicon.words if word in words})
    if numbers := sorted(w for w in words if w not in lexicon and has_digit(w)):
        say(f"{len(numbers)} words with digits cannot be recognised, such as {numbers[0]}: write numbers as words")
    if added:
        say(f"{len(added)} words of the text are not in {path}: pronounced by rule")
    if language != ENGLISH:  # its inventory has the phones of its training text alone
        lexicon, gone = drop_unpronounceable(lexicon, list(added), inventory.phones)
        if gone:
            say(f"{len(gone)} words have no pronunciation in the inventory's phones: {', '.join(gone[:10])}")
    return lexicon


def _words(config: GraphRun, sentences: Sequence[Sequence[str]], general: NgramArrays | None) -> set[str]:
    """The words to be recognised with tokens: of the lexicon, if there is one, and the text, or else of --arpa."""
    words = {w for s in sentences for w in s}
    if config.lexicon is not None:
        words |= {fields[0] for line in read_lines(config.lexicon) if (fields := line.split())}
    elif general is not None:
        words |= set(general.words) - RESERVED
    elif config.arpa is not None:
        words = {word for (word,) in read_arpa(config.arpa).grams[0]} - {BOS, EOS}
    return words


def _spellable(words: Iterable[str], tokens: Tokens) -> list[str]:
    """Those that can be spelt, sorted; tells how many cannot. ValueError when there is none."""
    spelt, lost = [], []
    for word in sorted(words):
        try:
            tokens.tokenise_word(word)
        except ValueError as e:
            lost.append(str(e))
            continue
        spelt.append(word)
    if not spelt:
        raise ValueError(f"no word can be spelt with the tokens; the first, {lost[0]}")
    if lost:
        say(f"{len(lost)} words cannot be recognised; the first, {lost[0]}")
    return spelt
