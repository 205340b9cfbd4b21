"""Text and JSON from outside: the one reader of lines and the one parser of JSON, for every file that is read.

A file whose name ends in `.gz` is unpacked while it is read.
"""

import codecs
import gzip
import io
import json
import math
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from asr_kd.core.renames import renamed_file

MAX_DEPTH = 64
"""Objects and lists within each other in JSON; what copies or compares deeper values ends in RecursionError."""
MAX_DIGITS = 40
"""Digits of a whole number in JSON; it stays in the range of float."""
MAX_LINE_BYTES = 64 << 20
_ESCAPED_BYTE = re.compile("[\ud800-\udfff\ufffd]")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def read_text(source: Path | bytes, where: object = None, advice: str = "") -> str:
    """The text of a UTF-8 file, or of its bytes, without a byte order mark.

    where: what errors call it (default: the path).  advice: what to do, at the end of errors.
    ValueError when there is no such file, or when it is not text in UTF-8. Errors of the system stay OSError.
    """
    where = source if where is None else where
    if isinstance(source, Path):
        with _opened(source, where, advice) as f, _errors_of_gzip(where, advice):
            source = f.read()
    return _decoded(source, where, advice)


def read_lines(source: Path | bytes, where: object = None, advice: str = "") -> Iterator[str]:
    r"""The lines of a UTF-8 file, or of its bytes, without a byte order mark and line ends.

    A line ends at \n or \r\n and nowhere else: U+2028, \v, \f and the like may stand inside a line of JSON.
    Errors as those of `read_text`, with the number of the line.
    """
    where = source if where is None else where
    with io.BytesIO(source) if isinstance(source, bytes) else _opened(source, where, advice) as f:
        number = 0
        while True:
            with _errors_of_gzip(where, advice):
                line = f.readline(MAX_LINE_BYTES + 1)
            if not line:
                return
            number += 1
            if len(line) > MAX_LINE_BYTES:
                raise ValueError(f"{where}:{number}: a line of more than {MAX_LINE_BYTES >> 20} MiB. {advice}".rstrip())
            text = _decoded(line.removesuffix(b"\n").removesuffix(b"\r"), f"{where}:{number}", advice, number == 1)
            yield text


def lenient_lines(path: Path, encoding: str = "utf-8") -> Iterator[str]:
    r"""The lines of a text file as `read_lines`, in any encoding; what is no text stays, for `text_fault` to tell.

    encoding: a name of Python's; a byte order mark of UTF-8 or UTF-16 goes before it.  Bytes that are not in it become
    lone surrogates.  ValueError when there is no such file or no such encoding.
    """
    encoding = _text_encoding(encoding)
    with _opened(path, path, "") as f:
        with _errors_of_gzip(path, ""):
            mark = f.read(3)
        f.seek(0)
        if mark[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            encoding = "utf-16"
        elif mark == codecs.BOM_UTF8:
            encoding = "utf-8-sig"
        text = io.TextIOWrapper(f, encoding, "replace" if encoding.startswith("utf-16") else "surrogateescape", "\n")
        while True:
            with _errors_of_gzip(path, ""):
                line = text.readline(MAX_LINE_BYTES)
            if not line:
                return
            yield line.removesuffix("\n").removesuffix("\r")


def text_fault(line: str) -> str | None:
    """What is wrong with a line of `lenient_lines`: bytes of another encoding, or NUL. None for text."""
    if "\0" in line:
        return "holds NUL characters"
    if not line.isascii() and _ESCAPED_BYTE.search(line):
        return "holds bytes of another encoding. Give it, for example --encoding cp1252."
    return None


def _text_encoding(name: str) -> str:
    try:
        "".encode(name)
        return codecs.lookup(name).name
    except LookupError:
        raise ValueError(f"--encoding {name}: not known. Write utf-8, utf-16, cp1252, shift_jis, ...") from None


def read_rows(source: Path | bytes, where: object = None, advice: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """JSON lines: `FILE:LINE` and the object of each line that is not blank. Errors as those of `read_lines`."""
    where = source if where is None else where
    for number, line in enumerate(read_lines(source, where, advice), 1):
        if line.strip():
            place = f"{where}:{number}"
            row = parse_json(line, place)
            if not isinstance(row, dict):
                raise ValueError(f"{place}: holds a JSON {type(row).__name__}; one object a line is needed")
            yield place, row


def lenient_rows(path: Path) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """JSON lines one by one: `FILE:LINE`, and the object of each line that is not blank, or why it cannot be used.

    ValueError when there is no such file, or it is packed and damaged.
    """
    for number, line in enumerate(lenient_lines(path), 1):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        row: Any = text_fault(line)
        if row is None:
            try:
                row = parse_json(line, place)
            except ValueError as e:
                row = str(e).removeprefix(f"{place}: ")
            else:
                row = row if isinstance(row, dict) else f"a JSON {type(row).__name__}, no object"
        yield place, row


def parse_json(text: str | bytes, where: object, nan_is_null: bool = False) -> Any:
    """The value of a JSON text. ValueError, in one line, for whatever is wrong with it.

    Refused beside what is no JSON: NaN and Infinity, numbers out of the range of float or of more than MAX_DIGITS
    digits, values deeper than MAX_DEPTH, halves of surrogate pairs (text that cannot be written as UTF-8).
    nan_is_null: NaN and Infinity are null instead, for what other programs write and nobody here reads.
    """
    text = _decoded(text, where) if isinstance(text, bytes) else text
    try:
        value = json.loads(
            text, parse_constant=_null if nan_is_null else _not_finite, parse_float=_finite, parse_int=_whole
        )
        if text.count("{") + text.count("[") > MAX_DEPTH and _is_deep(value):
            raise RecursionError
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError(f"{where}: not valid JSON (more than {MAX_DEPTH} levels of objects or lists)") from None
    except UnicodeEncodeError:
        raise ValueError(f"{where}: not valid JSON (half of a surrogate pair: not text)") from None
    except json.JSONDecodeError as e:
        place = f"line {e.lineno}, " if "\n" in text else ""
        raise ValueError(f"{where}: not valid JSON ({e.msg}: {place}column {e.colno})") from None
    except ValueError as e:
        raise ValueError(f"{where}: not valid JSON ({e})") from None
    return value


def _opened(path: Path, where: object, advice: str) -> io.BufferedReader | gzip.GzipFile:
    try:
        return gzip.open(path) if path.suffix == ".gz" else open(path, "rb")
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(f"{where}: no such file.{renamed_file(path.name)} {advice}".rstrip()) from None
    except IsADirectoryError:
        raise ValueError(f"{where}: a folder, not a file. {advice}".rstrip()) from None


@contextmanager
def _errors_of_gzip(where: object, advice: str) -> Iterator[None]:
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error) as e:
        raise ValueError(f"{where}: damaged, or no gzip ({e}). {advice}".rstrip()) from None


def _decoded(data: bytes, where: object, advice: str = "", mark: bool = True) -> str:
    """mark: whether a byte order mark may begin the text."""
    try:
        text = data.decode("utf-8-sig" if mark else "utf-8")
    except UnicodeDecodeError as e:
        known = ", UTF-16 perhaps" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else f": {e.reason} at byte {e.start}"
        raise ValueError(f"{where}: not UTF-8 text{known}. {advice}".rstrip()) from None
    if "\0" in text:
        raise ValueError(f"{where}: not UTF-8 text: holds NUL characters. {advice}".rstrip())
    return text


def _null(name: str) -> None:
    """JSON's word for a number that is none."""


def _not_finite(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"the number {text[:20]} is out of range")
    return value


def _whole(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        held = (x for v in level for x in (v.values() if isinstance(v, dict) else v))
        level = [x for x in held if isinstance(x, (dict, list))]
        if not level:
            return False
    return True
