"""The figures of a comparison over seeds, and the grid's places."""

from pathlib import Path

import pytest

from asr_kd.core.config import load_config
from asr_kd.experiments.figures import figures, markdown
from asr_kd.experiments.results import SeedResults, merge, read_measured
from asr_kd.experiments.suite import Suite, Template, needs

GRID = {
    "dev": "{exp}/dev",
    "test": "{exp}/test",
    "reference": "{exp}/test.jsonl",
    "graph": "{exp}/graph",
    "baseline": "first",
    "vars": {"data": "--data {exp}/x --seed {seed}", "both": "{data} --from {row:first}"},
    "systems": [
        {"name": "first", "steps": ["train {data} --out {out}"]},
        {"name": "second", "steps": ["distill {both} --set 'a=[{kind: b}]' --out {out}"], "graph": ""},
        {"name": "third", "model": "{row:first} {row:second}"},
    ],
}


ABOUT = {"params": 4, "bytes": 16, "rtf": 0.1, "commit": "c0ffee"}


def scores(errors_by_system):
    """As `asr-kd score` writes them: utterances of four words, with so many errors each."""
    utterances = [
        {
            "id": f"u{n}",
            "speaker": None,
            "reference": "a b c d",
            "systems": {name: {"errors": errors[n]} for name, errors in errors_by_system.items()},
        }
        for n in range(len(next(iter(errors_by_system.values()))))
    ]
    return {"per_utterance": utterances, "systems": dict.fromkeys(errors_by_system)}


def measured_of(seeds):
    return merge((str(n), SeedResults.of(n, scores(e), dict.fromkeys(e, ABOUT))) for n, e in seeds.items())


SEEDS = {
    0: {"base": [2, 2, 2, 2], "ours": [1, 1, 2, 1], "oracle": [0, 1, 0, 0], "teacher": [1, 0, 0, 0]},
    3: {"base": [2, 2, 3, 2], "ours": [1, 2, 2, 1], "oracle": [0, 1, 0, 1], "teacher": [0, 1, 0, 0]},
}


def test_figures_are_of_all_seeds_together():
    found = figures(measured_of(SEEDS), "base", "oracle", "teacher")
    assert found["base"]["wer"] == pytest.approx(17 / 32) and found["base"]["werr"] is None
    ours = found["ours"]
    assert ours["wer"] == pytest.approx(11 / 32) and ours["wers"] == [5 / 16, 6 / 16]
    assert ours["werr"] == pytest.approx(6 / 17) and ours["recovery"] == pytest.approx(6 / 14)
    assert ours["teacher_share"] == pytest.approx(21 / 30) and found["teacher"]["teacher_share"] == 1
    low, high = ours["ci95"]
    assert low < ours["wer"] < high


def test_seeds_measured_apart_join_into_the_same_figures(tmp_path):
    for seed, errors in SEEDS.items():
        measured_of({seed: errors | ({"late": [1] * 4} if seed else {})}).write(tmp_path / f"{seed}.jsonl")
    for order in ("0", "3"), ("3", "0"):
        joined = read_measured([tmp_path / f"{seed}.jsonl" for seed in order])
        assert figures(joined, "base") == figures(measured_of(SEEDS), "base")  # `late` was not measured with all seeds
        assert joined.system_info["ours"] == ABOUT


def test_rows_of_one_seed_measured_apart_join(tmp_path):
    """A row that both have, since others needed it, may be there twice: it has the same errors."""
    parts = {"a": ("base", "ours"), "b": ("base", "oracle", "teacher")}
    for name, rows in parts.items():
        measured_of({3: {row: SEEDS[3][row] for row in rows}}).write(tmp_path / name)
    joined = read_measured([tmp_path / name for name in parts])
    assert figures(joined, "base", "oracle") == figures(measured_of({3: SEEDS[3]}), "base", "oracle")


def test_what_does_not_belong_together_is_not_joined(tmp_path):
    ours, again, other, junk, short = (tmp_path / f"{name}.jsonl" for name in "abcde")
    measured_of(SEEDS).write(ours)
    measured_of({3: SEEDS[3] | {"ours": [1, 2, 2, 2]}}).write(again)
    measured_of({4: {"base": [1]}}).write(other)
    junk.write_text('{"ids": ["u0"]}\n')
    short.write_text(ours.read_text().replace("[1, 1, 2, 1]", "[1, 1]"))
    for second, message in [
        (again, "b.jsonl: ours with seed 3 has other errors than where it was measured before"),
        (other, "c.jsonl: 1 utterances of another test than the others' 4"),
        (junk, "d.jsonl: not what `asr-kd experiment` leaves in results.jsonl"),
        (short, "e.jsonl: not what .*errors of row ours"),
        (tmp_path / "none.jsonl", "none.jsonl: no such file"),
    ]:
        with pytest.raises(ValueError, match=message):
            read_measured([ours, second])


def test_the_table_shows_what_there_is():
    row = {"name": "x", "knowledge": "response", "mode": "offline", "student": "small", "params": 450_000}
    row |= {"bytes": 1_900_000, "rtf": None, "wer": 0.263, "ci95": [0.25, 0.28], "wers": [0.26, 0.266], "werr": 0.2}
    text = markdown([row | {"recovery": None, "teacher_share": 0.991}], "Title", "`made`")
    assert (
        "| x | response | offline | small | 0.45 M | 1.90 MB | - | 26.3 [25.0, 28.0] | 26.0 26.6 | 20.0 | - | 99.1 |"
        in text
    )
    header, rule, line = text.splitlines()[2:5]
    assert header.count("|") == rule.count("|") == line.count("|")
    assert "WER" in header and "WER" not in markdown([], "Title", "`made`", "CER")


def test_places_are_filled_and_rows_know_whom_they_need():
    grid = load_config(Suite, GRID)
    places = Template(grid, Path("out"), Path("exp/an4"), 2)
    first, second, third = grid.parsed
    assert places.words(second.steps[0], "second") == [
        *("distill", "--data", "exp/an4/x", "--seed", "2", "--from", "out/seed2/first"),
        *("--set", "a=[{kind: b}]", "--out", "out/seed2/second"),
    ]
    assert needs(first, grid.vars) == set() and needs(second, grid.vars) == {"first"}
    assert needs(third, grid.vars) == {"first", "second"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"baseline": "tenth"}, "baseline is tenth, which is no row; there are first, second, third"),
        ({"systems": []}, "there are none"),
        ({"systems": [GRID["systems"][0]] * 2}, "first is there twice"),
        ({"systems": [{"name": "a/b"}]}, "letters, digits"),
        ({"systems": [{"name": "a", "step": []}]}, "step"),
        ({"baseline": "", "oracle": "first"}, "Name one"),
    ],
)
def test_a_grid_that_cannot_be_run_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        load_config(Suite, GRID | change)


def test_a_place_that_stands_for_nothing_is_refused():
    grid = load_config(Suite, GRID)
    for text in ("{row:tenth}", "{teacher}", "{exp:1}"):
        with pytest.raises(ValueError, match=r"stands for nothing; known: \{out\}, .*\{data\}"):
            Template(grid, Path("o"), Path("e"), 0).words(text, "first")
