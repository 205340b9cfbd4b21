"""One reader of lines and one parser of JSON: what is odd in a file ends in one line that names its place."""

import json
from pathlib import Path

import pytest

from asr_kd.core.text_files import MAX_DEPTH, parse_json, read_lines, read_rows, read_text

INSIDE = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\x1dh\x1ei\rj"
"""What str.splitlines() cuts at, and no file of lines does."""


def test_a_line_ends_at_line_feeds_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes(f"\ufeff{INSIDE}\r\n\n{INSIDE}\nlast".encode())
    assert list(read_lines(path)) == [INSIDE, "", INSIDE, "last"]
    assert list(read_lines(path.read_bytes(), "x")) == list(read_lines(path))
    assert read_text(path) == f"{INSIDE}\r\n\n{INSIDE}\nlast"


def test_rows_keep_their_line_numbers_and_what_their_texts_hold(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(["", json.dumps({"a": INSIDE}, ensure_ascii=False), " ", '{"a": 1}\r', ""]), "utf-8")
    assert list(read_rows(path)) == [(f"{path}:2", {"a": INSIDE}), (f"{path}:4", {"a": 1})]


@pytest.mark.parametrize(
    "data",
    [b"x\ncaf\xe9", b"x\nh\0e\0", "x\nhello".encode("utf-16"), b"x\n\xed\xa0\x80", b"x\n\xff"],
    ids=["latin-1", "NUL", "utf-16", "surrogate", "no byte of UTF-8"],
)
def test_what_is_not_utf8_names_file_and_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=rf"{path}:[12]: .*not UTF-8 text") as e:
        list(read_lines(path, advice="Give text."))
    assert "\n" not in str(e.value) and str(e.value).endswith("Give text.")
    with pytest.raises(ValueError, match="not UTF-8 text"):
        read_text(path)


def test_a_file_that_is_not_there_or_a_folder_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none: no such file\. Give one\."):
        list(read_lines(tmp_path / "none", advice="Give one."))
    with pytest.raises(ValueError, match="a folder"):
        read_text(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 100_000, "levels"),
        ("[" * 900 + "]" * 900, "levels"),
        ('{"a":' * (MAX_DEPTH + 1) + "1" + "}" * (MAX_DEPTH + 1), "levels"),
        ("1" + "0" * 400, "401 digits"),
        ("9" * 5000, "5000 digits"),
        ("1e400", "out of range"),
        ("[-1e999]", "out of range"),
        ("NaN", "NaN is no number"),
        ('{"a": -Infinity}', "-Infinity is no number"),
        ('{"id": "a\\ud800"}', "surrogate"),
        ('{"\\uDFFF": 1}', "surrogate"),
        ('{"a": 1,}', "column 9"),
        ("{}\n\n{", "line 3, column 1"),
        ("", "column 1"),
        (b'\xff{"a": 1}', "not UTF-8"),
        ('{"a": 1}'.encode("utf-16-le"), "not UTF-8"),
    ],
    ids=lambda v: v[:12] if isinstance(v, str) else str(v)[:12],
)
def test_json_that_would_harm_later_is_refused_in_one_line(text: str | bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said) as e:
        parse_json(text, "x.json")
    assert str(e.value).startswith("x.json: not ") and "\n" not in str(e.value) and len(str(e.value)) < 120


@pytest.mark.parametrize(
    "value",
    [
        {"a": [1, 2.5, None, True, "\U0001f600 \\ud800 [[[["]},
        [[[]] * 200] * 3,
        18446744073709551615,
        "\u2028",
        json.loads("[" * MAX_DEPTH + "]" * MAX_DEPTH),
    ],
    ids=["object", "wide", "64 bit", "separator", "deep enough"],
)
def test_sound_json_is_read_as_by_the_standard_library(value: object) -> None:
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=1)):
        assert parse_json(text, "x") == parse_json(b"\xef\xbb\xbf" + text.encode(), "x") == value


def test_rows_are_objects(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="x:2: holds a JSON list"):
        list(read_rows(b"{}\n[1]\n", "x"))
