"""`scores.json` as text: the table for a terminal, and how its figures are written."""

from collections.abc import Mapping, Sequence
from typing import Any

from asr_kd.core.terminal import printable
from asr_kd.corpora.languages import language_name


def table(scores: Mapping[str, Any]) -> list[str]:
    """The figures as lines for a terminal; rates in percent."""
    systems, baseline = scores["systems"], scores["baseline"]
    measure = scores.get("measure", "WER")
    has_words = measure == "WER"
    header = ["system", f"{measure} %", "95% interval", "errors", "sub", "del", "ins", *["CER %"] * has_words]
    header += [f"{measure}R %", "p"] if baseline else []
    header += ["recovery %"] if scores["oracle"] else []
    rows = [header]
    for name, s in systems.items():
        row = [name, percent(s["wer"]), span(s["ci95"]), f"{s['errors']}/{s['words']}"]
        row += [str(s["substitutions"]), str(s["deletions"]), str(s["insertions"]), *[percent(s["cer"])] * has_words]
        if baseline:
            pair = pair_of(scores, name, baseline)
            row += [percent(s.get("werr")), "" if pair is None or pair["p"] is None else f"{pair['p']:.4f}"]
        row += [percent(s.get("recovery"))] if scores["oracle"] else []
        rows.append(row)
    lines = _grid(rows)
    for field, values in next(iter(systems.values()))["by"].items():
        conditions = [[f"{measure} % by {field}", *systems, "words" if has_words else "characters"]]
        for value, figures in values.items():
            rates = [percent(s["by"][field][value]["wer"]) for s in systems.values()]
            conditions.append([value, *rates, str(figures["words"])])
        lines += ["", *_grid(conditions)]
    b = scores["bootstrap"]
    lines += [
        "",
        f"{scores['utterances']} utterances; intervals: {b['resamples']} bootstrap resamples of {b['units']} "
        f"{b['unit']}s, seed {b['seed']}" + (f"; {measure}R and p against {baseline}" if baseline else ""),
    ]
    if not has_words:
        lines += [f"characters of {language_name(scores['language'])}, which has no spaces between words"]
    for note in skipped_notes(scores):
        lines += ["", note]
    return lines


def skipped_notes(scores: Mapping[str, Any]) -> list[str]:
    """Of each system whose decoding skipped utterances, how many, and that they count."""
    return [
        f"{name}: decoding skipped {len(s['skipped'])} of {scores['utterances']} utterances; their words are counted "
        "as deletions"
        for name, s in scores["systems"].items()
        if s.get("skipped")
    ]


def pair_of(scores: Mapping[str, Any], a: str, b: str) -> dict[str, Any] | None:
    """The paired comparison a - b, whichever way round it is stored; None for a system with itself."""
    for pair in scores["pairs"]:
        if (pair["a"], pair["b"]) == (a, b):
            return pair
        if (pair["a"], pair["b"]) == (b, a):
            ends = pair["difference_ci95"]
            turned = None if ends is None else [-ends[1], -ends[0]]
            difference = None if pair["difference"] is None else -pair["difference"]
            return pair | {"a": a, "b": b, "difference": difference, "difference_ci95": turned}
    return None


def percent(value: float | None) -> str:
    """A rate in percent with one decimal; a dash where it is undefined."""
    return "–" if value is None else f"{100 * value:.1f}".replace("-", "−")


def span(ends: Sequence[float] | None) -> str:
    """An interval of rates in percent; a dash where it has no bounds."""
    if ends is None:
        return "–"
    return f"{percent(ends[0])} {'to' if min(ends) < 0 else '–'} {percent(ends[1])}"


def _grid(rows: Sequence[Sequence[str]]) -> list[str]:
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
