"""Writes OUT/inventory.json: the output units of a CTC model, found in normalised text, and the blank.

`characters` are those of the text; `unigram` are subwords of a SentencePiece unigram model (extra `pieces`), which
include every single character of the text:

  asr-kd tokens exp/manifests/labelled.jsonl --type characters --out exp/tokens
  asr-kd tokens exp/manifests/labelled.jsonl --type unigram --size 200 --out exp/tokens
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from asr_kd.core.commands import command
from asr_kd.core.options import argument, option
from asr_kd.core.terminal import say
from asr_kd.corpora.languages import ENGLISH, language_code
from asr_kd.corpora.sentences import read_sentences, text_language
from asr_kd.inventory.inventory import INVENTORY_FILE
from asr_kd.inventory.subwords import train_pieces
from asr_kd.inventory.tokens import Tokens

SIZE = 200


@dataclass(frozen=True, kw_only=True)
class TokensRun:
    """What `asr-kd tokens` is given."""

    text: tuple[Path, ...] = argument(
        "labelled manifests or hypotheses (.jsonl), or plain text, one sentence a line", metavar="TEXT"
    )
    type: Literal["characters", "unigram"] = option(
        "output units of the CTC model: characters, or subwords of a unigram model"
    )
    size: int | None = option(f"with --type unigram: number of subwords, at most (default: {SIZE})", None, metavar="N")
    language: str | None = option(
        "language of plain text, as a code such as de (default: what the manifests name as lang, else en)",
        None,
        metavar="CODE",
        parse=language_code,
    )
    frame_shift: float = option(
        "frame shift of the model's input, after frame stacking", Tokens.frame_shift_s, metavar="SECONDS"
    )
    out: Path = option(f"output folder: {INVENTORY_FILE}")


@command()
def make_tokens(config: TokensRun) -> None:
    """Write an inventory of tokens."""
    if config.size is not None and config.type != "unigram":
        raise ValueError("--size: only used with --type unigram; characters are those of the text")
    if not config.frame_shift > 0:
        raise ValueError(f"--frame-shift {config.frame_shift}: it must be above 0")
    language = config.language or text_language(config.text) or ENGLISH
    sentences = [s for path in config.text for s in read_sentences(path, language)]
    if not sentences:
        raise ValueError(f"{config.text[0]}: holds no text to find {config.type} in")
    if config.type == "unigram":
        units = train_pieces([" ".join(s) for s in sentences], config.size or SIZE)
        tokens = Tokens(tuple(units), config.frame_shift, language)
    else:
        words = (word for s in sentences for word in s)
        tokens = Tokens.characters(words, frame_shift_s=config.frame_shift, language=language)
    tokens.save(config.out / INVENTORY_FILE)
    lengths = [len(tokens.tokenise_word(word)) for s in sentences for word in s]
    spelt = sum(lengths) / len(lengths)
    say(f"{config.out}: {len(tokens.units)} {config.type}, {spelt:.1f} to a word")
