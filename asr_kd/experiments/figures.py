"""The figures of `asr-kd experiment`: systems over several seeds, each with its interval."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from asr_kd.core.terminal import markdown_text
from asr_kd.evaluation.bootstrap import (
    BootstrapConfig,
    choose_unit,
    estimate,
    interval,
    ratio,
    recovery_rate,
    relative_reduction,
    resampled_sums,
    sum_by_unit,
)
from asr_kd.experiments.results import SeedResults


def figures(
    measured: SeedResults, baseline: str = "", oracle: str = "", teacher: str = ""
) -> dict[str, dict[str, Any]]:
    """Of each row that every seed has: `wer`, `ci95`, `werr`, `recovery`, `teacher_share` and `wers`; None for none.

    Errors are summed over the seeds: the WER is the seeds' mean, and its interval that of the mean on other speakers
    (or utterances), not of other seeds.
    """
    test, seeds, names = measured.test, [e for _, e in sorted(measured.errors.items())], measured.rows()
    errors_NK = np.array([[sum(s[x][n] for s in seeds) for x in names] for n in range(len(test.ids))])
    unit = choose_unit(BootstrapConfig(), test.speakers)
    keys = [s or "" for s in test.speakers] if unit == "speaker" else test.ids
    columns_NK = np.column_stack([len(seeds) * np.array(test.words), errors_NK]).astype(np.float64)
    sums_RK = resampled_sums(sum_by_unit(columns_NK, keys), BootstrapConfig.resamples, BootstrapConfig.seed)
    words_R, errors = sums_RK[:, 0], dict(zip(names, sums_RK[:, 1:].T, strict=True))
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        wer_R = ratio(errors[name], words_R)
        row: dict[str, Any] = {"wer": estimate(wer_R), "ci95": interval(wer_R)}
        row |= dict.fromkeys(("werr", "werr_ci95", "recovery", "recovery_ci95", "teacher_share"))
        if baseline and name != baseline:
            werr_R = relative_reduction(errors[baseline], errors[name])
            row |= {"werr": estimate(werr_R), "werr_ci95": interval(werr_R)}
            if oracle and name != oracle:
                recovery_R = recovery_rate(errors[baseline], errors[name], errors[oracle])
                row |= {"recovery": estimate(recovery_R), "recovery_ci95": interval(recovery_R)}
        if teacher:
            row["teacher_share"] = estimate((words_R - errors[name]) / (words_R - errors[teacher]))
        row["wers"] = [sum(s[name]) / sum(test.words) for s in seeds]
        found[name] = row
    return found


def markdown(rows: Sequence[Mapping[str, Any]], title: str, made_by: str, measure: str = "WER") -> str:
    """The table for readers; best rows are not marked: intervals overlap. made_by: a command, with the commit."""
    header = "| system | knowledge | mode | student | params | bytes | RTF | "
    header += f"{measure} % [95%] | seeds | {measure}R % | recovery % "
    lines = [f"# {markdown_text(title)}", "", header + "| of the teacher's right words % |", "|" + "---|" * 12]
    for row in rows:
        cells = [markdown_text(row[key]) for key in ("name", "knowledge", "mode", "student")]
        cells += [_scaled(row["params"], 1e6, "M"), _scaled(row["bytes"], 1e6, "MB")]
        cells.append("-" if row["rtf"] is None else f"{row['rtf']:.4f}")
        low, high = row["ci95"] or (None, None)
        cells.append(f"{_percent(row['wer'])} [{_percent(low)}, {_percent(high)}]")
        cells.append(" ".join(_percent(w) for w in row["wers"]))
        cells += [_percent(row["werr"]), _percent(row["recovery"]), _percent(row["teacher_share"])]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", "Made by", "", "```bash", made_by, "```", ""])


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _scaled(value: float | None, by: float, unit: str) -> str:
    return "-" if value is None else f"{value / by:.2f} {unit}"
