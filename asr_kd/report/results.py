"""RESULTS.md: the results of several runs as tables, each with the command that made it.

Example:

    asr-kd results exp/an4/seed1/report exp/an4/seed2/report exp/an4/ablation --out RESULTS.md

Each EXP is a folder with results.json (of `asr-kd report`), ablation.json, compare.md (of `asr-kd experiment`), or
several of them. Runs that share a title are one recipe with several seeds: mean and range over the runs. ablation.json
is a list of {"name", "wer", "ci95", "seed", "command", ...}; rows that share a name are one variant with several seeds.
The same inputs give the same bytes. With --merge the file's sections of other titles stay as they are, for results
whose folders are elsewhere.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from asr_kd.core.commands import command
from asr_kd.core.files import atomic_path, read_json, values_of
from asr_kd.core.options import argument, option
from asr_kd.core.terminal import markdown_text, printable, show
from asr_kd.evaluation.table import percent, span
from asr_kd.report.page import duration
from asr_kd.report.summary import display_name

MADE_BY = "# Results\n\nMade by `asr-kd results`"
HEAD = f"""{MADE_BY}; do not edit by hand. WERs are in percent. Over several seeds: mean (lowest – highest).
With a single seed, brackets hold the 95% bootstrap interval over the test set instead.
Another processor gives other figures for the same seed: float32 sums depend on its vector width, and training amplifies
the difference (the quick start's distilled student, seed 0, on three machines and six commits: 28.1 to 31.2).
"""


@dataclass(frozen=True, kw_only=True)
class ResultsRun:
    """What `asr-kd results` is given."""

    exp: tuple[Path, ...] = argument("folder with results.json, ablation.json or compare.md", metavar="EXP")
    out: Path = option("output file, Markdown", metavar="FILE")
    merge: bool = option("keep the sections of FILE whose titles are not among these results", False)


@command(is_file=True, keeps_config=False)
def write_results(config: ResultsRun) -> None:
    """Write RESULTS.md."""
    with values_of(" or ".join(str(folder) for folder in config.exp), "asr-kd report"):
        text = results_markdown(config.exp)
    if config.merge and config.out.exists():
        text = merged(config.out.read_text(encoding="utf-8"), text)
    with atomic_path(config.out) as temporary:
        temporary.write_text(text, encoding="utf-8")
    show(f"{config.out}: from {len(config.exp)} folder{'s' if len(config.exp) > 1 else ''}")


def results_markdown(folders: Sequence[Path]) -> str:
    """The text of RESULTS.md. ValueError when a folder holds no results or what it holds has another form."""
    runs: dict[str, list[dict[str, Any]]] = {}
    variants: list[dict[str, Any]] = []
    comparisons: list[str] = []
    for folder in folders:
        results, ablation, compare = (folder / name for name in ("results.json", "ablation.json", "compare.md"))
        if not any(file.exists() for file in (results, ablation, compare)):
            raise ValueError(
                f"{folder}: no results.json, ablation.json or compare.md. `asr-kd report --out ...` makes the first."
            )
        if results.exists():
            found = _read_results(results)
            runs.setdefault(found["title"], []).append(found)
        if ablation.exists():
            variants += _read_ablation(ablation)
        if compare.exists():
            comparisons.append(_read_comparison(compare))
    sections = [HEAD, *(_recipe(title, group) for title, group in runs.items())]
    if variants:
        sections.append(_ablation(variants))
    return "\n".join([*sections, *comparisons])


def merged(old: str, new: str) -> str:
    """`old` with `new`'s sections in the place of those of the same title, and its others at the end.

    ValueError when `old` is not of this verb.
    """
    if not old.startswith(MADE_BY):
        raise ValueError("--merge: the file was not made by `asr-kd results`. Choose another --out.")
    sections: dict[str, str] = {}
    for text in (old, new):
        for section in text.split("\n## ")[1:]:
            sections[section.partition("\n")[0]] = section.strip("\n")
    return "\n".join([HEAD, *(f"## {section}\n" for section in sections.values())])


def _recipe(title: str, runs: list[dict[str, Any]]) -> str:
    runs = sorted(runs, key=_seed_order)
    names = list(dict.fromkeys(name for r in runs for name in r["systems"]))
    measure = runs[0].get("measure", "WER")
    rows = []
    for name in names:
        systems = [r["systems"][name] for r in runs if name in r["systems"]]
        wer = _rates([s["wer"] for s in systems], [s.get("ci95") for s in systems])
        cer = _rates([s.get("cer") for s in systems], [s.get("cer_ci95") for s in systems])
        params = dict.fromkeys(f"{s['params']:,}" for s in systems if s.get("params") is not None)
        rows.append([display_name(name), wer, *[cer] * (measure == "WER"), " / ".join(params) or "–"])
    werr = _rates([r.get("werr") for r in runs], [r.get("werr_ci95") for r in runs])
    recovery = _rates([r.get("recovery") for r in runs], [r.get("recovery_ci95") for r in runs])
    seeds = [str(r["seed"]) for r in runs if r.get("seed") is not None]
    seconds = [r["seconds"] for r in runs if r.get("seconds") is not None]
    facts = [
        f"{len(runs)} run{'s' if len(runs) > 1 else ''}" + (f" (seeds {', '.join(seeds)})" if seeds else ""),
        *([f"{runs[0]['utterances']} test utterances"] if runs[0].get("utterances") else []),
        *([f"{duration(fmean(seconds))} a run"] if seconds else []),
    ]
    parts = [
        f"## {markdown_text(title)}\n",
        f"{', '.join(facts)}.\n",
        _table(["System", f"{measure} %", *["CER %"] * (measure == "WER"), "Parameters"], rows),
        f"\nRelative {measure} reduction of the student: {werr}%. {measure} recovery rate: {recovery}%.\n",
    ]
    if len(runs) > 1:
        each = []
        for r in runs:
            wers = [percent(r["systems"].get(n, {}).get("wer")) for n in names]
            each.append([_seed(r), *wers, percent(r.get("werr")), percent(r.get("recovery"))])
        parts += [_table(["Seed", *map(display_name, names), f"{measure}R %", "Recovery %"], each), ""]
    return "\n".join([*parts, _made_by(runs)])


def _ablation(variants: list[dict[str, Any]]) -> str:
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in variants:
        groups.setdefault(row["name"], []).append(row)
    rows = []
    for name, group in groups.items():
        group = sorted(group, key=_seed_order)
        wer = _rates([r["wer"] for r in group], [r.get("ci95") for r in group])
        rows.append([name, wer, ", ".join(_seed(r) for r in group)])
    ordered = [r for group in groups.values() for r in sorted(group, key=_seed_order)]
    return "\n".join(["## Ablation\n", _table(["Variant", "WER %", "Seeds"], rows), "", _made_by(ordered)])


def _rates(values: Sequence[float | None], intervals: Sequence[Sequence[float] | None]) -> str:
    """`18.4 (18.1 – 18.9)` over several seeds, `18.4 [15.2 – 21.6]` with the interval of one; in percent."""
    known = [v for v in values if v is not None]
    if not known:
        return "–"
    if len(known) > 1:
        return f"{percent(fmean(known))} ({span([min(known), max(known)])})"
    ends = next((e for v, e in zip(values, intervals, strict=True) if v is not None), None)
    return percent(known[0]) + (f" [{span(ends)}]" if ends else "")


def _made_by(runs: Iterable[Mapping[str, Any]]) -> str:
    commands = dict.fromkeys((r.get("command") or "", r.get("commit") or "") for r in runs)
    lines = [
        printable(command) + (f"  # commit {commit}" if commit else "")
        for command, commit in commands
        if command  # rows made by hand have none
    ]
    return "Made by\n\n```bash\n" + "\n".join(lines).replace("```", "` ` `") + "\n```\n" if lines else ""


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(map(markdown_text, row)) + " |" for row in [header, rule, *rows])


def _seed(row: Mapping[str, Any]) -> str:
    return "–" if row.get("seed") is None else str(row["seed"])


def _seed_order(row: Mapping[str, Any]) -> tuple[bool, int]:
    seed = row.get("seed")
    return seed is None, seed or 0


def _read_results(path: Path) -> dict[str, Any]:
    results = read_json(path)
    if not isinstance(results, dict) or not isinstance(results.get("systems"), dict):
        raise ValueError(f"{path}: not the results.json of `asr-kd report`. Make the report again.")
    return {"title": str(path.parent)} | results


def _read_comparison(path: Path) -> str:
    """The table of `asr-kd experiment`, its title as that of a section."""
    text = path.read_text(encoding="utf-8")
    if not text.startswith("# "):
        raise ValueError(f"{path}: not a table of `asr-kd experiment`. Run it again.")
    return f"## Compared: {text.removeprefix('# ')}"


def _read_ablation(path: Path) -> list[dict[str, Any]]:
    rows = read_json(path)
    if not isinstance(rows, list):
        raise ValueError(f'{path}: holds a {type(rows).__name__}; a list of {{"name", "wer", ...}} is needed')
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict) or not isinstance(row.get("name"), str):
            raise ValueError(f'{path}: row {number} has no "name"')
        if not isinstance(row.get("wer"), (int, float)) or isinstance(row["wer"], bool):
            raise ValueError(f'{path}: row {number} ({row["name"]}): "wer" is {row.get("wer")!r}; a fraction is needed')
    return rows
