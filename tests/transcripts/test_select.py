import json

import pytest

from asr_kd.cli import main
from asr_kd.corpora.manifest import read_manifest
from asr_kd.corpora.sentences import read_sentences
from asr_kd.evaluation.hypotheses import read_hypotheses
from asr_kd.graph.confidence import DecodedUtterance, DecodedWord
from asr_kd.shards.reader import Entry, Shard
from asr_kd.transcripts.pseudo_labels import read_transcripts, transcripts_path, write_transcripts

SHIFT_S = 0.03


def heard(confidence, *words, agreement=0.9, entropy=0.5, phones=10):
    said = [DecodedWord(word, 10 * i, 10 * i + 10, c, c, c) for i, (word, c) in enumerate(words)]
    return DecodedUtterance(said, confidence, agreement, entropy, phones, 100).transcript(SHIFT_S)


def shard_of(folder, name, *entries):
    return Shard(folder / f"{name}.tar", f"{name:0>64}", sum(s for _, s in entries), [
        Entry(i, seconds, "anna" if i == "a" else None, None, {}, 0, 0) for i, seconds in entries
    ])  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """Two shards' transcripts: six utterances, one of them set aside."""
    first = shard_of(tmp_path, "s0", ("a", 3600.0), ("b", 1800.0), ("c", 720.0))
    second = shard_of(tmp_path, "s1", ("d", 360.0), ("e", 36.0), ("f", 3.6))
    a = heard(0.912345678, ("HELLO", 0.95), ("THERE", 0.8761))
    b = heard(0.5, ("GO", 0.9), ("ON", 0.3), agreement=0.4)
    c = heard(0.97, ("STOP", 0.97), phones=4)
    d = heard(0.2, ("NO", 0.2), entropy=2.5)
    f = heard(0.99, phones=0)
    write_transcripts(tmp_path / "hyp", first, [a, b, c])
    write_transcripts(tmp_path / "hyp", second, [d, "too short", f])
    return tmp_path / "hyp"


def select(folder, *options):
    return main(["filter", str(folder), *map(str, options)])


def kept(folder, *options):
    out = folder / "list.jsonl"
    assert select(folder, "--out", out, *options) == 0
    return "".join(json.loads(line)["id"] for line in out.read_text().splitlines())


def test_a_line_says_what_was_heard_when_and_how_surely(folder):
    lines = (folder / "s0.hyp.jsonl").read_text().splitlines()
    assert json.loads(lines[0]) == {
        "id": "a",
        "audio_filepath": "a.flac",
        "duration": 3600.0,
        "text": "HELLO THERE",
        "confidence": 0.9123,
        "agreement": 0.9,
        "entropy": 0.5,
        "phones": 10,
        "frames": 100,
        "words": [["HELLO", 0.0, 0.3, 0.95], ["THERE", 0.3, 0.6, 0.8761]],
        "speaker": "anna",
        "shard": f"{'s0':0>64}",
    }
    aside = json.loads((folder / "s1.hyp.jsonl").read_text().splitlines()[1])
    assert aside["reason"] == "too short" and "text" not in aside


def test_lines_of_a_teacher_that_knows_less_are_selected_by_what_they_have(folder, capsys):
    whole = [json.loads(line) for line in (folder / "s0.hyp.jsonl").read_text().splitlines()]
    for line in whole:
        del line["phones"], line["agreement"], line["entropy"], line["frames"]
    (folder / "s0.hyp.jsonl").write_text("".join(json.dumps(line) + "\n" for line in whole))
    assert kept(folder, "--min-confidence", 0.5, "--min-word-confidence", 0.8) == "acf"
    for criterion, field in (("--min-rate", "phones"), ("--min-agreement", "agreement"), ("--max-entropy", "entropy")):
        assert select(folder, "--dry-run", criterion, 0.5) == 2
        assert f"{criterion}: a has no {field}" in capsys.readouterr().err


def test_the_same_hearing_gives_the_same_bytes_and_reads_back(folder, tmp_path):
    shard = shard_of(tmp_path, "s2", ("x", 2.0))
    once = write_transcripts(tmp_path / "1", shard, [heard(1 / 3, ("A", 1 / 3))])
    again = write_transcripts(tmp_path / "2", shard, [heard(1 / 3 + 1e-9, ("A", 1 / 3 - 1e-9))])
    assert once == transcripts_path(tmp_path / "1", shard) and once.read_bytes() == again.read_bytes()
    assert [u.id for u in read_transcripts(folder)] == list("abcdef")
    assert [u.id for u in read_transcripts(folder / "s1.hyp.jsonl")] == list("def")


def test_other_stations_read_transcripts_as_manifest_text_and_hypotheses(folder):
    manifest = list(read_manifest(folder / "s0.hyp.jsonl"))
    assert next((u.id, u.text, u.duration, u.speaker) for u in manifest) == ("a", "HELLO THERE", 3600.0, "anna")
    assert list(read_sentences(folder / "s1.hyp.jsonl")) == [["NO"]]
    kept(folder)
    assert read_hypotheses(folder / "list.jsonl")["b"] == "GO ON"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], "abcdf"),
        (["--min-confidence", 0.5], "abcf"),
        (["--min-confidence", 0.51], "acf"),
        (["--min-word-confidence", 0.5], "acf"),
        (["--min-seconds", 360], "abcd"),
        (["--max-seconds", 720], "cdf"),
        (["--min-rate", 14], "abd"),  # a: 10 phones in 0.6 s; c: 4 in 0.3 s; f: no word, no rate
        (["--max-rate", 17], "abcf"),
        (["--min-agreement", 0.5], "acdf"),
        (["--max-entropy", 1], "abcf"),
        (["--keep-hours", 1.3], "acf"),
        (["--keep-share", 1], "abcdf"),
        (["--keep-share", 0.75], "acf"),
        (["--keep-share", 0.5, "--max-seconds", 1800], "cf"),
        (["--keep-hours", 0.3, "--max-seconds", 3000], "cf"),
        (["--min-confidence", 0.5, "--max-seconds", 3000], "bcf"),
    ],
)
def test_each_criterion_keeps_what_it_says(folder, options, expected):
    assert kept(folder, *options) == expected


def test_the_kept_lines_are_the_read_lines(folder):
    kept(folder, "--min-confidence", 0.95)
    lines = [line for path in sorted(folder.glob("*.hyp.jsonl")) for line in path.read_text().splitlines()]
    assert (folder / "list.jsonl").read_text().splitlines() == [lines[2], lines[5]]


def test_the_table_says_what_each_threshold_would_keep_and_each_criterion_drops(folder, capsys):
    assert select(folder, "--dry-run", "--max-seconds", 1800, "--min-confidence", 0.5) == 0
    shown = capsys.readouterr().out
    rows = [line.split() for line in shown.splitlines()]
    assert ["0.5", "3", "0.701", "87.5%"] in rows and ["0.95", "2", "0.201", "25.1%"] in rows
    assert ["0", "4", "0.801", "100.0%"] in rows
    assert "set aside by labelling: dropped 1 utterances, 0.010 h" in shown
    assert "--max-seconds 1800: dropped 1 utterances, 1.000 h" in shown
    assert "--min-confidence 0.5: dropped 1 utterances, 0.100 h" in shown
    assert "kept 3 of 6 utterances, 0.701 h" in shown
    assert ["0.3", "2", "0.201", "0.9700"] in rows and ["1", "4", "0.801", "0.2000"] in rows
    assert not (folder / "list.jsonl").exists()


def test_the_most_confident_share_is_kept_whatever_the_scale_of_a_teacher(folder, capsys):
    expected = kept(folder, "--keep-share", 0.75)
    for path in folder.glob("*.hyp.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        lines = [line | {"confidence": line["confidence"] / 2} if "text" in line else line for line in lines]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert kept(folder, "--keep-share", 0.75) == expected == "acf"
    assert select(folder, "--dry-run", "--min-confidence", 0.8) == 2
    assert "confidences run from 0.1 to 0.495; `--keep-share 0.7` chooses by rank" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dry-run", "--min-confidence", "2"], "--min-confidence 2.0: it must be in [0, 1]"),
        (["--dry-run", "--min-agreement", "1.5"], "--min-agreement 1.5"),
        (["--dry-run", "--keep-share", "1.5"], "--keep-share 1.5: it must be in [0, 1]"),
        (["--dry-run", "--min-seconds", "-1"], "--min-seconds -1.0"),
        (["--dry-run", "--min-seconds", "9999"], "nothing is kept of 6 utterances; most went by: --min-seconds 9999"),
        ([], "give --out"),
    ],
)
def test_a_mistake_is_told_in_one_line(folder, capsys, options, message):
    assert select(folder, *options) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"confidence": float("nan")}, "NaN is no number"),
        ({"confidence": 1.5}, "a: confidence is 1.5; a number from 0 to 1"),
        ({"agreement": None}, "a: agreement is None"),
        ({"entropy": "low"}, "a: entropy is 'low'"),
        ({"duration": True}, "a: duration is True"),
        ({"phones": int("9" * 400)}, "a number of 400 digits"),
        ({"words": "GO"}, "words is not a list"),
        ({"words": [["GO", 0, float("inf"), 1]]}, "Infinity is no number"),
        ({"text": None}, "neither text nor a reason"),
        ({"id": 3}, "id is 3"),
    ],
)
def test_a_broken_line_is_named(folder, capsys, change, message):
    file = folder / "s0.hyp.jsonl"
    first, *others = file.read_text().splitlines()
    file.write_text("\n".join([json.dumps(json.loads(first) | change), *others]))
    assert select(folder, "--dry-run") == 2
    error = capsys.readouterr().err
    assert f"{file}:1: " in error and message in error and error.count("\n") == 1


def test_broken_files_are_named(folder, tmp_path, capsys):
    (folder / "s0.hyp.jsonl").write_text('{"id": "a"')
    assert select(folder, "--dry-run") == 2
    assert "s0.hyp.jsonl:1: not valid JSON" in capsys.readouterr().err
    (folder / "s0.hyp.jsonl").write_bytes((folder / "s1.hyp.jsonl").read_bytes())
    assert select(folder, "--dry-run") == 2
    assert "s1.hyp.jsonl:1: d is also at " in capsys.readouterr().err
    assert select(tmp_path / "nowhere", "--dry-run") == 2
    assert "nowhere: no such file or folder" in capsys.readouterr().err
    assert select(tmp_path, "--dry-run") == 2
    assert "holds no transcripts" in capsys.readouterr().err
