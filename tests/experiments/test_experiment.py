"""`asr-kd experiment` from the grid to the table, on tones: real training, tuning, decoding and scoring."""

import json

import pytest
import yaml
from decoding import run

from asr_kd.corpora.manifest import write_manifest
from asr_kd.models.checkpoint import read_description

pytestmark = pytest.mark.slow

COLUMNS = ("name", "knowledge", "mode", "student", "params", "bytes", "rtf", "wer", "ci95", "werr", "recovery")
TRAIN = (
    "distill --unlabelled {shards} --labelled {shards} --alignments {exp}/align --dev {shards} "
    "--online-teacher {exp}/model "
    "--seed {seed} --set 'model={num_layers: 1, hidden_size: 12, dropout: 0}' "
    "'schedule={epochs: 1, unlabelled_sub_epochs: 1}' "
    "train.num_workers=0 --out {out}"
)


def write_grid(folder, shards, **changes):
    """A grid of three rows in FOLDER."""
    content = {
        "dev": "{shards}",
        "test": "{shards}",
        "reference": str(folder / "test.jsonl"),
        "graph": "{exp}/graph",
        "baseline": "student",
        "teacher": "teacher",
        "vars": {"shards": str(shards)},
        "systems": [
            {"name": "teacher", "model": "{exp}/model"},
            {"name": "copy", "student": "int8", "steps": ["quantise {row:student} --out {out}"]},
            {"name": "student", "knowledge": "response", "mode": "offline", "steps": [TRAIN]},
        ],
    }
    (folder / "grid.yaml").write_text(yaml.safe_dump(content | changes))
    return folder / "grid.yaml"


@pytest.fixture
def grid(tone_shards, tone_utterances, tmp_path):
    write_manifest(tmp_path / "test.jsonl", tone_utterances)
    return lambda **changes: write_grid(tmp_path, tone_shards[0].parent, **changes)


@pytest.fixture(scope="module")
def measured(trained, tone_shards, tone_utterances, tmp_path_factory):
    """All rows of the grid with seed 0: FOLDER/out."""
    folder = tmp_path_factory.mktemp("measured")
    write_manifest(folder / "test.jsonl", tone_utterances)
    assert compare(write_grid(folder, tone_shards[0].parent), trained, folder / "out", "--jobs", 2) == 0
    return folder


def compare(grid, trained, out, *more):
    return run("experiment", grid, "--exp", trained, "--out", out, *more)


def test_a_grid_becomes_a_table(measured):
    out = measured / "out"
    rows = {row["name"]: row for row in json.loads((out / "compare.json").read_text())}
    assert list(rows) == ["teacher", "copy", "student"]
    for row in rows.values():
        assert {*COLUMNS, "teacher_share"} <= row.keys()
        assert 0 <= row["wer"] < 0.9 and row["ci95"][0] <= row["wer"] <= row["ci95"][1] and row["rtf"] > 0
    assert rows["teacher"]["teacher_share"] == 1 and rows["student"]["werr"] is None
    assert rows["copy"]["params"] == rows["student"]["params"]
    assert rows["copy"]["bytes"] < rows["student"]["bytes"]
    text = (out / "compare.md").read_text()
    assert "| student | response | offline |" in text and "commit" in text


def test_a_row_that_fails_takes_down_only_those_that_need_it(grid, trained, tmp_path, capsys):
    rows = [
        {"name": "teacher", "model": "{exp}/model"},
        {"name": "lost", "steps": ["quantise {exp}/nothing --out {out}"]},
        {"name": "needs_lost", "steps": ["quantise {row:lost} --out {out}"]},
    ]
    out = tmp_path / "out"
    assert compare(grid(systems=rows, baseline=""), trained, out) == 1
    said = capsys.readouterr().err
    assert "seed0/lost: asr-kd quantise ended with 2, see " in said and "no model there" in said
    assert "seed0/needs_lost: needs seed0/lost, which failed" in said
    assert [row["name"] for row in json.loads((out / "compare.json").read_text())] == ["teacher"]


def test_a_dry_run_prints_the_commands_and_writes_nothing(grid, trained, tmp_path, capsys):
    assert compare(grid(), trained, tmp_path / "out", "--dry-run", "--only", "copy") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines].count("distill") == 1  # copy needs the student
    assert not (tmp_path / "out").exists()
    assert compare(grid(), trained, tmp_path / "out", "--only", "tenth") == 2
    assert "tenth: no such row; there are teacher, copy, student" in capsys.readouterr().err


def test_rows_that_need_each_other_are_refused(grid, trained, tmp_path, capsys):
    rows = [{"name": n, "steps": [f"quantise {{row:{m}}} --out {{out}}"]} for n, m in (("a", "b"), ("b", "a"))]
    assert compare(grid(systems=rows, baseline="", teacher=""), trained, tmp_path / "out") == 2
    assert "need each other in a circle: a, b" in capsys.readouterr().err


def test_seeds_share_what_they_have_in_common(grid, trained, tmp_path, capsys):
    rows = [
        {"name": "teacher", "model": "{exp}/model", "steps": ["label {shards} --out {shared}/heard --teacher {out}"]}
    ]
    out = tmp_path / "out"
    assert run("experiment", grid(systems=rows, baseline=""), "--exp", trained, trained, "--out", out, "--dry-run") == 0
    words = [line.split() for line in capsys.readouterr().out.splitlines() if " label " in line]
    assert [(w[4], w[6]) for w in words] == [(f"{out}/shared/heard", f"{out}/seed{seed}/teacher") for seed in (0, 1)]


def test_a_seed_made_elsewhere_joins_the_table(grid, trained, measured, tmp_path, capsys):
    here, there, both = measured / "out", tmp_path / "there", tmp_path / "both"
    assert compare(grid(), trained, there, "--first-seed", 2, "--only", "student") == 0
    assert (there / "seed2/student/model.safetensors").exists()
    assert (
        run("experiment", grid(), "--merge-results", here / "results.jsonl", there / "results.jsonl", "--out", both)
        == 0
    )
    assert "not every seed has them: copy" in capsys.readouterr().err
    wers = {row["name"]: row["wers"] for row in json.loads((both / "compare.json").read_text())}
    for name, seeds in wers.items():
        alone = [{r["name"]: r["wers"][0] for r in json.loads((o / "compare.json").read_text())} for o in (here, there)]
        assert seeds == [rows[name] for rows in alone]
    assert wers.keys() == {"teacher", "student"}
    before = (both / "compare.json").read_bytes()
    assert run("experiment", grid(), "--out", both) == 2
    assert "--exp, or measured ones with --merge-results" in capsys.readouterr().err
    assert (both / "compare.json").read_bytes() == before


def test_what_was_measured_elsewhere_is_not_run_again(grid, trained, measured, tmp_path, capsys):
    first, rest, whole = tmp_path / "first", tmp_path / "rest", measured / "out"
    assert compare(grid(), trained, first, "--only", "teacher") == 0
    join = ("--merge-results", first / "results.jsonl")
    capsys.readouterr()
    assert compare(grid(), trained, rest, *join, "--dry-run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("quantise" in line for line in lines) and not any("rest/seed0/teacher" in line for line in lines)
    assert compare(grid(), trained, rest, *join) == 0  # copy needs the student, which is trained anew
    joined, at_once = (json.loads((out / "compare.json").read_text()) for out in (rest, whole))
    assert [(row["name"], row["wers"]) for row in joined] == [(row["name"], row["wers"]) for row in at_once]
    assert not (rest / "seed0/teacher").exists()
    assert compare(grid(), trained, tmp_path / "none", "--merge-results", whole / "results.jsonl") == 0
    assert not (tmp_path / "none/seed0").exists()  # nothing was left to run


def test_a_row_measured_with_other_errors_stops_those_that_need_it(grid, trained, tmp_path, capsys):
    first, rest = tmp_path / "first", tmp_path / "rest"
    assert compare(grid(), trained, first, "--only", "student") == 0
    file = first / "results.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    student = next(line for line in lines if line.get("row") == "student")
    student["errors"][0] += 1  # as trained on another processor
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert compare(grid(), trained, rest, "--merge-results", file) == 1
    said = capsys.readouterr().err
    assert "--merge-results: student with seed 0 has other errors than where it was measured before" in said
    assert "seed0/copy: needs seed0/student, which failed" in said and not (rest / "seed0/copy").exists()
    assert {row["name"] for row in json.loads((rest / "compare.json").read_text())} == {"teacher", "student"}
    file.write_text("".join(json.dumps(line) + "\n" for line in lines if line is not student))  # as the message says
    assert compare(grid(), trained, rest, "--merge-results", file) == 0
    assert (rest / "seed0/copy/model.safetensors").exists()


def test_what_is_done_is_not_run_again_and_what_was_lost_or_changed_is(measured, trained, tone_shards, capsys):
    """The last one here: it changes what others read."""
    out, shards = measured / "out", tone_shards[0].parent
    model, heard = out / "seed0/student/model.safetensors", out / "seed0/teacher/decode/hyp.jsonl"
    before, whole = model.stat().st_mtime_ns, heard.read_bytes()
    heard.write_bytes(whole[:-20])
    assert compare(write_grid(measured, shards), trained, out) == 0
    assert model.stat().st_mtime_ns == before
    assert heard.read_bytes() == whole  # what was cut off was made again
    said = capsys.readouterr()
    assert "teacher: decode runs again: " in said.err and "student: distill runs again" not in said.err
    assert (out / "compare.md").read_text() in said.out
    changed = write_grid(measured, shards, vars={"shards": f"{shards}/"})
    assert compare(changed, trained, out, "--only", "student") == 0
    assert model.stat().st_mtime_ns > before  # its command changed: it was made anew
    assert read_description(model)["notes"]["priors"]
