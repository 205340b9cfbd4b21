"""What data says reaches the terminal as visible text on one line."""

import ast
import errno
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_kd.core.files import atomic_path
from asr_kd.core.terminal import explain, markdown_text, printable, say, show

PACKAGE = Path(__file__).resolve().parents[2] / "asr_kd"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2Jid", "\\u001b[2Jid"),
        ("a\nasr-kd label: 9 of 9 shards labelled", "a\\nasr-kd label: 9 of 9 shards labelled"),
        ("a\u2028b\u2029c\x85d", "a\\u2028b\\u2029c\\u0085d"),
        ("\u202eabc", "\\u202eabc"),
        ("\x9b31m\x7f", "\\u009b31m\\u007f"),
        ("name-\udce9.wav", "name-\\udce9.wav"),  # a file name that is not UTF-8
        ("Grüße, 世界, می‌خواهم", "Grüße, 世界, می‌خواهم"),
    ],
)
def test_printable_escapes_what_steers_a_terminal_and_keeps_text(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(st.characters(exclude_categories=[]), max_size=20))
def test_what_is_printed_is_one_line_that_any_stream_takes_and_json_stays_json(text: str) -> None:
    line = printable(text)
    assert len(line.splitlines()) <= 1
    assert line.encode().decode() == line
    assert json.loads(printable(json.dumps([text], ensure_ascii=False))) == [text]


def test_each_argument_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    say("a\nb", "c")
    show("d\re")
    out, err = capsys.readouterr()
    assert (out, err) == ("d\\re\n", "a\\nb\nc\n")


def test_markdown_ends_in_no_cell_and_no_tag() -> None:
    assert markdown_text("a|b<i>\n_c_ \u202e") == "a\\|b&lt;i> \\_c\\_ \\\\u202e"


def test_a_failing_write_is_told_with_its_file(tmp_path: Path) -> None:
    path = tmp_path / "hyp.jsonl"
    for e in (OSError(errno.ENOSPC, "No space left on device"), OSError(errno.EDQUOT, "Disk quota exceeded")):
        with pytest.raises(OSError, match=re.escape(str(path))) as raised, atomic_path(path):
            raise e
        assert explain(raised.value) == f"{path}: {e.strerror}" and raised.value.errno == e.errno
    full = Path("/dev/full")
    with pytest.raises(OSError) as raised, open(full, "w") as f, atomic_path(path) as temporary:
        temporary.write_text("x")
        print("x" * 9999, file=f, flush=True)
    assert explain(raised.value) == f"{path}: No space left on device" and not list(tmp_path.iterdir())


def test_memory_that_ran_out_is_told_with_a_way_out() -> None:
    assert "out of memory. Use smaller" in explain(MemoryError())


def test_nothing_else_in_the_package_prints() -> None:
    found = [
        f"{path}:{node.lineno}"
        for path in sorted(PACKAGE.rglob("*.py"))
        # Recipes run stages.py with the standard library only, peers of a benchmark are programs of other environments.
        if path.name not in ("terminal.py", "stages.py") and path.parent.name != "peers"
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print")
        or (isinstance(node, ast.Attribute) and node.attr == "write" and ast.unparse(node.value).startswith("sys."))
    ]
    assert not found, f"print with asr_kd.core.terminal.say or show: {found}"
