"""Ways to damage a file: bytes of any, lines of text, values of JSON."""

import json
import random
from collections.abc import Callable
from typing import Any

BLOCK = 512
HEADER = 200
"""Bytes at the front in which half of the damage to a binary file falls: there its sizes and types stand."""


def flip(data: bytearray, rng: random.Random) -> None:
    """1 to 8 bits."""
    for _ in range(rng.randint(1, 8)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def cut(data: bytearray, rng: random.Random) -> None:
    """The end goes."""
    del data[rng.randrange(len(data)) :]


def insert(data: bytearray, rng: random.Random) -> None:
    """Up to two blocks come in."""
    place = rng.randrange(len(data))
    data[place:place] = rng.randbytes(rng.randint(1, 2 * BLOCK))


def remove(data: bytearray, rng: random.Random) -> None:
    """Up to two blocks go."""
    place = rng.randrange(len(data))
    del data[place : place + rng.randint(1, 2 * BLOCK)]


def clear(data: bytearray, rng: random.Random) -> None:
    """Up to two blocks become zeros."""
    place = rng.randrange(len(data))
    size = min(rng.randint(1, 2 * BLOCK), len(data) - place)
    data[place : place + size] = bytes(size)


def exchange(data: bytearray, rng: random.Random) -> None:
    """Two blocks change places."""
    a, b = (rng.randrange(max(1, len(data) // BLOCK)) * BLOCK for _ in range(2))
    data[a : a + BLOCK], data[b : b + BLOCK] = data[b : b + BLOCK], data[a : a + BLOCK]


def set_number(data: bytearray, rng: random.Random) -> None:
    """Four bytes near the front become a number at the edge of its range: a size, a rate, a count."""
    place = rng.randrange(max(1, min(HEADER, len(data)) - 4))
    number = rng.choice((0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x0FFFFFFF, rng.getrandbits(32)))
    data[place : place + 4] = number.to_bytes(4, rng.choice(("little", "big")))


def flip_header(data: bytearray, rng: random.Random) -> None:
    """1 to 4 bits near the front."""
    for _ in range(rng.randint(1, 4)):
        data[rng.randrange(min(HEADER, len(data)))] ^= 1 << rng.randrange(8)


ANYWHERE: tuple[Callable[[bytearray, random.Random], None], ...] = (flip, flip, cut, insert, remove, clear, exchange)
IN_HEADER = (set_number, set_number, flip_header)


def damaged(data: bytes, rng: random.Random) -> bytes:
    """The bytes, damaged in one way anywhere."""
    return _changed(data, rng, ANYWHERE)


def damaged_binary(data: bytes, rng: random.Random) -> bytes:
    """The bytes, damaged in one way, half of the time near the front."""
    return _changed(data, rng, IN_HEADER if rng.random() < 0.5 else ANYWHERE)


def _changed(data: bytes, rng: random.Random, ways: tuple[Callable[[bytearray, random.Random], None], ...]) -> bytes:
    changed = bytearray(data)
    while changed == data:
        rng.choice(ways)(changed, rng)
    return bytes(changed)


ODD_TEXT = (
    "\x1b[2J",
    "\u202e",
    "a\u2028b",
    "\x85",
    "\ud800",
    "\0",
    " ",
    "",
    "\u00ad",
    "<eps>",
    "#0",
    "-inf",
    "nan",
    "1e400",
)
ODD_TEXT += ("a" * 100_000, "../../etc/passwd", "\ufeff", "!!python/object:x", "*a", "&a [*a]", "-1", "0", "9" * 400)


def damaged_text(data: bytes, rng: random.Random) -> bytes:
    """A text file, its bytes damaged, or its lines: doubled, exchanged, left out, or with an odd word."""
    if rng.random() < 0.3:
        return damaged(data, rng)
    lines = data.decode().split("\n")
    n = rng.randrange(len(lines))
    words = lines[n].split(" ")
    match rng.randrange(6):
        case 0:
            lines.insert(n, lines[n])
        case 1:
            del lines[n]
        case 2:
            m = rng.randrange(len(lines))
            lines[n], lines[m] = lines[m], lines[n]
        case _:
            words[rng.randrange(len(words))] = rng.choice(ODD_TEXT)
            lines[n] = " ".join(words)
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def same_text(data: bytes, rng: random.Random) -> bytes:
    """A text file written in another way: with a byte order mark, Windows' line ends, or a blank line at the end."""
    return rng.choice((b"\xef\xbb\xbf" + data, data.replace(b"\n", b"\r\n"), data.rstrip(b"\n") + b"\n\n"))


def _deep() -> Any:
    value: Any = 1
    for _ in range(500):
        value = [value]
    return value


ODD_VALUES = (None, True, -1, 0, 1e308, -1e308, 2**70, "", " ", [], {}, [[]], {"a": 1}, "text", 0.5, _deep(), *ODD_TEXT)
RAW_VALUES = ("NaN", "Infinity", "-Infinity", "1e999", "9" * 400, "[" * 5000 + "]" * 5000, '{"a":1,"a":2}', '"\\ud800"')


def damaged_json(data: bytes, rng: random.Random) -> bytes:
    """JSON in which one value is an odd one, a key is gone or new; or its bytes damaged."""
    if rng.random() < 0.25:
        return damaged(data, rng)
    value = json.loads(data)
    places = list(_places(value))
    holder, key = rng.choice(places)
    way = rng.random()
    if way < 0.15 and isinstance(holder, dict):
        del holder[key]
    elif way < 0.2 and isinstance(holder, dict):
        holder[rng.choice(ODD_TEXT)] = holder[key]
    elif way < 0.5:
        holder[key] = "\0raw\0"
        raw = json.dumps(value).replace(json.dumps("\0raw\0"), rng.choice(RAW_VALUES))
        return raw.encode("utf-8", "surrogatepass")
    else:
        holder[key] = rng.choice(ODD_VALUES)
    return json.dumps(value, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")


def damaged_json_lines(data: bytes, rng: random.Random) -> bytes:
    """Lines of JSON: one of them damaged, doubled, left out or cut."""
    lines = data.rstrip(b"\n").split(b"\n")
    n = rng.randrange(len(lines))
    match rng.randrange(8):
        case 0:
            lines.insert(n, lines[n])
        case 1:
            return damaged(data, rng)
        case _:
            lines[n] = damaged_json(lines[n], rng).replace(b"\n", b" ")
    return b"\n".join(lines) + b"\n"


def damaged_safetensors(data: bytes, rng: random.Random) -> bytes:
    """A file of tensors: its JSON header odd, or its bytes damaged."""
    if rng.random() < 0.4:
        return damaged_binary(data, rng)
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    if "__metadata__" in header and rng.random() < 0.6:
        key = rng.choice(list(header["__metadata__"]))
        text = header["__metadata__"][key]
        inner = damaged_json(text.encode(), rng) if text[:1] in "{[" else damaged_text(text.encode(), rng)
        header["__metadata__"][key] = inner.decode("utf-8", "replace")
        new = json.dumps(header).encode()
    else:
        new = damaged_json(json.dumps(header).encode(), rng)
    return len(new).to_bytes(8, "little") + new + data[8 + size :]


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every holder and key of a value within JSON, however deep."""
    found = []
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        found += [(value, key), *_places(value[key])]
    return found
