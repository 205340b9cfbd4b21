"""Writes OUT/inventory.json: a blank, and the units that a CTC model spells words with, found in normalised text.

`characters` are those of the text; `unigram` tokens are the strings of characters that spell it best (extra `pieces`),
with every single character among them, so that words can be spelt that the text lacks:

  asr-kd tokens exp/manifests/labelled.jsonl --type characters --out exp/tokens
  asr-kd tokens exp/manifests/labelled.jsonl --type unigram --size 200 --out exp/tokens
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from asr_kd.core.commands import command
from asr_kd.core.options import argument, option
from asr_kd.core.terminal import say
from asr_kd.corpora.sentences import read_sentences
from asr_kd.inventory.inventory import INVENTORY_FILE
from asr_kd.inventory.subwords import train_pieces
from asr_kd.inventory.tokens import Tokens

SIZE = 200


@dataclass(frozen=True, kw_only=True)
class TokensRun:
    """What `asr-kd tokens` is given."""

    text: tuple[Path, ...] = argument("labelled manifests, hypotheses (.jsonl) or plain text", metavar="MANIFEST")
    type: Literal["characters", "unigram"] = option("what words are spelt with")
    size: int | None = option(f"most pieces (default {SIZE}; only with --type unigram)", None)
    frame_shift: float = option("from one frame of the front end to the next", Tokens.frame_shift_s, metavar="SECONDS")
    out: Path = option(f"folder for {INVENTORY_FILE}")


@command()
def make_tokens(config: TokensRun) -> None:
    """Write an inventory of tokens."""
    if config.size is not None and config.type != "unigram":
        raise ValueError("--size: only used with --type unigram; characters are those of the text")
    if not config.frame_shift > 0:
        raise ValueError(f"--frame-shift {config.frame_shift}: it must be above 0")
    sentences = [s for path in config.text for s in read_sentences(path)]
    if not sentences:
        raise ValueError(f"{config.text[0]}: holds no text to find {config.type} in")
    if config.type == "unigram":
        units = train_pieces([" ".join(s) for s in sentences], config.size or SIZE)
        tokens = Tokens(tuple(units), config.frame_shift)
    else:
        tokens = Tokens.characters((word for s in sentences for word in s), frame_shift_s=config.frame_shift)
    tokens.save(config.out / INVENTORY_FILE)
    words = [word for s in sentences for word in s]
    spelt = sum(len(tokens.tokenise_word(word)) for word in words) / len(words)
    say(f"{config.out}: {len(tokens.units)} {config.type}, {spelt:.1f} to a word")
