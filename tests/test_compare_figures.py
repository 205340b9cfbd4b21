"""The figures of a comparison over seeds, and the grid's places."""

from pathlib import Path

import pytest

from asr_kd.compare.figures import figures, markdown
from asr_kd.compare.grid import Grid, Places, needs
from asr_kd.core.config import load_config

GRID = {
    "dev": "{exp}/dev",
    "test": "{exp}/test",
    "reference": "{exp}/test.jsonl",
    "graph": "{exp}/graph",
    "baseline": "first",
    "let": {"data": "--data {exp}/x --seed {seed}", "both": "{data} --from {row:first}"},
    "rows": [
        {"name": "first", "steps": ["train {data} --out {out}"]},
        {"name": "second", "steps": ["distill {both} --set 'a=[{kind: b}]' --out {out}"], "graph": ""},
        {"name": "third", "model": "{row:first} {row:second}"},
    ],
}


def scores(errors_by_system, words=4):
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
    systems = {name: {"wer": sum(errors) / words / len(errors)} for name, errors in errors_by_system.items()}
    return {"per_utterance": utterances, "systems": systems}


def test_figures_are_of_all_seeds_together():
    seeds = [
        scores({"base": [2, 2, 2, 2], "ours": [1, 1, 2, 1], "oracle": [0, 1, 0, 0], "teacher": [1, 0, 0, 0]}),
        scores({"base": [2, 2, 3, 2], "ours": [1, 2, 2, 1], "oracle": [0, 1, 0, 1], "teacher": [0, 1, 0, 0]}),
    ]
    found = figures(seeds, "base", "oracle", "teacher")
    assert found["base"]["wer"] == pytest.approx(17 / 32) and found["base"]["werr"] is None
    ours = found["ours"]
    assert ours["wer"] == pytest.approx(11 / 32) and ours["wers"] == [5 / 16, 6 / 16]
    assert ours["werr"] == pytest.approx(6 / 17) and ours["recovery"] == pytest.approx(6 / 14)
    assert ours["teacher_share"] == pytest.approx(21 / 30) and found["teacher"]["teacher_share"] == 1
    low, high = ours["ci95"]
    assert low < ours["wer"] < high
    other = scores({"base": [1], "ours": [1], "oracle": [1], "teacher": [1]})
    with pytest.raises(ValueError, match="not decoded on the same test"):
        figures([seeds[0], other])


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


def test_places_are_filled_and_rows_know_whom_they_need():
    grid = load_config(Grid, GRID)
    places = Places(grid, Path("out"), Path("exp/an4"), 2)
    first, second, third = grid.parsed
    assert places.words(second.steps[0], "second") == [
        *("distill", "--data", "exp/an4/x", "--seed", "2", "--from", "out/seed2/first"),
        *("--set", "a=[{kind: b}]", "--out", "out/seed2/second"),
    ]
    assert needs(first, grid.let) == set() and needs(second, grid.let) == {"first"}
    assert needs(third, grid.let) == {"first", "second"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"baseline": "tenth"}, "baseline is tenth, which is no row; there are first, second, third"),
        ({"rows": []}, "there are none"),
        ({"rows": [GRID["rows"][0]] * 2}, "first is there twice"),
        ({"rows": [{"name": "a/b"}]}, "letters, digits"),
        ({"rows": [{"name": "a", "step": []}]}, "step"),
        ({"baseline": "", "oracle": "first"}, "Name one"),
    ],
)
def test_a_grid_that_cannot_be_run_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        load_config(Grid, GRID | change)


def test_a_place_that_stands_for_nothing_is_refused():
    grid = load_config(Grid, GRID)
    for text in ("{row:tenth}", "{teacher}", "{exp:1}"):
        with pytest.raises(ValueError, match=r"stands for nothing; known: \{out\}, .*\{data\}"):
            Places(grid, Path("o"), Path("e"), 0).words(text, "first")
