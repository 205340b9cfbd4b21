import base64
import hashlib
import json
import tracemalloc
from html.parser import HTMLParser

import pytest

from asr_kd.evaluation.wer import utterance_errors
from asr_kd.report.utterances import rows, write_utterances

HOSTILE = [
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "]]></SCRIPT ><img src=x onerror=alert(2)>",
    '"],[0]]; alert(3) //',
    "{{ 7*7 }}&lt;\u2028\u202e\x00\ud800\x1b[31m",
    "__proto__",
]


def scored(references, texts, ids=None, speaker="s", meta=None, system="student"):
    """scores.json of one system, as far as the page reads it."""
    found = utterance_errors(references, texts)
    ids = ids or [f"u{i}" for i in range(len(references))]
    answers = [{"text": e.hypothesis, "path": e.path, "errors": e.errors} for e in found]
    per_utterance = [
        {"id": i, "speaker": speaker, "meta": meta or {}, "reference": e.reference, "systems": {system: a}}
        for i, e, a in zip(ids, found, answers, strict=True)
    ]
    return {"systems": {system: {}}, "per_utterance": per_utterance}


class Page(HTMLParser):
    """The page's tags and the texts of its scripts, by their ids."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.scripts, self.within = [], {}, None
        self.html = path.read_text(encoding="utf-8")
        self.feed(self.html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.within = dict(attrs).get("id", "")
            self.scripts[self.within] = ""

    def handle_endtag(self, tag):
        self.within = None if tag == "script" else self.within

    def handle_data(self, data):
        if self.within is not None:
            self.scripts[self.within] += data


def written(tmp_path, scores, system="student", title="AN4"):
    write_utterances(tmp_path / "utterances.html", scores, system, title)
    return Page(tmp_path / "utterances.html")


def test_a_row_has_the_alignment_and_the_words_that_are_not_the_reference_s():
    references = ["ONE TWO THREE", "FOUR FIVE", "", "SIX"]
    scores = scored(references, ["ONE TREE", "FOUR FIVE", "OH", ""], meta={"snr": 5.0, "group": None, "rooms": [1, 2]})
    assert [row[3] for row in rows(scores)] == [[["=SD", "TREE"]], [0], [["I", "OH"]], [["D", ""]]]
    assert next(rows(scores))[:3] == ["u0", {"speaker": "s", "snr": "5.0"}, "ONE TWO THREE"]


def test_every_utterance_is_in_the_page(tmp_path):
    references = [f"WORD {i}" for i in range(120)]
    page = written(tmp_path, scored(references, references[:60] + [""] * 60))
    found = json.loads(page.scripts["rows"])
    assert [row[0] for row in found] == [f"u{i}" for i in range(120)]
    assert json.loads(page.scripts["labels"]) == ["student"]


def test_a_set_without_utterances_has_a_page(tmp_path):
    assert json.loads(written(tmp_path, scored([], [])).scripts["rows"]) == []


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_ids_speakers_fields_names_and_titles_stay_data(tmp_path, hostile):
    scores = scored(["ONE"], ["TWO"], [hostile], speaker=hostile, meta={hostile: hostile}, system=hostile)
    (utterance,) = scores["per_utterance"]
    utterance["reference"] = utterance["systems"][hostile]["text"] = hostile.split()[0]
    page = written(tmp_path, scores, system=hostile, title=hostile)
    assert [attrs.get("type") for tag, attrs in page.tags if tag == "script"] == ["application/json"] * 2 + [None]
    assert not {"img", "iframe", "link", "object"} & {tag for tag, _ in page.tags}
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert not {"\u2028", "\u202e", "\x00", "\x1b", "\ud800"} & set(page.html)
    (row,) = json.loads(page.scripts["rows"])
    if hostile.isprintable():
        assert row[0] == row[1]["speaker"] == row[1][hostile] == hostile
        assert row[2] == row[3][0][1] == hostile.split()[0]


def test_the_page_s_own_script_is_the_only_one_allowed_and_nothing_is_fetched(tmp_path):
    page = written(tmp_path, scored(["ONE"], ["TWO"]))
    digest = base64.b64encode(hashlib.sha256(page.scripts[""].encode()).digest()).decode()
    policies = [a["content"] for tag, a in page.tags if tag == "meta" and "http-equiv" in a]
    assert policies == [f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"]
    assert {a["href"] for _, a in page.tags if "href" in a} == {"report.html"}
    assert not any("src" in a for _, a in page.tags)


def test_the_page_is_written_row_by_row(tmp_path):
    scores = scored(["ONE " * 500], ["TWO"])
    scores["per_utterance"] *= 2000
    tracemalloc.start()
    write_utterances(tmp_path / "utterances.html", scores, "student", "AN4")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < (tmp_path / "utterances.html").stat().st_size / 2 > 2_000_000
