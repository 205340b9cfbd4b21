"""What is odd about the text of an utterance: it repeats itself, is a stock phrase, or is too fast or slow.

The text is that of a recogniser where transcripts are given, else that of the manifest.
"""

import re
import unicodedata
import zlib
from functools import cache
from importlib.resources import files

from asr_kd.cleaning.measure import ColumnValue
from asr_kd.core.text_files import read_lines

COLUMNS = {
    "repetition": "share of the words that say again the phrase directly before them, in [0, 1]; one word counts from "
    "four times on, two words from three, longer phrases from two",
    "compression": "length of the text against its length after zlib; above 2.4 Whisper takes it for a loop",
    "stock_phrase": "whether the whole text is a phrase that recognisers invent, such as THANK YOU FOR WATCHING",
    "words_per_s": "words a second; characters a second where the script has no blanks",
}
PHRASES_FILE = "stock_phrases.txt"
LONGEST_PHRASE = 12
"""Words of a phrase that is looked for again."""
MIN_TIMES = {1: 4, 2: 3}
"""In a row, for a phrase of so many words to be a loop, 2 for longer ones: people say NO NO NO, and TWO ONE TWO ONE."""
UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f]")
_MARKS = re.compile(r"[\W_]+")


def text_columns(text: str | None, seconds: float) -> dict[str, ColumnValue]:
    """The values of COLUMNS. text: None where there is none, and then null.  seconds: of the utterance."""
    if text is None:
        return dict.fromkeys(COLUMNS)
    words = _units(text)
    return {
        "repetition": round(repeated_share(words), 4),
        "compression": round(_compression(text), 3),
        "stock_phrase": is_stock_phrase(text),
        "words_per_s": round(len(words) / seconds, 3),
    }


def repeated_share(words: list[str]) -> float:
    """Share of the words that are repetitions of the phrase directly before them."""
    repeated = [False] * len(words)
    for size in range(1, min(LONGEST_PHRASE, len(words) // 2) + 1):
        start = 0
        while start + size < len(words):
            end = start + size
            while end < len(words) and words[end] == words[end - size]:
                end += 1
            times = (end - start) // size
            if times >= MIN_TIMES.get(size, 2):
                repeated[start + size : end] = [True] * (end - start - size)
            start = max(start + 1, end - size + 1)
    return sum(repeated) / len(words) if words else 0.0


def is_stock_phrase(text: str) -> bool:
    """Whether a text is one of PHRASES_FILE, or several times the same one."""
    plain = _plain(text)
    if plain in _phrases():
        return True
    words = plain.split()
    sizes = (n for n in range(1, len(words) // 2 + 1) if len(words) % n == 0)
    return any(words == words[:n] * (len(words) // n) and " ".join(words[:n]) in _phrases() for n in sizes)


def _compression(text: str) -> float:
    data = text.encode()
    return len(data) / len(zlib.compress(data)) if data else 0.0


def _units(text: str) -> list[str]:
    plain = _plain(text)
    return [c for c in plain if not c.isspace()] if UNSPACED.search(plain) else plain.split()


def _plain(text: str) -> str:
    """Lower case without punctuation: what recognisers and normalisers leave of a phrase."""
    return " ".join(_MARKS.sub(" ", unicodedata.normalize("NFKC", text).lower()).split())


@cache
def _phrases() -> frozenset[str]:
    data = (files("asr_kd.cleaning") / PHRASES_FILE).read_bytes()
    lines = read_lines(data, PHRASES_FILE)
    return frozenset(_plain(line) for line in lines if line.strip() and not line.startswith("#"))
