"""Promises of core.files: files appear whole or not at all, digests are stable, paths stay inside."""

import hashlib
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_kd.core.files import atomic_path, fingerprint, read_json, resolve_inside, sha256_file, write_json

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


def test_a_file_appears_when_the_block_ends_and_not_before(tmp_path):
    path = tmp_path / "new" / "folder" / "out.txt"
    with atomic_path(path) as temporary:
        temporary.write_text("whole")
        assert temporary.parent == path.parent and not path.exists()
    assert path.read_text() == "whole" and os.listdir(path.parent) == ["out.txt"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "out.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="midway"), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError("midway")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["out.txt"]


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / "out.txt"
    path.write_text("old")
    writer = (
        "import os, signal, sys\n"
        "from asr_kd.core.files import atomic_path\n"
        "with atomic_path(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", writer, str(path)], check=False).returncode < 0
    assert path.read_text() == "old"
    with atomic_path(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"


@given(json_values)
def test_json_comes_back_and_its_fingerprint_does_not_depend_on_the_order_of_keys(value):
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        write_json(f"{folder}/value.json", value)
        assert read_json(f"{folder}/value.json") == value
    turned = dict(reversed(value.items())) if isinstance(value, dict) else value
    assert fingerprint(turned) == fingerprint(value)
    assert len(fingerprint(value)) == 64 and fingerprint([value]) != fingerprint(value)


@pytest.mark.parametrize("content", [None, "{broken", "\x00"])
def test_a_missing_or_broken_json_file_is_named(tmp_path, content):
    path = tmp_path / "index.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=r"index\.json"):
        read_json(path)


def test_sha256_file_is_the_digest_of_the_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"\x00audio" * 100_000)
    assert sha256_file(tmp_path / "a") == hashlib.sha256(b"\x00audio" * 100_000).hexdigest()


@pytest.mark.parametrize("inside", ["a.flac", "sub/a.flac", "sub/../a.flac", "./a.flac", "."])
def test_paths_inside_the_folder_are_resolved(tmp_path, inside):
    assert resolve_inside(tmp_path, inside).is_relative_to(tmp_path.resolve())


@pytest.mark.parametrize("outside", ["../a.flac", "sub/../../a.flac", "/etc/passwd", "link/a.flac"])
def test_paths_that_leave_the_folder_are_refused_by_name(tmp_path, outside):
    root = tmp_path / "corpus"
    root.mkdir()
    (root / "link").symlink_to(tmp_path)
    with pytest.raises(ValueError, match=outside):
        resolve_inside(root, outside)


def test_a_folder_with_the_same_beginning_is_outside(tmp_path):
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus-private").mkdir()
    with pytest.raises(ValueError, match="leads out"):
        resolve_inside(tmp_path / "corpus", "../corpus-private/a.flac")
