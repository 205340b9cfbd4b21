"""Texts that recognisers invent are told from what people say."""

import json

import pytest

from asr_kd.cleaning.annotate import AnnotateRun, annotate_manifests
from asr_kd.cleaning.text import is_stock_phrase, repeated_share, text_columns
from asr_kd.corpora.manifest import read_manifest, write_manifest


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("", 0),
        ("GO ON", 0),
        ("NO NO NO", 0),
        ("TWO ONE TWO ONE", 0),
        ("I SEE I SEE", 0),
        ("FIVE FIVE FIVE FIVE", 0.75),
        ("AND SO ON AND SO ON", 0.5),
        ("WE WILL GO AND SO ON AND SO ON AND SO ON", 0.5),
        ("A B A B A B", 4 / 6),
    ],
)
def test_what_is_said_again_and_again(text, share):
    assert repeated_share(text.split()) == pytest.approx(share, abs=0.1)


@pytest.mark.parametrize(
    ("text", "is_stock"),
    [
        ("THANK YOU FOR WATCHING", True),
        ("Thanks for watching!", True),
        ("THANK YOU THANK YOU THANK YOU", True),
        ("Untertitel der Amara.org-Community", True),
        ("Sous-titres réalisés par la communauté d'Amara.org", True),
        ("ご視聴ありがとうございました。", True),
        ("Продолжение следует...", True),
        ("THANK YOU FOR THE COFFEE", False),
        ("I AM WATCHING", False),
        ("", False),
    ],
)
def test_stock_phrases_in_several_languages_whatever_their_punctuation(text, is_stock):
    assert is_stock_phrase(text) is is_stock


def test_rates_count_words_or_characters():
    assert text_columns("GO ON THEN", 2.0)["words_per_s"] == 1.5
    assert text_columns("今天天气很好", 2.0)["words_per_s"] == 3.0
    assert text_columns("GO ON " * 40, 10.0)["compression"] > 2.4
    assert set(text_columns(None, 1.0).values()) == {None}


def test_transcripts_of_a_recogniser_or_the_text_of_the_manifest_give_the_columns(tone_utterances, tmp_path):
    write_manifest(tmp_path / "unlabelled.jsonl", tone_utterances[:3])
    first, second, _ = (u.id for u in tone_utterances[:3])
    lines = [
        {"id": first, "duration": 1.0, "text": "THANK YOU", "confidence": 0.5, "words": []},
        {"id": second, "duration": 1.0, "reason": "no speech"},
    ]
    (tmp_path / "s.hyp.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = {}
    for out, options in (("given", {"transcripts": (tmp_path / "s.hyp.jsonl",)}), ("own", {})):
        run = AnnotateRun(
            inputs=(tmp_path / "unlabelled.jsonl",), out=tmp_path / out, measures=("text",), workers=1, **options
        )
        annotate_manifests(run)
        found[out] = [u.meta["stock_phrase"] for u in read_manifest(tmp_path / out / "unlabelled.jsonl")]
    assert found == {"given": [True, None, None], "own": [False, False, False]}
