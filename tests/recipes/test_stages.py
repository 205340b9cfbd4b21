"""A recipe skips what is done, runs again what changed, and says where to look when a stage fails."""

import os
import re
import select
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "tools"
STAGES = "asr_kd/experiments/stages.py"
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

RECIPE = """\
#!/usr/bin/env bash
# Toy: words are sorted, then counted.   0 s on 2 cores.
. "$(dirname "$0")/../../tools/recipe.sh" "$@"

stage 1 "sort words"  sh -c 'sort "$0" > "$2" && echo ran >> ran.sort' words.txt --out $exp/sorted.txt
stage 2 "count"       sh -c 'wc -l < "$0" > "$2" && echo ran >> ran.count' $exp/sorted.txt --out $exp/count.txt
stage 3 "show"        sh -c 'cat "$0"; echo "seed $1" >&2; echo ran >> ran.show' $exp/count.txt "$seed"
"""


class Toy:
    """A checkout with the real tools and one small recipe."""

    def __init__(self, root: Path, recipe: str = RECIPE) -> None:
        self.root = root
        shutil.copytree(TOOLS, root / "tools", ignore=shutil.ignore_patterns("__pycache__"))
        (root / STAGES).parent.mkdir(parents=True)
        shutil.copy(ROOT / STAGES, root / STAGES)
        self.library("0.1.0")
        (root / "words.txt").write_text("b\na\n")
        self.write(recipe)

    def write(self, recipe: str) -> None:
        script = self.root / "recipes/toy/run.sh"
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(recipe)

    def library(self, version: str) -> None:
        (self.root / "asr_kd").mkdir(exist_ok=True)
        (self.root / "asr_kd/__init__.py").write_text(f'__version__ = "{version}"\n')

    def run(self, *options: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", str(self.root / "recipes/toy/run.sh"), *options],
            cwd=cwd or self.root,
            env={**os.environ, "ASR_KD_NO_SETUP": "1", "PATH": PATH, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def stages_run(self) -> list[str]:
        """The stages that ran since the last call."""
        ran = [n for n in ("sort", "count", "show") if (self.root / f"ran.{n}").exists()]
        for name in ran:
            (self.root / f"ran.{name}").unlink()
        return ran


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    return Toy(tmp_path)


@pytest.fixture
def done(toy: Toy) -> Toy:
    first = toy.run()
    assert first.returncode == 0, first.stderr
    assert toy.stages_run() == ["sort", "count", "show"]
    return toy


def test_a_recipe_runs_its_stages_and_keeps_their_output_in_logs(done: Toy) -> None:
    assert (done.root / "exp/toy/count.txt").read_text().strip() == "2"
    log = (done.root / "exp/toy/logs/03-show.log").read_text()
    assert "2" in log
    assert "seed 0" in log


def test_done_stages_are_skipped(done: Toy) -> None:
    again = done.run()
    assert again.returncode == 0
    assert done.stages_run() == []
    assert again.stdout.count("already done") == 3


def test_a_changed_input_reruns_the_stages_that_depend_on_it(done: Toy) -> None:
    (done.root / "words.txt").write_text("c\nb\na\n")
    assert "words.txt changed" in done.run().stdout
    assert done.stages_run() == ["sort", "count", "show"]


def test_an_input_written_again_with_the_same_content_reruns_nothing(done: Toy) -> None:
    (done.root / "words.txt").write_text("b\na\n")
    done.run()
    assert done.stages_run() == []


def test_a_changed_command_reruns_its_stage_only(done: Toy) -> None:
    done.write(RECIPE.replace('echo "seed $1"', 'echo "the seed $1"'))
    assert "its command changed" in done.run().stdout
    assert done.stages_run() == ["show"]


def test_a_missing_output_reruns_its_stage(done: Toy) -> None:
    (done.root / "exp/toy/sorted.txt").unlink()
    assert "sorted.txt is missing" in done.run().stdout
    assert done.stages_run() == ["sort"]  # its result is the same, so what follows is still good


def test_another_version_of_the_library_reruns_everything(done: Toy) -> None:
    done.library("0.2.0")
    assert "asr_kd is 0.2.0, it was 0.1.0" in done.run().stdout
    assert done.stages_run() == ["sort", "count", "show"]


def test_stage_reruns_from_there_on_and_stop_stage_ends(done: Toy) -> None:
    done.run("--stage", "2")
    assert done.stages_run() == ["count", "show"]
    done.run("--stage", "1", "--stop-stage", "2")
    assert done.stages_run() == ["sort", "count"]


def test_what_an_older_command_left_is_cleared_but_what_was_interrupted_stays(toy: Toy) -> None:
    command = 'sh -c \'mkdir -p "$3" && echo "$0" >> "$3/lines" && test -e go\' one words.txt --out $exp/folder\n'
    head = RECIPE.split("stage 1")[0]
    lines = toy.root / "exp/toy/folder/lines"

    toy.write(head + f'stage 1 "folder" {command}')
    assert toy.run().returncode != 0
    assert "goes on where it stopped" in toy.run().stdout
    assert lines.read_text().split() == ["one", "one"]
    toy.write(head + f'stage 1 "folder" {command.replace("one", "two")}')
    (toy.root / "go").touch()
    assert toy.run().returncode == 0
    assert lines.read_text().split() == ["two"]
    (toy.root / "words.txt").write_text("z\n")
    toy.run()
    toy.run("--stage", "1")
    assert lines.read_text().split() == ["two"]


def test_a_stage_that_runs_again_keeps_what_earlier_stages_wrote_into_its_folder(toy: Toy) -> None:
    inner = 'sh -c \'mkdir -p "${2%/*}" && sort "$0" > "$2"\' words.txt --out $exp/all/of/sorted.txt'
    outer = (
        'sh -c \'test -e "$2/of/sorted.txt" && ! test -e "$2/count.txt" && echo 2 > "$2/count.txt"\' x --out $exp/all'
    )
    toy.write(RECIPE.split("stage 1")[0] + f'stage 1 "inner" {inner}\nstage 2 "outer" {outer}\n')
    assert toy.run().returncode == 0
    toy.library("0.2.0")
    again = toy.run()
    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stdout.count("asr_kd is 0.2.0") == 2


def test_outputs_outside_the_folder_of_the_recipe_are_never_removed(toy: Toy) -> None:
    head = RECIPE.split("stage 1")[0]
    toy.write(head + 'stage 1 "x" sh -c \'echo "$0" >> "$2"\' one --out precious\n')
    toy.run()
    toy.write(head + 'stage 1 "x" sh -c \'echo "$0" >> "$2"\' two --out precious\n')
    toy.run()
    assert (toy.root / "precious").read_text().split() == ["one", "two"]


def test_dry_run_prints_the_commands_and_touches_nothing(toy: Toy) -> None:
    result = toy.run("--dry-run")
    assert result.returncode == 0
    assert "--out exp/toy/sorted.txt" in result.stdout
    assert toy.stages_run() == []
    assert not (toy.root / "exp").exists()


def test_a_failing_stage_gives_its_exit_code_its_output_and_its_log_and_stops(toy: Toy) -> None:
    toy.write(RECIPE.replace("wc -l", "echo no good >&2; exit 7; wc -l"))
    result = toy.run()
    assert result.returncode == 7
    assert "no good" in result.stdout
    assert "stage 2 (count) failed with exit code 7" in result.stderr
    assert "exp/toy/logs/02-count.log" in result.stderr
    assert "no good" in (toy.root / "exp/toy/logs/02-count.log").read_text()
    assert toy.stages_run() == ["sort"]


def test_a_failed_stage_runs_again_when_the_recipe_is_called_again(toy: Toy) -> None:
    toy.write(RECIPE.replace("wc -l", "exit 7; wc -l"))
    toy.run()
    toy.write(RECIPE)
    assert toy.run().returncode == 0
    assert toy.stages_run() == ["sort", "count", "show"]


def test_help_shows_the_purpose_the_options_and_the_stages(toy: Toy) -> None:
    text = toy.run("--help").stdout
    assert "Toy: words are sorted, then counted." in text
    assert "--stop-stage M" in text
    assert "1  sort words" in text


def test_help_also_shows_the_stages_of_what_a_recipe_sources(toy: Toy) -> None:
    (toy.root / "recipes/shared.sh").write_text('for x in a b; do\n  stage 2 "rest of $x" true\ndone\n')
    toy.write(RECIPE[: RECIPE.index("stage 2")] + ". recipes/shared.sh\n")
    text = toy.run("--help").stdout
    assert text.index("1  sort words") < text.index("2  rest of X")
    assert "stage 2  rest of b: done" in toy.run().stdout


@pytest.mark.parametrize("name", ["quickstart", "an4", "speechocean762"])
def test_only_the_oracle_of_a_recipe_reads_references_and_only_decoding_the_test(name: str, tmp_path: Path) -> None:
    command = ["bash", str(TOOLS.parent / f"recipes/{name}/run.sh"), "--dry-run", "--exp", str(tmp_path)]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    stages = re.findall(r"^stage \d+  (.*)\n +(asr-kd .*)$", shown, flags=re.M)
    assert len(stages) > 20
    reads = lambda part: {title for title, line in stages if re.search(rf"\b{part}\b", line)}
    assert reads("unlabelled_references") == {"reference shards", "reference alignments", "oracle student"}
    assert {title.split()[0] for title in reads("test") | reads("test.jsonl")} == {
        "shards",
        "decode",
        "scores",
        "report",
    }


@pytest.mark.parametrize("script", ["an4/ablation", "an4/ranks", "an4/sidecars", "speechocean762/remedies"])
def test_what_follows_a_recipe_has_a_dry_run_too(script: str, tmp_path: Path) -> None:
    command = ["bash", str(TOOLS.parent / f"recipes/{script}.sh"), "--dry-run", "--exp", str(tmp_path / "exp")]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert shown.returncode == 0 and "unbound" not in shown.stderr, shown.stderr
    assert re.findall(r"^ *(?:torchrun .*)?asr-kd (\w+)", shown.stdout, flags=re.M)
    assert not (tmp_path / "exp").exists()


@pytest.mark.parametrize("options", [["--stge", "2"], ["--stage"], ["--stage", "two"]])
def test_a_wrong_option_is_refused_before_anything_runs(toy: Toy, options: list[str]) -> None:
    result = toy.run(*options)
    assert result.returncode == 2
    assert "--help" in result.stderr
    assert toy.stages_run() == []


def test_seeds_have_folders_of_their_own_and_exp_is_relative_to_the_caller(toy: Toy, tmp_path: Path) -> None:
    toy.run("--seed", "3")
    assert (toy.root / "exp/toy-seed3/count.txt").exists()
    toy.run("--labelled", "all")
    assert (toy.root / "exp/toy-all/count.txt").exists()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert toy.run("--exp", "mine", cwd=elsewhere).returncode == 0
    assert (elsewhere / "mine/count.txt").exists()


def test_stages_side_by_side_are_waited_for_and_each_is_skipped_when_done(toy: Toy) -> None:
    toy.write(
        RECIPE.split("stage 1")[0]
        + """
stage_bg 1 "left"  sh -c 'echo left > "$1"' --out $exp/left
stage_bg 1 "right" sh -c 'echo right > "$1"' --out $exp/right
join
stage 2 "both" cat $exp/left $exp/right
"""
    )
    result = toy.run()
    assert result.returncode == 0, result.stderr
    assert "left\nright" in result.stdout
    assert toy.run().stdout.count("already done") == 3


def test_a_failure_side_by_side_lets_the_other_finish_and_stops_the_recipe(toy: Toy) -> None:
    toy.write(
        RECIPE.split("stage 1")[0]
        + """
stage_bg 1 "left"  sh -c 'echo no good; exit 7'
stage_bg 1 "right" sh -c 'echo right > "$1"' --out $exp/right
join
stage 2 "never" touch ran.show
"""
    )
    result = toy.run()
    assert result.returncode == 7
    assert "no good" in result.stderr
    assert "01-left.log" in result.stderr
    assert (toy.root / "exp/toy/right").exists()
    assert toy.stages_run() == []


def test_a_corpus_root_comes_from_its_variable_then_from_the_data_folder_then_from_data(toy: Toy) -> None:
    toy.write(RECIPE.split("stage 1")[0] + 'stage 1 "root" echo "root is $(corpus_root AN4_ROOT an4)"\n')
    shared = toy.root / "shared"
    (shared / "an4").mkdir(parents=True)

    def root(**environment: str) -> str:
        return toy.run("--stage", "1", **environment).stdout

    assert "root is data/an4" in root(AN4_ROOT="", ASR_KD_DATA="")
    assert f"root is {shared}/an4" in root(AN4_ROOT="", ASR_KD_DATA=str(shared))
    assert "root is /mine" in root(AN4_ROOT="/mine", ASR_KD_DATA=str(shared))


SLOW = (
    RECIPE.split("stage 1")[0]
    + """
mkfifo $exp/begun $exp/go 2>/dev/null || true
stage%s 1 "slow" sh -c 'echo $$ > "$0/begun"; read x < "$0/go"; echo done > "$2"' $exp --out $exp/out
join
"""
)


def _first_line(fifo: Path) -> bytes:
    """What is written first to a pipe; opening it for reading would wait for ever for a recipe that has failed."""
    with open(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as reader:
        assert select.select([reader], [], [], 30)[0], "the stage did not begin"
        return reader.readline()


@pytest.mark.parametrize("side_by_side", ["", "_bg"])
def test_a_recipe_that_is_killed_takes_its_stage_along_and_is_alone_in_its_folder(toy: Toy, side_by_side: str) -> None:
    toy.write(SLOW % side_by_side)
    command = ["bash", str(toy.root / "recipes/toy/run.sh")]
    environment = {**os.environ, "ASR_KD_NO_SETUP": "1", "PATH": PATH}
    exp = toy.root / "exp/toy"
    exp.mkdir(parents=True)
    for name in ("begun", "go"):
        os.mkfifo(exp / name)
    with subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as recipe:
        stage = int(_first_line(exp / "begun"))
        second = toy.run()
        assert second.returncode == 2
        assert f"run.sh (process {recipe.pid} on " in second.stderr
        assert "does not start" in second.stderr
        watched = os.pidfd_open(stage)
        recipe.kill()
    ended, _, _ = select.select([watched], [], [], 30)
    assert ended, "the stage runs on without its recipe"
    os.close(watched)
    toy.write((SLOW % side_by_side).replace('echo $$ > "$0/begun"; read x < "$0/go";', ""))
    assert toy.run().returncode == 0
    assert (exp / "out").read_text() == "done\n"


FOLDERS = (
    RECIPE.split("stage 1")[0]
    + """
stage 1 "sort words"  sh -c 'mkdir -p $2 && sort "$0" > $2/sorted && echo ran >> ran.sort' words.txt --out $exp/work
stage 2 "count" sh -c 'mkdir -p $2; wc -l < $0/sorted > $2/count; echo ran >> ran.count' $exp/work --out $exp/work/n
stage 3 "show"        sh -c 'cat $2/work/n/count > $2/shown; echo ran >> ran.show' x --out $exp
"""
)


@pytest.mark.parametrize(
    "spoil, why, ran",
    [
        (lambda exp: (exp / "work/sorted").unlink(), "work/sorted is missing", ["sort"]),
        (lambda exp: (exp / "work/sorted").write_text("a\n"), "work/sorted is not as", ["sort"]),
        (lambda exp: (exp / "work/n/count").write_text("3\n"), "work/n/count is not as", ["count"]),
        (lambda exp: (exp / "shown").write_text(""), "shown is not as", ["show"]),
    ],
)
def test_an_output_that_was_lost_or_cut_off_reruns_its_stage(toy: Toy, spoil, why: str, ran: list[str]) -> None:
    toy.write(FOLDERS)
    assert toy.run().returncode == 0
    assert toy.stages_run() == ["sort", "count", "show"]
    assert toy.run().stdout.count("already done") == 3
    spoil(toy.root / "exp/toy")
    shown = toy.run().stdout
    assert why in shown
    assert toy.stages_run()[: len(ran)] == ran
    assert (toy.root / "exp/toy/work/sorted").read_text() == "a\nb\n"
    assert (toy.root / "exp/toy/shown").read_text().strip() == "2"


def test_an_output_that_was_only_touched_reruns_nothing(toy: Toy) -> None:
    toy.write(FOLDERS)
    toy.run()
    toy.stages_run()
    os.utime(toy.root / "exp/toy/shown", (1, 1))
    toy.run()
    assert toy.stages_run() == []


@pytest.mark.parametrize("file", ["core/files.py", "report/page.html.j2", "report/utterances.js"])
def test_changed_code_of_the_library_reruns_everything(done: Toy, file: str) -> None:
    (done.root / "asr_kd" / file).parent.mkdir()
    (done.root / "asr_kd" / file).write_text("x = 1\n")
    assert "the code of asr_kd changed" in done.run().stdout
    assert done.stages_run() == ["sort", "count", "show"]
    (done.root / "asr_kd" / file).parent.joinpath("__pycache__").mkdir()
    (done.root / "asr_kd" / file).parent.joinpath("__pycache__/files.pyc").write_text("")
    done.run()
    assert done.stages_run() == []
