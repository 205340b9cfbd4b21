"""Lines of hypotheses and of transcripts: one schema, the bytes that earlier versions wrote."""

import json

import pytest

from asr_kd.core.text_files import read_rows
from asr_kd.evaluation.hypotheses import read_hypotheses
from asr_kd.transcripts.pseudo_labels import read_transcripts
from asr_kd.transcripts.recognised import Alternative, RecognisedUtterance, write_recognised

DECODED = """{"id": "a", "text": "GO ON", "seconds": 1.5, "nbest": [{"text": "GO ON", "cost": 3.25}]}
{"id": "b", "text": "", "seconds": 0.1, "nbest": []}
{"id": "c", "reason": "damaged audio"}
"""
LABELLED = (
    """{"id": "a", "audio_filepath": "a.flac", "duration": 1.5, "text": "GÉ ON", "confidence": 0.9, """
    """"agreement": 0.8, "entropy": 0.5, "phones": 4, "words": [["GÉ", 0.0, 0.3, 0.95], ["ON", 0.3, 0.6, 0.8]], """
    """"speaker": "anna", "shard": "5f", "lang": "en"}
{"id": "b", "audio_filepath": "b.flac", "duration": 0.01, "reason": "too short", "shard": "5f"}
"""
)


def test_hypotheses_are_written_as_before_and_read(tmp_path):
    file = tmp_path / "hyp.jsonl"
    found = [
        RecognisedUtterance(id="a", text="GO ON", seconds=1.5, alternatives=[Alternative("GO ON", 3.25)]),
        RecognisedUtterance(id="b", text="", seconds=0.1, alternatives=[]),
        RecognisedUtterance.skipped("c", "damaged audio"),
    ]
    write_recognised(file, found)
    assert file.read_text() == DECODED
    assert read_hypotheses(tmp_path) == {"a": "GO ON", "b": "", "c": None}


def test_transcripts_come_back_as_they_were_with_fields_of_others(tmp_path):
    file = tmp_path / "s.hyp.jsonl"
    file.write_text(LABELLED, encoding="utf-8")
    found = list(read_transcripts(tmp_path))
    assert found[0].words[1].start_s == 0.3 and found[0].scores["phones"] == 4 and found[0].other == {"lang": "en"}
    assert (found[1].text, found[1].reason, found[1].seconds) == (None, "too short", 0.01)
    write_recognised(tmp_path / "again.jsonl", found)
    assert (tmp_path / "again.jsonl").read_text(encoding="utf-8") == LABELLED
    assert read_hypotheses(file) == {"a": "GÉ ON", "b": None}


def test_hypotheses_of_other_programs_need_an_id_and_text_alone(tmp_path):
    file = tmp_path / "nemo.jsonl"
    file.write_text(json.dumps({"id": "a", "text": "GO", "words": {"GO": 1}, "confidence": "high"}) + "\n")
    assert read_hypotheses(file) == {"a": "GO"}
    with pytest.raises(ValueError, match=r"nemo.jsonl:1: a: duration is None; a number"):
        list(read_transcripts(file))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"id": "a"}, ":1: a: neither text nor a reason"),
        ({"text": "GO"}, ":1: id is None"),
        ({"id": "a", "text": 5}, ":1: a: neither text nor a reason"),
    ],
)
def test_a_line_that_says_nothing_is_named(tmp_path, line, message):
    file = tmp_path / "hyp.jsonl"
    file.write_text(json.dumps(line) + "\n")
    with pytest.raises(ValueError, match=message):
        read_hypotheses(file)
    file.write_text(DECODED + DECODED)
    assert len(list(read_rows(file))) == 6
    with pytest.raises(ValueError, match=r"hyp.jsonl:4: a is also at .*hyp.jsonl:1\. Give each utterance once"):
        read_hypotheses(file)
