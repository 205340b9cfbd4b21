"""`report.html`: one file that opens anywhere, without network or scripts; `utterances.html` beside it has the rest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from asr_kd.evaluation.table import pair_of, percent, skipped_notes, span
from asr_kd.evaluation.wer import columns
from asr_kd.report.curves import Run
from asr_kd.report.summary import display_name
from asr_kd.report.svg import COLOURS, NARROW_WIDTH, WIDE_WIDTH, Curve, Mark, interval_chart, line_chart
from asr_kd.report.templates import template


@dataclass(frozen=True)
class Page:
    """What a page is made from."""

    summary: Mapping[str, Any]
    """`results.json`."""
    scores: Mapping[str, Any]
    """`scores.json`."""
    runs: Sequence[Run] = ()
    """Metrics of the training runs."""
    clips: Mapping[str, str] = field(default_factory=dict)
    """Utterance id -> `data:` URI of its audio."""
    configs: Mapping[str, str] = field(default_factory=dict)
    """Name -> text of a config file."""
    versions: Mapping[str, str] = field(default_factory=dict)
    worst: int = 12
    """Utterances shown of those that the student got wrong."""


def render(page: Page) -> str:
    """The page as HTML. Everything that comes from outside is escaped."""
    systems = list(page.scores["systems"])
    colours = {name: i % COLOURS for i, name in enumerate(dict.fromkeys([*systems, *(r.name for r in page.runs)]))}
    return template("page.html.j2", percent=percent, span=span, count=_count, duration=duration).render(
        summary=page.summary,
        scores=page.scores,
        verdict=verdict(page.summary, page.scores),
        colours=colours,
        systems_chart=_systems_chart(page.scores, colours),
        pairs=_pairs(page.scores, page.summary["student"], page.summary["baseline"]),
        conditions=_conditions(page.scores, colours),
        runs=page.runs,
        curves=_curves(page.runs, colours),
        worst=worst_utterances(page.scores, page.summary["student"], page.worst),
        clips=page.clips,
        configs=page.configs,
        versions=page.versions,
        skipped_notes=skipped_notes(page.scores),
    )


def verdict(summary: Mapping[str, Any], scores: Mapping[str, Any]) -> str:
    """The outcome in a sentence or two, with no more certainty than the intervals give."""
    student, baseline = summary["student"], summary["baseline"]
    who = display_name(student)
    wer = f"{who}: {percent(summary['systems'][student]['wer'])}% word errors"
    pair = pair_of(scores, student, baseline) if baseline else None
    if pair is None or summary["werr"] is None:
        return wer + "."
    more_or_fewer = "fewer" if summary["werr"] >= 0 else "more"
    certain = pair["p"] is not None and pair["p"] < 1 - scores["bootstrap"]["confidence"]
    p = "" if pair["p"] is None else f" (p = {pair['p']:.2g}, paired bootstrap)"
    sentence = f"{wer}, {100 * abs(summary['werr']):.1f}% {more_or_fewer} than “{display_name(baseline)}”. "
    return sentence + (f"The difference is significant{p}." if certain else f"The difference could be chance{p}.")


def worst_utterances(scores: Mapping[str, Any], student: str, most: int) -> list[dict[str, Any]]:
    """Utterances with the most word errors of the student first (then the higher share, then the id), aligned."""
    wrong = [u for u in scores["per_utterance"] if u["systems"][student]["errors"]]
    wrong.sort(key=lambda u: (-u["systems"][student]["errors"], len(u["reference"].split()), u["id"]))
    conditions = next(iter(scores["systems"].values()))["by"]
    return [
        {
            "id": u["id"],
            "about": {"speaker": u["speaker"], **{f: u["meta"].get(f) for f in conditions if f != "speaker"}},
            "reference": u["reference"],
            "hypothesis": u["systems"][student]["text"],
            "columns": list(columns(u["reference"], u["systems"][student]["text"], u["systems"][student]["path"])),
            "errors": {name: s["errors"] for name, s in u["systems"].items()},
        }
        for u in wrong[:most]
    ]


def duration(seconds: float) -> str:
    """Seconds as `42 s`, `12 min` or `3 h 05 min`."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def _count(value: float | None) -> str:
    """1234567 -> 1.23M, for parameter counts."""
    if value is None:
        return "–"
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return str(value)


def _mark(name: str, colour: int, figures: Mapping[str, Any]) -> Mark:
    ends = figures["ci95"]
    value = None if figures["wer"] is None else 100 * figures["wer"]
    return Mark(display_name(name), colour, value, None if ends is None else [100 * e for e in ends])


def _measure(scores: Mapping[str, Any]) -> str:
    """CER in languages without spaces between words."""
    return str(scores.get("measure", "WER"))


def _rate(scores: Mapping[str, Any]) -> str:
    return {"CER": "Character error rate"}.get(_measure(scores), "Word error rate")


def _systems_chart(scores: Mapping[str, Any], colours: Mapping[str, int]) -> str:
    bands = [(display_name(name), [_mark(name, colours[name], s)]) for name, s in scores["systems"].items()]
    return interval_chart(f"{_rate(scores)} of each system with its 95% interval", bands, f"{_measure(scores)}, %")


def _pairs(scores: Mapping[str, Any], student: str, baseline: str | None) -> list[dict[str, Any]]:
    """The student against every other system, then the rest against the baseline."""
    names = list(scores["systems"])
    wanted = [(student, other) for other in names if other != student]
    wanted += [(other, baseline) for other in names if baseline and other not in (student, baseline)]
    return [p for a, b in wanted if b != student and (p := pair_of(scores, a, b)) is not None]


def _conditions(scores: Mapping[str, Any], colours: Mapping[str, int]) -> list[dict[str, Any]]:
    systems = scores["systems"]
    found = []
    for name, values in next(iter(systems.values()))["by"].items():
        bands = [(value, [_mark(s, colours[s], systems[s]["by"][name][value]) for s in systems]) for value in values]
        chart = interval_chart(f"{_rate(scores)} by {name}, with 95% intervals", bands, f"{_measure(scores)}, %")
        found.append({"field": name, "values": values, "chart": chart})
    return found


def _curves(runs: Sequence[Run], colours: Mapping[str, int]) -> list[dict[str, Any]]:
    """Charts of loss on training data, loss on dev data and frame accuracy on dev data; those that have points."""
    training = [
        Curve(f"{display_name(r.name)}{': ' + stream if stream else ''}", colours[r.name], points, dashed=i > 0)
        for r in runs
        for i, (stream, points) in enumerate(r.loss.items())
    ]
    dev_loss = [Curve(display_name(r.name), colours[r.name], r.dev_loss) for r in runs if r.dev_loss]
    accuracy = [
        Curve(display_name(r.name), colours[r.name], r.dev_frame_accuracy) for r in runs if r.dev_frame_accuracy
    ]
    charts = (("Loss in training", training), ("Loss on dev", dev_loss), ("Frame accuracy on dev", accuracy))
    drawn = [(title, curves) for title, curves in charts if curves]
    return [
        {
            "title": title,
            "wide": (wide := i == 0 and len(drawn) != 2),
            "chart": line_chart(f"{title} over training steps", curves, "steps", WIDE_WIDTH if wide else NARROW_WIDTH),
            "dashed": [c.label for c in curves if c.dashed],
        }
        for i, (title, curves) in enumerate(drawn)
    ]
