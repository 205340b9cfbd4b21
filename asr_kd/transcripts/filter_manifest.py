"""Keeps the lines of manifests whose columns satisfy conditions. Manifests are read twice, and never held in memory."""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from asr_kd.core.text_files import read_rows
from asr_kd.corpora.conditions import Condition, check_columns, row_of
from asr_kd.corpora.manifest import Utterance, read_manifest, write_manifest
from asr_kd.transcripts.filter_report import FilterReport
from asr_kd.transcripts.pseudo_labels import ENDING

OF_HYPOTHESES = ("confidence", "reason", "words")
"""A line that has one of them is a hypothesis."""


def is_manifest(path: object) -> bool:
    """Whether a file lists utterances without what a recogniser said of them. ValueError when it is not JSON lines."""
    local = path if isinstance(path, Path) else None
    if local is None or not local.is_file() or local.name.endswith(ENDING):
        return False
    first = next((row for _, row in read_rows(local)), None)
    return first is not None and not any(name in first for name in OF_HYPOTHESES)


def failed_conditions(conditions: Sequence[Condition], utterance: Utterance) -> list[str]:
    """The conditions that an utterance does not satisfy, as they were written. ValueError names the utterance."""
    row = row_of(utterance)
    try:
        return [condition.text for condition in conditions if not condition.holds(row)]
    except ValueError as e:
        raise ValueError(f"{utterance.id}: {e}") from None


def judge(manifests: Sequence[Path], conditions: Sequence[Condition]) -> Iterator[tuple[Utterance, list[str]]]:
    """The utterances of all manifests, each with the conditions that it fails.

    ValueError, at the end, when a condition looks at a column that no utterance has.
    """
    columns: set[str] = set()
    for utterance in chain.from_iterable(map(read_manifest, manifests)):
        columns.update(utterance.meta)
        yield utterance, failed_conditions(conditions, utterance)
    check_columns(conditions, columns, ", ".join(str(m) for m in manifests))


def report_of(manifests: Sequence[Path], conditions: Sequence[Condition]) -> FilterReport:
    """What each condition drops. ValueError as for `judge`, and when nothing is kept."""
    report = FilterReport([condition.text for condition in conditions])
    for utterance, failed in judge(manifests, conditions):
        report.add(failed, utterance.duration)
    if not report.whole.utterances:
        raise ValueError(f"{manifests[0]}: holds no utterances. `asr-kd prepare` writes manifests.")
    return report


def write_kept(out: Path, manifests: Sequence[Path], conditions: Sequence[Condition]) -> int:
    """Write the manifest of what is kept; the number of its utterances."""
    return write_manifest(out, (utterance for utterance, failed in judge(manifests, conditions) if not failed))


def dropped_ids(manifests: Sequence[Path], conditions: Sequence[Condition]) -> dict[str, list[str]]:
    """Of each utterance, by id, the conditions that it fails."""
    return {utterance.id: failed for utterance, failed in judge(manifests, conditions)}
