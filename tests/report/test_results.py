import json

import pytest

from asr_kd.cli import main
from asr_kd.report.results import results_markdown


def make_run(folder, seed, wer, title="AN4, 20% labelled"):
    folder.mkdir(parents=True)
    system = {"wer": wer, "ci95": [wer - 0.02, wer + 0.03], "errors": 10, "words": 100, "params": 310000}
    results = {
        "title": title,
        "systems": {"teacher": system, "student_distilled": system | {"wer": wer + 0.1}},
        "werr": 0.2,
        "werr_ci95": [0.1, 0.3],
        "recovery": None,
        "seconds": 600,
        "seed": seed,
        "command": f"recipes/an4/run.sh --seed {seed}",
        "commit": "0123abcd",
    }
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def make_ablation(folder, rows):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ablation.json").write_text(json.dumps(rows))
    return folder


def test_seeds_of_a_recipe_become_mean_and_range(tmp_path):
    text = results_markdown([make_run(tmp_path / "b", 2, 0.3), make_run(tmp_path / "a", 1, 0.2)])
    assert "| Teacher | 25.0 (20.0 – 30.0) |" in text
    assert "2 runs (seeds 1, 2)" in text and "10 min a run" in text
    assert text.index("--seed 1  # commit 0123abcd") < text.index("--seed 2")


def test_one_seed_shows_its_bootstrap_interval(tmp_path):
    assert "| Teacher | 20.0 [18.0 – 23.0] |" in results_markdown([make_run(tmp_path / "a", 1, 0.2)])


def test_a_language_without_spaces_has_character_error_rates(tmp_path):
    folder = make_run(tmp_path / "a", 1, 0.2, title="Mandarin")
    results = json.loads((folder / "results.json").read_text()) | {"measure": "CER"}
    (folder / "results.json").write_text(json.dumps(results))
    text = results_markdown([folder]).partition("## Mandarin")[2]
    assert "| System | CER % | Parameters |" in text and "Relative CER reduction" in text
    assert "WER" not in text


def test_recipes_are_not_mixed(tmp_path):
    text = results_markdown([make_run(tmp_path / "a", 1, 0.2), make_run(tmp_path / "b", 1, 0.3, title="Voices")])
    assert "## AN4" in text and "## Voices" in text and "25.0" not in text


def test_ablation_rows_keep_their_order_and_join_their_seeds(tmp_path):
    rows = [
        {"name": "k = 20", "wer": 0.2, "ci95": [0.1, 0.3], "seed": 1, "command": "recipes/an4/ablation.sh"},
        {"name": "hard | k = 1", "wer": 0.3, "ci95": None, "seed": 1},
        {"name": "k = 20", "wer": 0.22, "seed": 2},
    ]
    text = results_markdown([make_ablation(tmp_path, rows)])
    assert "| k = 20 | 21.0 (20.0 – 22.0) | 1, 2 |\n| hard \\| k = 1 | 30.0 | 1 |" in text
    assert "recipes/an4/ablation.sh" in text


def test_the_table_of_compare_becomes_a_section(tmp_path):
    folder = make_run(tmp_path / "a", 1, 0.2)
    (folder / "compare.md").write_text("# AN4\n\n| system |\n|---|\n| hard |\n")
    text = results_markdown([folder])
    assert text.index("| Teacher |") < text.index("## Compared: AN4\n\n| system |\n|---|\n| hard |\n")
    (folder / "compare.md").write_text("something else")
    with pytest.raises(ValueError, match=r"compare.md: not a table of `asr-kd experiment`"):
        results_markdown([folder])


def test_same_runs_same_bytes(tmp_path):
    folders = [str(make_run(tmp_path / "a", 1, 0.2)), str(make_ablation(tmp_path / "b", [{"name": "x", "wer": 0.2}]))]
    for name in ("one.md", "two.md"):
        assert main(["results", *folders, "--out", str(tmp_path / name)]) == 0
    assert (tmp_path / "one.md").read_bytes() == (tmp_path / "two.md").read_bytes()


def test_results_that_lie_elsewhere_can_be_kept(tmp_path, capsys):
    an4, voices = make_run(tmp_path / "a", 1, 0.2), make_run(tmp_path / "b", 1, 0.3, title="Voices")
    (voices / "compare.md").write_text("# Voices\n\n| system |\n|---|\n| hard |\n")
    out, results = tmp_path / "R.md", lambda *more: main(["results", *map(str, more), "--out", str(tmp_path / "R.md")])
    assert results(an4, voices, "--merge") == 0  # there is nothing to keep
    both = out.read_text()
    assert results(voices, "--merge") == 0 and out.read_text() == both
    out.write_text(both.replace("Another processor", "An older version's head"))
    assert results(voices, "--merge") == 0 and out.read_text() == both
    assert results(make_run(tmp_path / "again", 1, 0.4), "--merge") == 0
    kept = out.read_text()
    assert "| Teacher | 40.0" in kept and "| Teacher | 20.0" not in kept
    assert kept.index("## AN4") < kept.index("## Voices") < kept.index("## Compared: Voices") < kept.index("| hard |")
    assert results(make_run(tmp_path / "late", 1, 0.1, title="Late"), "--merge") == 0
    assert out.read_text().startswith(kept) and "## Late" in out.read_text()
    assert results(voices) == 0 and "AN4" not in out.read_text()
    out.write_text("# My own notes\n")
    assert results(voices, "--merge") == 2 and out.read_text() == "# My own notes\n"
    assert "not made by `asr-kd results`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ({}, "a list of"),
        ([{"wer": 0.1}], 'row 1 has no "name"'),
        ([{"name": "x", "wer": "12%"}], "a fraction is needed"),
    ],
)
def test_a_wrong_ablation_file_is_told_in_one_line(tmp_path, capsys, rows, told):
    folder = make_ablation(tmp_path / "a", rows)
    assert main(["results", str(folder), "--out", str(tmp_path / "R.md")]) == 2
    error = capsys.readouterr().err
    assert told in error and "ablation.json" in error and error.count("\n") == 1


def test_a_folder_without_results_is_refused(tmp_path, capsys):
    assert main(["results", str(tmp_path), "--out", str(tmp_path / "R.md")]) == 2
    assert "no results.json, ablation.json or compare.md" in capsys.readouterr().err
