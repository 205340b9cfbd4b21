"""`asr-kd filter --where`: columns of manifests choose utterances, alone and with the confidences of hypotheses."""

import json

import pytest

from asr_kd.cli import main
from asr_kd.corpora.conditions import Condition
from asr_kd.corpora.manifest import Utterance, read_manifest, write_manifest

COLUMNS = {
    "a": {"snr_db": 20.0, "language": "en", "duplicate_of": None, "stock phrase": False},
    "b": {"snr_db": 5.0, "language": "en", "duplicate_of": None},
    "c": {"snr_db": 15.0, "language": "de", "duplicate_of": "a"},
    "d": {"snr_db": None, "language": None, "duplicate_of": None},
}


@pytest.fixture
def manifest(tmp_path):
    path = tmp_path / "unlabelled.jsonl"
    write_manifest(path, [Utterance(i, f"/x/{i}.flac", 3600.0, meta=meta) for i, meta in COLUMNS.items()])
    return path


@pytest.mark.parametrize(
    ("conditions", "kept"),
    [
        (["snr_db >= 10"], "ac"),
        (["snr_db>=10", "duplicate_of is null"], "a"),
        (["language == en"], "ab"),
        (["language != en"], "c"),
        (["language in en, de"], "abc"),
        (["language not in de"], "ab"),
        (["snr_db is not null"], "abc"),
        (["speaker is null", "snr_db < 6"], "b"),
        (["snr_db = 20"], "a"),
        (["duration <= 3600"], "abcd"),
        (["language == 'en'"], "ab"),
    ],
)
def test_all_conditions_must_hold_and_null_satisfies_is_null_alone(manifest, tmp_path, conditions, kept):
    out = tmp_path / "kept.jsonl"
    assert main(["filter", str(manifest), "--where", *conditions, "--out", str(out)]) == 0
    found = list(read_manifest(out))
    assert "".join(u.id for u in found) == kept
    assert found[0] == next(u for u in read_manifest(manifest) if u.id == kept[0])


def test_hours_are_told_by_the_first_criterion_that_drops_and_by_each_alone(manifest, tmp_path, capsys):
    out, report = tmp_path / "kept.jsonl", tmp_path / "report.json"
    where = ["--where", "snr_db >= 10", "duplicate_of is null", "--max-seconds", "4000"]
    assert main(["filter", str(manifest), *where, "--out", str(out), "--report", str(report)]) == 0
    told = json.loads(report.read_text())
    assert told["all"] == {"utterances": 4, "hours": 4.0} and told["kept"] == {"utterances": 1, "hours": 1.0}
    dropped = {c["criterion"]: (c["dropped"]["hours"], c["alone"]["hours"]) for c in told["criteria"]}
    assert dropped == {"snr_db >= 10": (2, 2), "duplicate_of is null": (1, 1), "duration <= 4000.0": (0, 0)}
    assert "kept 1 of 4 utterances, 1.000 h, 25.0%" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("snr >= 10", "There are: audio_filepath, duplicate_of, duration, id, language"),
        ("language >= 10", "a: --where 'language >= 10': language is en there, no number"),
        ("snr_db >= high", "high is no number"),
        ("snr_db", "no condition. Write COLUMN >= NUMBER"),
        ("__import__('os')", "no condition"),
        ("snr_db >= 1000", "nothing is kept of 4 utterances; most went by: snr_db >= 1000"),
    ],
)
def test_what_cannot_be_meant_is_one_line_and_nothing_is_written(manifest, tmp_path, capsys, condition, message):
    out = tmp_path / "kept.jsonl"
    assert main(["filter", str(manifest), "--where", condition, "--out", str(out)]) == 2
    assert message in capsys.readouterr().err and not out.exists()


def _hypotheses(folder, confidences):
    lines = [
        {"id": i, "duration": 3600.0, "text": "GO", "confidence": c, "words": [["GO", 0.0, 1.0, c]]}
        for i, c in confidences.items()
    ]
    path = folder / "s0.hyp.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_columns_and_confidences_choose_together(manifest, tmp_path):
    hypotheses = _hypotheses(tmp_path, {"a": 0.4, "b": 0.9, "c": 0.8})
    out, report = tmp_path / "kept.jsonl", tmp_path / "report.json"
    command = ["filter", hypotheses, manifest, "--where", "snr_db >= 10", "--min-confidence", 0.5]
    assert main([*map(str, command), "--out", str(out), "--report", str(report)]) == 0
    (kept,) = [json.loads(line) for line in out.read_text().splitlines()]
    assert kept["id"] == "c" and kept["text"] == "GO"
    criteria = json.loads(report.read_text())["criteria"]
    assert [(c["criterion"], c["dropped"]["utterances"]) for c in criteria] == [
        ("set aside by labelling", 0),
        ("--where snr_db >= 10", 1),
        ("--min-confidence 0.5", 1),
    ]


def test_hypotheses_of_other_utterances_and_criteria_without_their_file_are_refused(manifest, tmp_path, capsys):
    hypotheses = _hypotheses(tmp_path, {"a": 0.4, "elsewhere": 0.9})
    for command, message in (
        ([hypotheses, manifest, "--where", "snr_db >= 10"], "elsewhere and 0 more hypotheses are in none"),
        ([hypotheses, "--where", "snr_db >= 10"], "give the manifest"),
        ([manifest, "--min-confidence", "0.5"], "--min-confidence: looks at hypotheses"),
    ):
        assert main(["filter", *map(str, command), "--dry-run"]) == 2
        assert message in capsys.readouterr().err


def test_a_condition_says_what_it_was_parsed_to():
    assert Condition.parse("  snr_db   >=  10 ") == Condition("snr_db >= 10", "snr_db", ">=", ("10",))
    assert Condition.parse("a  is   not null").operator == "is not null"
