"""Keeps the utterances to train on: of hypotheses, those likely to be right by the confidence and other scores that
decoding gave them; of manifests, those whose columns satisfy conditions. No reference text is used.

  asr-kd filter exp/targets --keep-share 0.7 --min-seconds 1 --out exp/kept.jsonl
  asr-kd filter exp/targets --keep-hours 100 --out exp/kept.jsonl
  asr-kd distill --unlabelled ... --utterances exp/kept.jsonl
  asr-kd filter exp/annotated/unlabelled.jsonl --where "snr_db >= 10" "duplicate_of is null" --out exp/kept.jsonl
  asr-kd filter exp/targets exp/annotated/unlabelled.jsonl --where "snr_db >= 10" --keep-share 0.7 --out exp/kept.jsonl

Of hypotheses, it prints how many hours each confidence threshold would keep after all other criteria. It prints what
each criterion dropped. --where comes first, then the criteria in the order below. The default of each is off.

Given manifests alone, it writes the manifest of what is kept, for `asr-kd shard` or `asr-kd distill --utterances`.
Given hypotheses too, it writes the lines of hypotheses whose utterances, joined by id, satisfy both. `asr-kd annotate`
adds columns to a manifest; `duration`, `speaker`, `text` and all keys of `meta` are columns. A column without a value
satisfies `is null` alone.

Confidences of different teachers have different scales (Whisper's are seldom above 0.8, those of a graph search
often): tune --min-confidence for each teacher. --keep-share and --keep-hours choose by rank and suit every teacher.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from asr_kd.core.commands import command
from asr_kd.core.options import argument, option
from asr_kd.core.progress import SECONDS_PER_HOUR
from asr_kd.core.terminal import say, show
from asr_kd.corpora.conditions import SYNTAX, Condition
from asr_kd.transcripts.filter_manifest import dropped_ids, is_manifest, report_of, write_kept
from asr_kd.transcripts.filter_report import FilterReport
from asr_kd.transcripts.pseudo_labels import read_transcripts
from asr_kd.transcripts.recognised import RecognisedUtterance, write_recognised

ROUNDING_S = 1e-3
"""A sum of durations may exceed what is asked for by this much: all of an hour is kept by a share of 1."""
SHARES = tuple(round(0.1 * i, 1) for i in range(1, 11))
"""Of the table of ranks that is printed."""
THRESHOLDS = tuple(round(0.05 * i, 2) for i in range(20))
"""Of the table that is printed."""

Line = RecognisedUtterance


@dataclass(frozen=True)
class Criteria:
    """What an utterance must satisfy to be kept; None asks for nothing."""

    min_seconds: float | None = option("drop utterances shorter than X seconds", None, metavar="X")
    max_seconds: float | None = option("drop utterances longer than X seconds", None, metavar="X")
    min_rate: float | None = option(
        "drop slower speech, phones per second from the first word's start to the last word's end", None, metavar="X"
    )
    max_rate: float | None = option("drop faster speech, phones per second", None, metavar="X")
    min_agreement: float | None = option(
        "minimum agreement of the search with the acoustic model alone (no lexicon, no language model), in [0, 1]",
        None,
        metavar="X",
    )
    max_entropy: float | None = option(
        "maximum mean entropy of the teacher's posteriors, nats per frame", None, metavar="X"
    )
    min_word_confidence: float | None = option("minimum confidence of every word, in [0, 1]", None, metavar="X")
    min_confidence: float | None = option("minimum confidence of the utterance, in [0, 1]", None, metavar="X")
    keep_share: float | None = option(
        "of what is left, keep the most confident share X of the hours, in [0, 1]", None, metavar="X"
    )
    keep_hours: float | None = option("of what is left, keep the most confident X hours", None, metavar="X")

    def __post_init__(self) -> None:
        for name, value in self.asked().items():
            most = 1.0 if name.endswith(("confidence", "agreement", "share")) else math.inf
            if not 0 <= value <= most or not math.isfinite(value):
                within = "in [0, 1]" if most == 1 else "0 or more"
                raise ValueError(f"{flag(name)} {value}: it must be {within}")

    def asked(self) -> dict[str, float]:
        """The criteria that are set, in the order in which they are looked at."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}


MEASURES: dict[str, Callable[[Line], float]] = {
    "seconds": lambda line: line.seconds or 0.0,
    "rate": lambda line: rate(line),
    "agreement": lambda line: line.scores["agreement"],
    "entropy": lambda line: line.scores["entropy"],
    "word_confidence": lambda line: min((word.confidence for word in line.words or ()), default=confidence(line)),
    "confidence": lambda line: confidence(line),
}
"""What `min_NAME` and `max_NAME` are compared with."""


BY_RANK = ("keep_share", "keep_hours")
"""Criteria that keep the most confident, whatever the scale of confidences."""

NEEDED = {"rate": "phones", "agreement": "agreement", "entropy": "entropy"}
"""What a line must hold to be measured so; not all teachers know it."""


@dataclass(frozen=True)
class FilterResult:
    """What was kept, and why the rest was not."""

    kept: list[Line]
    """In the order in which they were read."""
    dropped: dict[str, list[Line]]
    """By the name of the criterion; `reason` holds what labelling set aside."""
    before_confidence: list[Line]
    """What `min_confidence`, `keep_share` and `keep_hours` choose from."""


def apply(lines: Sequence[Line], criteria: Criteria, failed: Mapping[str, Sequence[str]] = {}) -> FilterResult:
    """Apply the criteria one after the other. ValueError where lines lack what one looks at.

    failed: by id, the conditions on columns of a manifest that an utterance does not satisfy; they come first.
    """
    kept = [line for line in lines if line.text is not None]
    dropped = {"reason": [line for line in lines if line.text is None]}
    for line in kept:
        if why := failed.get(line.id):
            dropped.setdefault(why[0], []).append(line)
    kept = [line for line in kept if not failed.get(line.id)]
    before = kept
    for name, value in criteria.asked().items():
        if name in BY_RANK:
            wanted = value if name == "keep_hours" else value * hours(kept)
            stays = _most_confident(kept, wanted * SECONDS_PER_HOUR)
        else:
            side, measure = name.split("_", 1)
            _check_known(kept, name, NEEDED.get(measure))
            sign = 1 if side == "min" else -1
            stays = {line.id for line in kept if sign * MEASURES[measure](line) >= sign * value}
        dropped[name] = [line for line in kept if line.id not in stays]
        kept = [line for line in kept if line.id in stays]
        if name not in ("min_confidence", *BY_RANK):
            before = kept
    return FilterResult(kept, dropped, before)


def _check_known(lines: Sequence[Line], name: str, field: str | None) -> None:
    lacking = next((line.id for line in lines if field is not None and field not in line.scores), None)
    if lacking is not None:
        raise ValueError(
            f"{flag(name)}: {lacking} has no {field}: its teacher does not know it (Whisper). "
            "Ask for confidence and seconds only."
        )


def rate(line: Line) -> float:
    """Phones per second between the first word's start and the last word's end; 0 without words."""
    seconds = line.words[-1].end_s - line.words[0].start_s if line.words else 0.0
    return line.scores["phones"] / seconds if seconds > 0 else 0.0


def confidence(line: Line) -> float:
    """Of a line with text, which has one."""
    assert line.confidence is not None
    return line.confidence


def _most_confident(lines: Sequence[Line], seconds: float) -> set[str]:
    """Ids of the most confident utterances that fill `seconds`; the one that would exceed them is the first to go."""
    ids: set[str] = set()
    for line in sorted(lines, key=lambda x: (-confidence(x), x.id)):
        seconds -= line.seconds or 0.0
        if seconds < -ROUNDING_S:
            break
        ids.add(line.id)
    return ids


def thresholds(lines: Sequence[Line]) -> list[str]:
    """A table: of each threshold of confidence the utterances and hours at or above it, and their share."""
    total = hours(lines)
    rows = [f"{'confidence':>10} {'utterances':>11} {'hours':>9} {'kept':>7}"]
    for threshold in THRESHOLDS:
        above = [line for line in lines if confidence(line) >= threshold]
        share = hours(above) / total if total else 0.0
        rows.append(f"{threshold:>10g} {len(above):>11} {hours(above):>9.3f} {share:>7.1%}")
    return rows


def ranks(lines: Sequence[Line]) -> list[str]:
    """A table: of each `--keep-share` the confidence that its least sure utterance has, and utterances and hours."""
    total = hours(lines)
    rows = [f"{'share':>10} {'utterances':>11} {'hours':>9} {'confidence from':>16}"]
    for share in SHARES:
        ids = _most_confident(lines, share * total * SECONDS_PER_HOUR)
        inside = [line for line in lines if line.id in ids]
        least = min((confidence(line) for line in inside), default=math.nan)
        rows.append(f"{share:>10g} {len(inside):>11} {hours(inside):>9.3f} {least:>16.4f}")
    return rows


def hours(lines: Sequence[Line]) -> float:
    """Audio of the utterances."""
    return sum(line.seconds or 0.0 for line in lines) / SECONDS_PER_HOUR


def flag(name: str) -> str:
    """`min_rate` -> `--min-rate`."""
    return "--" + name.replace("_", "-")


@dataclass(frozen=True, kw_only=True)
class FilterRun:
    """What `asr-kd filter` is given."""

    hypotheses: tuple[Path, ...] = argument(
        "what `asr-kd label --write-transcripts` wrote (*.hyp.jsonl, or the folder that holds them), manifests "
        "(.jsonl), or both",
        metavar="INPUT",
    )
    out: Path | None = option(
        "output file (.jsonl) of the kept lines, for `asr-kd distill --utterances`; needed unless --dry-run",
        None,
        metavar="LIST",
    )
    where: tuple[str, ...] = option(
        f"conditions on columns of the manifests; all must hold. Each is one of: {SYNTAX}", (), metavar="CONDITION"
    )
    report: Path | None = option(
        "output file (.json): utterances and hours that each criterion dropped", None, metavar="FILE"
    )
    criteria: Criteria = field(default_factory=Criteria)
    dry_run: bool = option("print the table and write nothing", False)


@command(is_file=True)
def filter_transcripts(config: FilterRun) -> None:
    """Keep what the criteria leave, and print what each threshold would."""
    if config.out is None and not config.dry_run:
        raise ValueError("give --out LIST.jsonl, or --dry-run to see the table only")
    conditions = [Condition.parse(text) for text in config.where]
    manifests = [path for path in config.hypotheses if is_manifest(path)]
    hypotheses = [path for path in config.hypotheses if path not in manifests]
    if conditions and not manifests:
        raise ValueError("--where: give the manifest that has the columns, beside the hypotheses")
    if hypotheses:
        _filter_hypotheses(hypotheses, manifests, conditions, config)
    else:
        _filter_manifests(manifests, [*conditions, *_as_conditions(config.criteria)], config)


def _as_conditions(criteria: Criteria) -> list[Condition]:
    """Criteria that manifests have columns for. ValueError when there are others."""
    conditions = []
    for name, value in criteria.asked().items():
        if not name.endswith("_seconds"):
            raise ValueError(f"{flag(name)}: looks at hypotheses, give them too. Of a manifest, select by --where.")
        conditions.append(Condition.parse(f"duration {'>=' if name.startswith('min') else '<='} {value!r}"))
    return conditions


def _filter_manifests(manifests: Sequence[Path], conditions: Sequence[Condition], config: FilterRun) -> None:
    report = report_of(manifests, conditions)
    show(*report.table())
    if not report.kept.utterances:
        total = report.whole.utterances
        raise ValueError(f"nothing is kept of {total} utterances; most went by: {report.worst()}. Ask for less.")
    if config.out is None or config.dry_run:
        return
    if config.report is not None:
        report.write(config.report)
    write_kept(config.out, manifests, conditions)
    say(config.out)


def _filter_hypotheses(
    hypotheses: Sequence[Path], manifests: Sequence[Path], conditions: Sequence[Condition], config: FilterRun
) -> None:
    criteria = config.criteria
    lines = list(read_transcripts(*hypotheses))
    if not lines:
        raise ValueError(f"{hypotheses[0]}: holds no utterances. Give what `asr-kd label --write-transcripts` wrote.")
    failed = dropped_ids(manifests, conditions)
    unknown = [line.id for line in lines if line.id not in failed] if conditions else []
    if unknown:
        raise ValueError(f"{unknown[0]} and {len(unknown) - 1} more hypotheses are in none of the manifests")
    chosen = apply(lines, criteria, failed)
    show(*thresholds(chosen.before_confidence), "", *ranks(chosen.before_confidence))
    asked = {"reason": "set aside by labelling"} | {c.text: f"--where {c.text}" for c in conditions}
    asked |= {n: f"{flag(n)} {v:g}" for n, v in criteria.asked().items()}
    report = FilterReport(list(asked.values()))
    for name, what in asked.items():
        dropped = chosen.dropped.get(name, [])
        for line in dropped:
            report.add([what], line.seconds or 0.0)
        if dropped or name != "reason":
            show(f"{what}: dropped {len(dropped)} utterances, {hours(dropped):.3f} h")
    for line in chosen.kept:
        report.add([], line.seconds or 0.0)
    share = hours(chosen.kept) / max(hours(lines), 1e-9)
    show(f"kept {len(chosen.kept)} of {len(lines)} utterances, {hours(chosen.kept):.3f} h, {share:.1%}")
    if not chosen.kept:
        most = max((n for n in chosen.dropped), key=lambda n: len(chosen.dropped[n]))
        raise ValueError(
            f"nothing is kept of {len(lines)} utterances; most went by: {asked[most]}. {_way_out(most, chosen)}"
        )
    if config.out is None or config.dry_run:
        return
    if config.report is not None:
        report.write(config.report)
    write_recognised(config.out, chosen.kept)
    say(config.out)


def _way_out(criterion: str, chosen: FilterResult) -> str:
    values = [confidence(line) for line in chosen.before_confidence]
    if criterion != "min_confidence" or not values:
        return "Ask for less."
    low, high = min(values), max(values)
    return f"This teacher's confidences run from {low:.4g} to {high:.4g}; `--keep-share 0.7` chooses by rank."
