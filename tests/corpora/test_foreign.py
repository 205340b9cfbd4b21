"""Text and names in foreign tars and folders: what cannot be read costs its own sample, and nothing is guessed."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr_kd.corpora.folder import checked_manifest, folder_recordings
from asr_kd.inventory.lexicon import Lexicon
from asr_kd.shards.index import build_index, read_index, write_index


def foreign_tar(path: Path, *members: tuple[str | bytes, bytes]) -> Path:
    """A tar as others write it; bytes for a name that is not UTF-8."""
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name if isinstance(name, str) else name.decode("utf-8", "surrogateescape"))
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def one_second() -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.linspace(-0.5, 0.5, 16000), 16000, format="WAV")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("member", "said"),
    [
        (("b.txt", "caf\xe9".encode("latin-1")), "b.txt: not UTF-8 text"),
        (("b.txt", "hello".encode("utf-16")), "b.txt: not UTF-8 text, UTF-16 perhaps"),
        (("b.json", b"[" * 100_000), "levels"),
        (("b.json", b'{"n": 1' + b"0" * 400 + b"}"), "401 digits"),
        (("b.json", b'{"id": "x\\ud800"}'), "surrogate"),
        (("b.json", '{"text": "a"}'.encode("utf-16")), "not UTF-8 text"),
    ],
)
def test_a_sample_that_cannot_be_read_is_set_aside_and_the_others_stay(tmp_path, member, said):
    sound = one_second()
    tar = foreign_tar(tmp_path / "x.tar", ("a.wav", sound), ("a.txt", b"\xef\xbb\xbffirst\n"), ("b.wav", sound), member)
    index = build_index(tar)
    assert [(e.id, e.text) for e in index.entries] == [("a", "first")]
    assert [x["id"] for x in index.set_aside] == ["b"] and said in index.set_aside[0]["error"]
    write_index(tar, index)
    assert read_index(tar).set_aside == index.set_aside


def test_a_duration_that_is_no_number_costs_nothing_since_it_is_counted(tmp_path):
    tar = foreign_tar(tmp_path / "x.tar", ("a.wav", one_second()), ("a.json", b'{"text": "hi", "duration": NaN}'))
    index = build_index(tar)
    assert [(e.text, e.seconds) for e in index.entries] == [("hi", 1.0)] and not index.set_aside


def test_a_name_that_is_not_utf8_costs_its_sample_alone(tmp_path):
    sound = one_second()
    tar = foreign_tar(tmp_path / "x.tar", (b"caf\xe9.wav", sound), ("b.wav", sound))
    index = build_index(tar)
    write_index(tar, index)
    assert [e.id for e in read_index(tar).entries] == ["b"]
    assert index.set_aside == [{"id": "caf\\udce9", "error": "its name is not UTF-8"}]


def test_a_name_that_occurs_twice_is_refused(tmp_path):
    sound = one_second()
    members = [("a.wav", sound), ("a.txt", b"first"), ("a.wav", sound), ("a.txt", b"second")]
    with pytest.raises(ValueError, match=r"a\.wav occurs twice"):
        build_index(foreign_tar(tmp_path / "x.tar", *members))


@pytest.mark.parametrize(
    ("said", "text"), [("", ""), (" \n", ""), ("-", None), ("...", None), (None, None), ("Yes.", "YES")]
)
def test_no_text_is_unlabelled_and_empty_text_is_silence(tmp_path, said, text):
    (tmp_path / "a.wav").write_bytes(one_second())
    line = {"id": "a", "audio_filepath": "a.wav", "duration": 1.0, "text": said}
    (tmp_path / "in.jsonl").write_text(json.dumps(line) + "\n")
    if said is not None:
        (tmp_path / "a.txt").write_text(said)
    assert [u.text for u in checked_manifest(tmp_path / "in.jsonl")[0]] == [text]
    assert [r.text for r in folder_recordings(tmp_path)[0]] == [text]


def test_words_with_digits_are_not_made_up():
    lexicon, sources = Lexicon({"9": [("N", "AY", "N")]}).extended(["9", "42", "ROOM1", "YES"])
    assert lexicon.words == ["9", "YES"] and sources == {"YES": "cmudict"}
