"""Trains, tunes, decodes and scores a grid of systems on one corpus and writes a table of their results.

The grid is a YAML file: the test set, and for each row the commands that make its model (recipes/compare.yaml is an
example; Suite and System in experiments/suite.py document the keys). Rows run in parallel, in the order of their
dependencies. The same command resumes a stopped run; a row whose commands changed is run again.

  asr-kd experiment recipes/compare.yaml --exp exp/an4 exp/an4-seed1 --out exp/an4/compare
  asr-kd experiment recipes/compare.yaml --exp exp/an4 --out exp/an4/compare --only hidden_cosine relations --dry-run
  asr-kd experiment recipes/compare.yaml --exp exp/an4-seed2 --first-seed 2 --out seed2    # on another machine, then
  asr-kd experiment recipes/compare.yaml --merge-results seed*/results.jsonl --out exp/an4/compare  # one table of all
  asr-kd experiment recipes/compare.yaml --exp exp/an4 --merge-results seed0.jsonl --out rest  # what seed0.jsonl lacks

writes OUT/compare.md and OUT/compare.json, a list with for each row its name, knowledge, mode, student, params, bytes,
rtf (of the forward pass on one core), wer, ci95, werr, recovery and teacher_share, and OUT/results.jsonl, the errors
that they were computed from.
"""

import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from asr_kd.core.commands import command, command_line
from asr_kd.core.config import load_config
from asr_kd.core.errors import PartFailed
from asr_kd.core.files import atomic_path, read_json, write_json
from asr_kd.core.options import argument, option
from asr_kd.core.processes import DIES_WITH
from asr_kd.core.terminal import say, show
from asr_kd.evaluation.provenance import commit
from asr_kd.evaluation.score import score, write_scores
from asr_kd.experiments.figures import figures, markdown
from asr_kd.experiments.results import SIZES, SeedResults, merge, read_measured
from asr_kd.experiments.stages import Stage
from asr_kd.experiments.suite import Suite, System, Template, needs


@dataclass(frozen=True, kw_only=True)
class ExperimentRun:
    """What `asr-kd experiment` is given."""

    grid: Path = argument("YAML file of the grid")
    exp: tuple[Path, ...] = option(
        "output folders of a recipe, one per seed 0, 1, ...; they replace {exp} in the grid", (), metavar="DIR"
    )
    first_seed: int = option("seed of the first folder of --exp", 0, metavar="N")
    merge_results: tuple[Path, ...] = option(
        "results.jsonl of seeds or rows that were run elsewhere; they join the table and are not run again",
        (),
        metavar="FILE",
    )
    out: Path = option("output folder: results of the rows, compare.md, compare.json, results.jsonl")
    var: tuple[str, ...] = option("replace variables of the grid", (), metavar="NAME=TEXT")
    only: tuple[str, ...] = option("run only these rows and those that they depend on", (), metavar="ROW")
    jobs: int | None = option("rows that run at the same time (default: one per core)", None, metavar="N")
    title: str = option("title of the table", "Comparison")
    dry_run: bool = option("check the grid and print the commands; run nothing", False)


@command()
def run_experiment(config: ExperimentRun) -> None:
    """Make the systems of a grid and the table that compares them."""
    if config.jobs is not None and config.jobs < 1:
        raise ValueError(f"--jobs {config.jobs}: at least 1 is needed")
    grid = load_config(Suite, config.grid)
    grid = replace(grid, vars=grid.vars | _texts(config.var, grid))
    rows = _chosen(grid, config.only)
    if not config.exp and not config.merge_results:
        raise ValueError(
            "nothing to compare: give the recipe's results with --exp, or measured ones with --merge-results"
        )
    joined = read_measured(config.merge_results) if config.merge_results else None
    there = joined.errors if joined else {}
    tasks = [
        _Task(grid, row, config.out, exp, seed)
        for seed, exp in enumerate(config.exp, config.first_seed)
        for row in _with_needs(grid, [row.name for row in rows if row.name not in there.get(seed, {})])
    ]
    if config.dry_run:
        for task in tasks:
            for words in task.commands:
                show(shlex.join(["asr-kd", *words]))
        return
    failed = _run_all(tasks, config.jobs or os.cpu_count() or 1, joined)
    measured = _measure(grid, [task for task in tasks if task.key not in failed], config)
    if measured and joined:
        measured.join(joined, "--merge-results")
    try:
        if found := measured or joined:
            _write_table(grid, rows, found, config)
    finally:  # what failed is the last that one reads
        for name, reason in failed.items():
            say(f"{name}: {reason}")
    if failed:
        raise PartFailed(f"{len(failed)} of {len(tasks)} rows failed")


class _Task:
    """One row with one seed."""

    def __init__(self, grid: Suite, row: System, out: Path, exp: Path, seed: int) -> None:
        places = Template(grid, out, exp, seed)
        self.row, self.seed, self.places, self.folder = row, seed, places, places.folder(row.name)
        self.key, self.records = f"seed{seed}/{row.name}", out / ".stages"
        self.needs = {f"seed{seed}/{name}" for name in needs(row, grid.vars)}
        self.models = [Path(word) for word in places.words(row.model, row.name)]
        self.reference = Path(places.text(grid.reference))
        graph = places.text(grid.graph if row.graph is None else row.graph, row.name)
        on = ["--model", *map(str, self.models), *(["--graph", graph] if graph else [])]
        self.commands = [places.words(step, row.name) for step in row.steps]
        decode = ["decode", places.text(grid.test), *on, "--out", str(self.folder / "decode")]
        if graph:
            self.commands.append(["tune", places.text(grid.dev), *on, "--out", str(self.folder / "tune")])
            decode += ["--decoding-scales", str(self.folder / "tune")]
        self.commands.append(decode)

    def run(self, threads: int) -> None:
        """Run what has not been done. RuntimeError with the log's last line when a step fails."""
        for number, words in enumerate(self.commands):
            name = f"{number}-{words[0]}"
            stage = Stage(self.records / f"seed{self.seed}-{self.row.name}-{name}.json", ("asr-kd", *words))
            seconds, reason = stage.begin()
            if seconds is not None:
                continue
            if reason:
                say(f"{self.key}: {words[0]} runs again: {reason}")
            started, log = time.monotonic(), self.folder / "logs" / f"{name}.txt"
            log.parent.mkdir(parents=True, exist_ok=True)
            environment = os.environ | {"OMP_NUM_THREADS": str(threads), DIES_WITH: str(os.getpid())}
            with open(log, "w", encoding="utf-8") as file:
                code = subprocess.run(
                    [sys.executable, "-m", "asr_kd.cli", *words],
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    check=False,
                ).returncode
            if code:
                last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
                raise RuntimeError(f"asr-kd {words[0]} ended with {code}, see {log}: {' '.join(last)}")
            stage.finish(round(time.monotonic() - started))

    def compare(self, joined: SeedResults) -> None:
        """RuntimeError where the row was measured before with other errors: what needs it would be of another model."""
        if (before := joined.errors.get(self.seed, {}).get(self.row.name)) is not None:
            known = SeedResults(joined.test, {self.seed: {self.row.name: before}})
            found = score(self.reference, {self.row.name: self.folder / "decode"})
            try:
                known.join(SeedResults.of(self.seed, found, {self.row.name: {}}), "--merge-results")
            except ValueError as e:
                raise RuntimeError(str(e)) from None


@dataclass
class _Runner:
    """Runs a task and says that it has ended."""

    total: int
    joined: SeedResults | None
    ended: int = 0

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def __call__(self, task: _Task, threads: int) -> None:
        started = time.monotonic()
        task.run(threads)
        if self.joined is not None:
            task.compare(self.joined)
        with self._lock:
            self.ended += 1
            say(f"{self.ended}/{self.total} {task.key}: {time.monotonic() - started:.0f} s")


def _run_all(tasks: Sequence[_Task], jobs: int, joined: SeedResults | None) -> dict[str, str]:
    """Run tasks when those that they need are done, and look whether they fit what was measured before.

    Returns the reasons of those that failed.
    """
    threads = max(1, (os.cpu_count() or 1) // jobs)
    waiting, done, failed = list(tasks), set[str](), dict[str, str]()
    running: dict[Future[None], _Task] = {}
    runner = _Runner(len(tasks), joined)
    with ThreadPoolExecutor(jobs) as pool:
        while waiting or running:
            for task in list(waiting):
                if lost := sorted(task.needs & failed.keys()):
                    failed[task.key] = f"needs {lost[0]}, which failed"
                    waiting.remove(task)
                elif task.needs <= done and len(running) < jobs:
                    waiting.remove(task)
                    running[pool.submit(runner, task, threads)] = task
            if not running:
                if waiting and not any(t.needs & failed.keys() for t in waiting):
                    raise ValueError(f"rows need each other in a circle: {', '.join(t.row.name for t in waiting)}")
                continue
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                task = running.pop(future)
                try:
                    future.result()
                    done.add(task.key)
                except RuntimeError as e:
                    failed[task.key] = str(e)
                    say(f"{task.key}: {e}")
    return failed


def _texts(pairs: Sequence[str], grid: Suite) -> dict[str, str]:
    """`--var NAME=TEXT` as a dict. ValueError when the grid has no such name."""
    texts = dict(pair.partition("=")[::2] for pair in pairs)
    for name in texts.keys() - grid.vars.keys():
        raise ValueError(f"--var {name}: the grid lets {', '.join(grid.vars) or 'nothing'}")
    return texts


def _chosen(grid: Suite, only: Sequence[str] | None) -> list[System]:
    """The rows asked for and those that they need, in the grid's order. ValueError names an unknown one."""
    if not only:
        return list(grid.parsed)
    return _with_needs(grid, [*only, *(name for name in (grid.baseline, grid.oracle, grid.teacher) if name)])


def _with_needs(grid: Suite, names: Sequence[str]) -> list[System]:
    """Rows of these names and those that they need, in the grid's order. ValueError names an unknown one."""
    rows = {row.name: row for row in grid.parsed}
    wanted, asked = set[str](), list(names)
    while asked:
        name = asked.pop()
        if name not in rows:
            raise ValueError(f"{name}: no such row; there are {', '.join(rows)}")
        if name not in wanted:
            wanted.add(name)
            asked += sorted(needs(rows[name], grid.vars))
    return [row for row in rows.values() if row.name in wanted]


def _measure(grid: Suite, tasks: Sequence[_Task], config: ExperimentRun) -> SeedResults | None:
    """Score and size up what was run; OUT/results.jsonl. None when nothing was."""
    if not tasks:
        return None
    models: dict[str, list[Path]] = {}
    for task in tasks:
        models.setdefault(task.row.name, task.models)  # all seeds are of one size
    speed = _speed(list(models.values()), tasks[0].places.text(grid.dev), config.out)
    about: dict[str, dict[str, Any]] = {}
    for name, paths in models.items():
        parts = [speed[str(path)] for path in paths]
        keys = dict(zip(SIZES, ("parameters", "bytes", "real_time_factor"), strict=True))
        about[name] = {ours: sum(part[theirs] for part in parts) for ours, theirs in keys.items()}
        about[name]["commit"] = commit()
    seeds = []
    for seed in sorted({task.seed for task in tasks}):
        ours = [task for task in tasks if task.seed == seed]
        found = score(ours[0].reference, {task.row.name: task.folder / "decode" for task in ours})
        write_scores(config.out / f"seed{seed}" / "scores.json", found)
        seeds.append((f"seed {seed}", SeedResults.of(seed, found, about)))
    measured = merge(seeds)
    measured.write(config.out / "results.jsonl")
    return measured


def _write_table(grid: Suite, rows: Sequence[System], measured: SeedResults, config: ExperimentRun) -> None:
    """Of those rows that every seed has. ValueError when there is none."""
    shared = set(measured.rows()) & {row.name for row in rows}
    if not shared:
        raise ValueError("no row was measured with every seed: there is no table to write")
    if lost := [row.name for row in rows if row.name not in shared]:
        say(f"not in the table, since not every seed has them: {', '.join(lost)}")
    there = {
        what: name if (name := getattr(grid, what)) in shared else "" for what in ("baseline", "oracle", "teacher")
    }
    found = figures(measured, **there)
    table: list[dict[str, Any]] = []
    for row in rows:
        if row.name in shared:
            about = {"name": row.name, "knowledge": row.knowledge, "mode": row.mode, "student": row.student}
            size = {key: measured.system_info[row.name][key] for key in SIZES}
            table.append(about | size | found[row.name] | {"seeds": len(measured.errors)})
    made_by = f"{command_line()}  # commit {commit()}"
    write_json(config.out / "compare.json", table)
    text = markdown(table, config.title, made_by, measured.test.measure)
    with atomic_path(config.out / "compare.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    show(*text.split("\n"))


def _speed(models: Sequence[Sequence[Path]], shards: str, out: Path) -> dict[str, dict[str, Any]]:
    """What `asr-kd bench model` found of each model on one core."""
    paths = list(dict.fromkeys(str(path) for models_of_row in models for path in models_of_row))
    file = out / "speed.json"
    command = ["bench", "model", *paths, "--shards", shards, "--seconds", "30", "--repeats", "3", "--out", str(file)]
    ended = subprocess.run(
        [sys.executable, "-m", "asr_kd.cli", *command, "--json"], capture_output=True, text=True, check=False
    )
    if ended.returncode:
        raise ValueError(f"asr-kd bench model: {' '.join(ended.stderr.strip().splitlines()[-1:])}")
    return {model["model"]: model for model in read_json(file)["models"]}
