import json

import jiwer
import pytest

from asr_kd.cli import main
from asr_kd.corpora.manifest import Utterance, write_manifest
from asr_kd.evaluation.table import pair_of

REFERENCES = ["ONE TWO THREE", "FOUR FIVE", "", "SIX SEVEN EIGHT NINE", "OH"]
STUDENT = ["one two tree", "four five", "uh", "six seven nine", "oh"]
BASELINE = ["one tree", "for five", "uh", "six eleven", ""]


@pytest.fixture
def folder(tmp_path):
    utterances = [
        Utterance(f"u{i}", f"u{i}.flac", 1.0, text=t, speaker=f"s{i % 2}", meta={"snr": [10, 5][i % 2]} if i else {})
        for i, t in enumerate(REFERENCES)
    ]
    write_manifest(tmp_path / "test.jsonl", utterances)
    for name, texts in (("student", STUDENT), ("baseline", BASELINE), ("oracle", REFERENCES)):
        write_hypotheses(tmp_path / name, {f"u{i}": t for i, t in enumerate(texts)})
    (tmp_path / "student" / "decode.json").write_text('{"rtf": 0.02, "params": 300000}')
    return tmp_path


def write_hypotheses(folder, texts):
    folder.mkdir(exist_ok=True)
    lines = [json.dumps({"id": i, "text": t, "seconds": 1.0}) for i, t in texts.items()]
    (folder / "hyp.jsonl").write_text("\n".join(lines) + "\n")


def score(folder, *more):
    hyps = [f"{name}={folder / name}" for name in ("student", "baseline", "oracle")]
    argv = ["score", "--ref", str(folder / "test.jsonl"), "--hyp", *hyps, "--out", str(folder / "scores"), *more]
    return main([*argv, "--bootstrap-samples", "500"])


def test_scores_hold_jiwers_wer_and_every_error(folder, capsys):
    assert score(folder, "--baseline", "baseline", "--oracle", "oracle", "--by", "snr") == 0
    scores = json.loads((folder / "scores" / "scores.json").read_text())
    student, baseline = scores["systems"]["student"], scores["systems"]["baseline"]
    assert student["wer"] == jiwer.wer(REFERENCES, [t.upper() for t in STUDENT])
    assert student["decode"]["params"] == 300000
    assert baseline["errors"] == sum(u["systems"]["baseline"]["errors"] for u in scores["per_utterance"])
    assert student["werr"] == 1 - student["errors"] / baseline["errors"]
    assert student["recovery"] == (baseline["errors"] - student["errors"]) / baseline["errors"]
    assert list(student["by"]["snr"]) == ["5", "10", "(none)"]
    assert sum(c["errors"] for c in student["by"]["snr"].values()) == student["errors"]
    assert scores["bootstrap"]["unit"] == "utterance"
    printed = capsys.readouterr().out
    assert "student" in printed and "30.0" in printed


def test_a_pair_reads_the_same_from_either_side(folder):
    score(folder)
    scores = json.loads((folder / "scores" / "scores.json").read_text())
    there, back = pair_of(scores, "student", "baseline"), pair_of(scores, "baseline", "student")
    assert there["difference"] == -back["difference"] < 0
    assert there["difference_ci95"] == [-x for x in reversed(back["difference_ci95"])]


def test_same_command_same_bytes(folder):
    score(folder, "--by", "snr")
    first = (folder / "scores" / "scores.json").read_bytes()
    score(folder, "--by", "snr")
    assert (folder / "scores" / "scores.json").read_bytes() == first


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        ({"u0": "one", "u1": "four"}, "no hypothesis for 3 utterances (u2, u3, u4)"),
        ({**{f"u{i}": "" for i in range(5)}, "x9": ""}, "no reference for 1 utterance (x9)"),
    ],
)
def test_hypotheses_that_do_not_fit_the_references_are_refused(folder, capsys, texts, told):
    write_hypotheses(folder / "student", texts)
    assert score(folder) == 2
    assert told in capsys.readouterr().err
    assert not (folder / "scores").exists()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--baseline", "nobody"], "nobody: not among the systems"),
        (["--oracle", "oracle"], "Name one with --baseline"),
        (["--by", "weather"], "Its fields are snr, speaker"),
        (["--hyp", "student=elsewhere"], "its own name"),
        (["--hyp", "elsewhere"], "NAME=PATH"),
    ],
)
def test_mistakes_are_told_in_one_line(folder, capsys, more, told):
    assert score(folder, *more) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1


def test_a_broken_line_is_named(folder, capsys):
    with open(folder / "student" / "hyp.jsonl", "a") as f:
        f.write('{"id": "u0"}\n')
    assert score(folder) == 2
    assert "hyp.jsonl:6:" in capsys.readouterr().err


def test_unlabelled_references_are_refused(folder, capsys):
    write_manifest(folder / "test.jsonl", [Utterance("u0", "u0.flac", 1.0)])
    assert score(folder) == 2
    assert "no text for 1 utterance (u0)" in capsys.readouterr().err
