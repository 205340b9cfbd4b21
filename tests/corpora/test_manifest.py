"""Manifests: what is written is read again, and every mistake is named by file, line and field."""

import json
import re
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_kd.corpora.manifest import Utterance, derived_id, read_manifest, write_manifest

SCHEMA = Path(__file__).parents[2] / "manifests" / "schema.json"
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
utterances = st.builds(
    Utterance,
    id=st.text(string.ascii_letters + "é-_.:/", min_size=1, max_size=12),
    audio_filepath=st.text(string.ascii_letters + " é", min_size=1, max_size=12).map(lambda name: f"/data/{name}.flac"),
    duration=st.floats(0.01, 1e5),
    offset=st.floats(0, 1e5),
    text=st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    speaker=st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    meta=st.dictionaries(st.text(max_size=5), json_values, max_size=3),
)


def write_lines(path: Path, *lines) -> Path:
    path.write_text("".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines))
    return path


@given(written=st.lists(utterances, max_size=5, unique_by=lambda u: u.id))
def test_what_is_written_is_read_again(tmp_path_factory, written):
    path = tmp_path_factory.mktemp("m") / "m.jsonl"
    assert write_manifest(path, written) == len(written)
    assert list(read_manifest(path)) == written


def test_a_nemo_manifest_is_read_as_it_is(tmp_path):
    line = {"audio_filepath": "clips/a.wav", "duration": 1.5, "text": "yes", "lang": "en", "meta": {"snr": 5}}
    (utterance,) = read_manifest(write_lines(tmp_path / "nemo.json", line))
    assert utterance.audio_filepath == str(tmp_path / "clips/a.wav")
    assert utterance.meta == {"lang": "en", "snr": 5}
    assert utterance.id.startswith("a-")


def test_a_derived_id_depends_on_path_and_offset_as_written_only(tmp_path):
    line = {"audio_filepath": "a.wav", "duration": 1.0}
    here, there = tmp_path / "here", tmp_path / "there"
    ids = []
    for folder in (here, there):
        folder.mkdir()
        ids.append([u.id for u in read_manifest(write_lines(folder / "m.jsonl", line, {**line, "offset": 2}))])
    assert ids[0] == ids[1]
    assert ids[0][0] != ids[0][1]
    assert derived_id("a.wav", 2) == derived_id("a.wav", 2.0)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ({"duration": 1.0}, "audio_filepath is missing"),
        ({"audio_filepath": "a.wav"}, "duration is missing"),
        ({"audio_filepath": "a.wav", "duration": -1}, "duration is -1"),
        ({"audio_filepath": "a.wav", "duration": "1.0"}, "duration is '1.0'"),
        ({"audio_filepath": "a.wav", "duration": True}, "duration is True"),
        ({"audio_filepath": "a.wav", "duration": 1, "offset": -0.5}, "offset is -0.5"),
        ({"audio_filepath": "a.wav", "duration": 1, "offset": "x"}, "offset is 'x'"),
        ({"audio_filepath": 3, "duration": 1}, "audio_filepath is 3"),
        ({"audio_filepath": "a.wav", "duration": 1, "text": 7}, "text is 7"),
        ({"audio_filepath": "a.wav", "duration": 1, "id": ""}, "id is ''"),
        ({"audio_filepath": "a.wav", "duration": 1, "speaker": ["a"]}, "speaker is"),
        ({"audio_filepath": "a.wav", "duration": 1, "meta": "x"}, "meta is 'x'"),
        ('{"audio_filepath": "a.wav", "duration": NaN}\n', "NaN is no number"),
        ("[1]\n", "one object a line"),
        ("{oops\n", "not valid JSON"),
    ],
)
def test_a_mistake_is_named_by_file_line_and_field(tmp_path, line, complaint):
    good = {"id": "g", "audio_filepath": "g.wav", "duration": 1}
    path = write_lines(tmp_path / "m.jsonl", good, "\n", line)
    with pytest.raises(ValueError, match=rf"^{re.escape(str(path))}:3: .*{re.escape(complaint)}") as error:
        list(read_manifest(path))
    assert "\n" not in str(error.value)


def test_an_id_that_occurs_twice_is_refused_by_reader_and_writer(tmp_path):
    line = {"id": "a", "audio_filepath": "a.wav", "duration": 1}
    with pytest.raises(ValueError, match=r":2: id is a, as at .*:1;"):
        list(read_manifest(write_lines(tmp_path / "m.jsonl", line, line)))
    with pytest.raises(ValueError, match="id a occurs twice"):
        write_manifest(tmp_path / "n.jsonl", [Utterance("a", "a.wav", 1.0)] * 2)
    assert not (tmp_path / "n.jsonl").exists()


def test_the_schema_lists_the_fields_that_are_read():
    schema = json.loads(SCHEMA.read_text())
    assert set(schema["properties"]) == {
        "id",
        "audio_filepath",
        "offset",
        "duration",
        "text",
        "lang",
        "speaker",
        "meta",
    }
    assert schema["required"] == ["audio_filepath", "duration"]
