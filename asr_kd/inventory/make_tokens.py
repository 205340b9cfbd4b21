"""Writes OUT/inventory.json: a blank, and the units that a CTC model spells words with, found in normalised text.

`characters` are those of the text; `unigram` tokens are the strings of characters that spell it best (extra `pieces`),
with every single character among them, so that words can be spelt that the text lacks:

  asr-kd tokens exp/manifests/labelled.jsonl --type characters --out exp/tokens
  asr-kd tokens exp/manifests/labelled.jsonl --type unigram --size 200 --out exp/tokens
"""

import argparse
from pathlib import Path

from asr_kd.core.terminal import say
from asr_kd.corpora.sentences import read_sentences
from asr_kd.inventory.inventory import INVENTORY_FILE
from asr_kd.inventory.subwords import train_pieces
from asr_kd.inventory.tokens import Tokens

SIZE = 200


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `asr-kd tokens`."""
    parser.add_argument(
        "text", nargs="+", type=Path, metavar="MANIFEST", help="labelled manifests, hypotheses (.jsonl) or plain text"
    )
    parser.add_argument("--type", required=True, choices=("characters", "unigram"), help="what words are spelt with")
    parser.add_argument("--size", type=int, help=f"most pieces (default {SIZE}; only with --type unigram)")
    parser.add_argument(
        "--frame-shift",
        type=float,
        default=Tokens.frame_shift_s,
        metavar="SECONDS",
        help="from one frame of the front end to the next (default %(default)g)",
    )
    parser.add_argument("--out", required=True, type=Path, help=f"folder for {INVENTORY_FILE}")


def run(args: argparse.Namespace) -> int:
    """The verb."""
    if args.size is not None and args.type != "unigram":
        raise ValueError("--size: only used with --type unigram; characters are those of the text")
    if not args.frame_shift > 0:
        raise ValueError(f"--frame-shift {args.frame_shift}: it must be above 0")
    sentences = [s for path in args.text for s in read_sentences(path)]
    if not sentences:
        raise ValueError(f"{args.text[0]}: holds no text to find {args.type} in")
    if args.type == "unigram":
        units = train_pieces([" ".join(s) for s in sentences], args.size or SIZE)
        tokens = Tokens(tuple(units), args.frame_shift)
    else:
        tokens = Tokens.characters((word for s in sentences for word in s), frame_shift_s=args.frame_shift)
    tokens.save(args.out / INVENTORY_FILE)
    words = [word for s in sentences for word in s]
    spelt = sum(len(tokens.tokenise_word(word)) for word in words) / len(words)
    say(f"{args.out}: {len(tokens.units)} {args.type}, {spelt:.1f} to a word")
    return 0
