"""onnxruntime-web comes from a given folder, or once with npm; what is missing or changed is one line."""

import pytest

from asr_kd.export.web_runtime import RUNTIME_FILES, VERSION, runtime_folder, unpack


@pytest.fixture
def package(tmp_path):
    for file in RUNTIME_FILES:
        (tmp_path / "package" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "package" / file).write_text("")
    return tmp_path / "package"


def test_a_given_folder_is_used_as_it_is(package):
    assert runtime_folder(package) == package
    (package / RUNTIME_FILES[1]).unlink()
    with pytest.raises(ValueError, match=f"has no {RUNTIME_FILES[1]}. Give --onnxruntime-web"):
        runtime_folder(package)


def test_what_was_fetched_before_is_not_fetched_again(package, tmp_path, monkeypatch):
    cached = tmp_path / "asr_kd" / f"onnxruntime-web-{VERSION}"
    cached.parent.mkdir()
    package.rename(cached)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    assert runtime_folder(None) == cached


@pytest.mark.parametrize(
    ("npm", "said"),
    [
        (None, "npm, which fetches it, is not installed"),
        ("echo 'npm error network' >&2; exit 1", r"npm cannot fetch it \(npm error network\)"),
        ('for folder; do :; done; echo changed > "$folder/a.tgz"', "it was changed on its way"),
    ],
)
def test_without_a_network_or_npm_it_says_what_to_do(npm, said, tmp_path, monkeypatch):
    if npm:
        (tmp_path / "npm").write_text(f"#!/bin/sh\n{npm}\n")
        (tmp_path / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(ValueError, match=said) as caught:
        runtime_folder(None)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "cache" / "asr_kd").iterdir())


def test_another_archive_is_refused(tmp_path):
    (tmp_path / "a.tgz").write_bytes(b"another")
    with pytest.raises(ValueError, match="SHA-512"):
        unpack(tmp_path / "a.tgz", tmp_path)
