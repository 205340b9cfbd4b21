"""Trains an n-gram language model from the text of the given manifests, hypotheses or text files and compiles
HCLG = senones o context o lexicon o grammar:

  asr-kd graph exp/manifests/labelled.jsonl --lexicon exp/align/lexicon.txt --inventory exp/align --out exp/graph

Every word of the lexicon can be recognised, also those that the text lacks. Where text is little, --classes FILE
helps: a line for each kind of word (`LETTER A B C ...`, `MONTH MAY JUNE ...`), whose words then share their places in
sentences. --arpa takes a language model of your own.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import kaldifst

from asr_kd.core.files import atomic_path, fingerprint, read_json, sha256_file, write_json
from asr_kd.corpora.sentences import read_sentences
from asr_kd.graph.classes import read_classes, with_classes
from asr_kd.graph.hclg import decoding_graph
from asr_kd.graph.ngram import BOS, EOS, read_arpa, train_ngram
from asr_kd.inventory.inventory import Inventory
from asr_kd.inventory.kinds import load_inventory, senones_of
from asr_kd.inventory.lexicon import Lexicon

LEXICON_FILE = "lexicon.txt"
"""Beside the graph: the pronunciations it was built from."""


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
    """How its words are pronounced; None for graphs of versions that did not keep it."""

    def check(self, inventory: Inventory, model: str) -> None:
        """ValueError when a model's classes are not those of this graph."""
        if inventory.fingerprint != self.inventory:
            raise ValueError(
                f"{model}: its inventory is {inventory.fingerprint[:8]}, the graph's is {self.inventory[:8]}. "
                "Build the graph from the model's inventory with `asr-kd graph --inventory`."
            )


def load_graph(folder: str | Path) -> Graph:
    """Read what `asr-kd graph` wrote. ValueError names the file that is missing or broken."""
    folder = Path(folder)
    description = read_json(folder / "graph.json")
    if not isinstance(description, dict) or description.get("kind") != "graph":
        raise ValueError(f"{folder / 'graph.json'}: not written by `asr-kd graph`. Run it again.")
    fst_file = folder / "HCLG.fst"
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
    return Graph(fst, description["words"], description["inventory"], fingerprint(description), lexicon)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `asr-kd graph`."""
    parser.add_argument(
        "text",
        nargs="*",
        type=Path,
        help="labelled manifests or hypotheses (.jsonl), or plain text, one sentence a line",
    )
    parser.add_argument("--lexicon", required=True, type=Path, help="words to be recognised and their pronunciations")
    parser.add_argument("--inventory", required=True, type=Path, help="inventory.json or the folder that holds it")
    parser.add_argument(
        "--out", required=True, type=Path, help="folder for HCLG.fst, graph.json, lexicon.txt and lm.arpa"
    )
    parser.add_argument("--order", type=int, default=3, help="n of the n-gram model (default 3)")
    parser.add_argument("--classes", type=Path, help="word classes, `NAME word word ...` a line")
    parser.add_argument(
        "--class-weight", type=float, default=0.5, help="share of the class model in the language model (default 0.5)"
    )
    parser.add_argument("--arpa", type=Path, help="use this language model instead of training one")


def run(args: argparse.Namespace) -> int:
    """The verb."""
    if bool(args.text) == bool(args.arpa):
        raise ValueError("give either labelled text to train a language model on, or --arpa FILE")
    if args.arpa and args.classes:
        raise ValueError("--classes goes with text to train on: an --arpa model is taken as it is")
    inventory = senones_of(load_inventory(args.inventory), args.inventory)
    lexicon = Lexicon.read(args.lexicon)
    arpa = args.arpa
    if not arpa:
        sentences = [s for path in args.text for s in read_sentences(path)]
        lexicon, added = lexicon.extended({w for s in sentences for w in s})
        if added:
            print(f"{len(added)} words of the text are not in {args.lexicon}: pronounced by rule", file=sys.stderr)
        if not sentences:
            raise ValueError(f"{args.text[0]}: holds no text to train a language model on")
        arpa = args.out / "lm.arpa"
        model = train_ngram(sentences, lexicon.words, args.order)
        if args.classes:
            model = with_classes(model, sentences, read_classes(args.classes, lexicon.words), args.class_weight)
        model.write_arpa(arpa)
    else:
        _check_arpa(arpa, lexicon)
    fst, words = decoding_graph(inventory, lexicon, arpa)
    with atomic_path(args.out / "HCLG.fst") as temporary:
        fst.write(str(temporary))
    lexicon.write(args.out / LEXICON_FILE)
    description = {
        "kind": "graph",
        "version": 1,
        "inventory": inventory.fingerprint,
        "sha256": sha256_file(args.out / "HCLG.fst"),
        "arpa": sha256_file(arpa),
        "lexicon": sha256_file(args.out / LEXICON_FILE),
        "order": args.order,
        "states": fst.num_states,
        "words": words,
    }
    write_json(args.out / "graph.json", description)
    print(f"{args.out}: {len(lexicon.words)} words, {fst.num_states} states", file=sys.stderr)
    return 0


def _check_arpa(arpa: Path, lexicon: Lexicon) -> None:
    """ValueError when a user's model cannot be compiled: kaldilm would end the process. Tells which words are lost."""
    model = read_arpa(arpa)
    for mark in (BOS, EOS):
        if (mark,) not in model.grams[0]:
            raise ValueError(f"{arpa}: has no unigram {mark}. Language models for decoding begin and end sentences.")
    known = {word for (word,) in model.grams[0]} - {BOS, EOS}
    if not known & set(lexicon.words):
        raise ValueError(f"{arpa}: shares no word with the lexicon. Give a lexicon of the model's words, in its case.")
    for count, what in (
        (len(known - set(lexicon.words)), "words of the language model have no pronunciation"),
        (len(set(lexicon.words) - known), "words of the lexicon are not in the language model"),
    ):
        if count:
            print(f"{count} {what}: they cannot be recognised", file=sys.stderr)
