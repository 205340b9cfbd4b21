"""Reads language models in the binary form of pocketsphinx (`Trie Language Model`), as the English one in its wheel.

The file: a magic word; the order and the number of entries of each order; tables of 65,536 values for the
probabilities and weights of each order, which are quantised; the unigrams; the longer entries, packed bit by bit;
the words. Entries are kept backwards: below each last word the words before it. Values are logarithms to base 1.0001.
Source: src/lm of github.com/cmusphinx/pocketsphinx.
"""

import math
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from asr_kd.core.extras import how_to_install
from asr_kd.graph.ngram import BOS, EOS
from asr_kd.graph.ngram_arrays import NgramArrays

SCHEME = "pocketsphinx:"
MAGIC = b"Trie Language Model"
LOG10_OF_BASE = math.log10(1.0001)
QUANT_BITS = 16
BINS = 1 << QUANT_BITS
UNIGRAM = np.dtype([("log_p", "<f4"), ("log_b", "<f4"), ("next", "<u4")])
WORD_BYTES = 8
"""Read at once for a field of bits; as many follow each array."""
MARKS = {"<s>": BOS, "</s>": EOS}


def packaged_model(name: str) -> Path:
    """The file of `pocketsphinx:NAME`. ValueError when the package or the model is not there."""
    model = name.removeprefix(SCHEME)
    found = find_spec("pocketsphinx")
    if found is None or not found.submodule_search_locations:
        raise ValueError(f"--arpa {name}: needs the package pocketsphinx. {how_to_install('general-lm')}")
    path = Path(found.submodule_search_locations[0]) / "model" / model / f"{model}.lm.bin"
    if "/" in model or not path.is_file():
        raise ValueError(f"--arpa {name}: the package has no such model. It has {SCHEME}en-us.")
    return path


def read_sphinx_lm(path: Path) -> NgramArrays:
    """The model, its words in capitals. ValueError when the file is damaged or of another form."""
    try:
        return _read(path.read_bytes())
    except (ValueError, IndexError, UnicodeDecodeError) as e:
        raise ValueError(f"{path}: no language model of pocketsphinx, or damaged ({e})") from None


def _read(data: bytes) -> NgramArrays:
    if not data.startswith(MAGIC):
        raise ValueError("its first bytes are others")
    order = data[len(MAGIC)]
    place = len(MAGIC) + 1
    if not 2 <= order <= 9:
        raise ValueError(f"its order is {order}")
    counts = np.frombuffer(data, "<u4", order, place).astype(np.int64)
    place += 4 * order + 4  # and the kind of quantisation, of which there is one
    tables = np.frombuffer(data, "<f4", BINS * (2 * (order - 2) + 1), place).reshape(-1, BINS)
    place += tables.nbytes
    unigrams = np.frombuffer(data, UNIGRAM, counts[0] + 1, place)
    place += unigrams.nbytes
    grams = [np.arange(counts[0])[:, None]]
    log_p, log_b = [unigrams["log_p"][:-1]], [unigrams["log_b"][:-1]]
    first = unigrams["next"].astype(np.int64)
    word_bits = int(counts[0]).bit_length()
    for k in range(2, order + 1):
        count, is_longest = int(counts[k - 1]), k == order
        next_bits = 0 if is_longest else int(counts[k]).bit_length()
        quant_bits = QUANT_BITS if is_longest else 2 * QUANT_BITS
        total = word_bits + quant_bits + next_bits
        size = ((1 + count) * total + 7) // 8 + WORD_BYTES
        packed = np.frombuffer(data, np.uint8, size, place)
        place += size
        used = int(first[-1])  # the writer may reserve more
        if first[0] != 0 or used > count or (np.diff(first) < 0).any():
            raise ValueError(f"its {k}-grams are not in their places")
        before_N = _bits(packed, used, total, 0, word_bits)
        parent_N = np.repeat(np.arange(len(first) - 1), np.diff(first))
        grams.append(np.column_stack([before_N, grams[-1][parent_N]]))
        if is_longest:
            log_p.append(tables[-1][_bits(packed, used, total, word_bits, QUANT_BITS)])
            log_b.append(np.zeros(used))
        else:
            log_b.append(tables[2 * k - 3][_bits(packed, used, total, word_bits, QUANT_BITS)])
            log_p.append(tables[2 * k - 4][_bits(packed, used, total, word_bits + QUANT_BITS, QUANT_BITS)])
            first = _bits(packed, used + 1, total, word_bits + quant_bits, next_bits)
    words = data[place + 4 :].decode().split("\0")[:-1]
    if len(words) != counts[0] or max(int(g.max(initial=0)) for g in grams) >= len(words):
        raise ValueError("its words are not as many as it says")
    names = [MARKS.get(word, word.upper()) for word in words]
    if len(set(names)) != len(names):
        raise ValueError("words of it differ in case alone")
    scale = LOG10_OF_BASE
    return NgramArrays.of_grams(
        names, grams, [p.astype(np.float64) * scale for p in log_p], [b.astype(np.float64) * scale for b in log_b]
    )


def _bits(packed: np.ndarray, count: int, total: int, start: int, length: int) -> np.ndarray:
    """A field of `length` bits of each of `count` entries of `total` bits, which begins at bit `start` of it."""
    bit_N = np.arange(count, dtype=np.int64) * total + start
    byte_N = bit_N >> 3
    value_N = np.zeros(count, np.uint64)
    for n in range((length + 7 + 7) // 8):
        value_N |= packed[byte_N + n].astype(np.uint64) << np.uint64(8 * n)
    value_N = (value_N >> (bit_N & 7).astype(np.uint64)) & np.uint64((1 << length) - 1)
    return value_N.astype(np.int64)
