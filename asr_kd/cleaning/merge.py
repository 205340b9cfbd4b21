"""From the results of all parts to manifests with columns, and a list of what could not be measured."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TextIO

from asr_kd.cleaning.annotate_job import Measured, read_results
from asr_kd.cleaning.copies import Copy, Sketch, find_copies
from asr_kd.cleaning.registry import columns_of
from asr_kd.cleaning.text import text_columns
from asr_kd.core.files import atomic_path
from asr_kd.core.progress import SECONDS_PER_HOUR
from asr_kd.core.terminal import show
from asr_kd.corpora.corpus import REJECTED, Rejected
from asr_kd.corpora.manifest import Utterance, write_manifest
from asr_kd.segment.parts import results_of
from asr_kd.segment.recordings import Source


@dataclass
class Totals:
    """Of a manifest."""

    utterances: int = 0
    seconds: float = 0.0
    copies: int = 0
    copies_s: float = 0.0
    rejected: list[Rejected] = field(default_factory=list)


class Results:
    """What was found of the utterances of all manifests, read anew each time: they may not fit memory."""

    def __init__(self, sources: Sequence[Source], result: Callable[[str], Path]) -> None:
        """result: where a part's result is, by the name of the part."""
        self._sources, self._result = sources, result

    def of(self, source: Source) -> Iterator[tuple[Utterance, Measured]]:
        """The utterances of a manifest in order. ValueError when a result is damaged."""
        return results_of(source.utterances(), self._result, read_results, "asr-kd annotate")

    def sketches(self) -> Iterator[tuple[Utterance, Sketch | None]]:
        """Of all utterances, manifest by manifest."""
        return ((utterance, found.sketch) for source in self._sources for utterance, found in self.of(source))


def merge(
    sources: Sequence[Source],
    results: Results,
    measures: Sequence[str],
    transcripts: Mapping[str, str | None] | None,
    out: Path,
) -> list[Totals]:
    """Write OUT/NAME.jsonl for each source and OUT/rejected.jsonl; the totals of each source.

    measures: their columns are written.  transcripts: text by id, None where a recogniser found none; without
    transcripts, the text of the manifests is looked at.
    """
    copies = find_copies(results.sketches(), out / ".work") if "duplicate" in measures else {}
    annotated = _Annotated(measures, copies, transcripts)
    totals = [Totals() for _ in sources]
    with atomic_path(out / REJECTED) as path, open(path, "w", encoding="utf-8") as file:
        for source, total in zip(sources, totals, strict=True):
            for item in source.rejected:
                _reject(item, total, file)
            lines = annotated.lines(results.of(source), total, file)
            write_manifest(out / f"{source.name}.jsonl", lines)
    if not any(total.rejected for total in totals):
        (out / REJECTED).unlink()
    return totals


class _Annotated:
    """The lines of manifests, numbered through all of them."""

    def __init__(
        self, measures: Sequence[str], copies: dict[int, Copy], transcripts: Mapping[str, str | None] | None
    ) -> None:
        self._columns, self._copies, self._transcripts = columns_of(measures), copies, transcripts
        self._wants_text = "text" in measures
        self._ids: dict[int, str] = {copy.original: "" for copy in copies.values()}
        self._number = 0

    def lines(self, found: Iterator[tuple[Utterance, Measured]], total: Totals, file: TextIO) -> Iterator[Utterance]:
        """The lines of a manifest, with its totals; what could not be measured goes into `file`."""
        for utterance, measured in found:
            number, self._number = self._number, self._number + 1
            total.utterances += 1
            if measured.error is not None:
                _reject(Rejected(utterance.id, utterance.audio_filepath, measured.error), total, file)
                continue
            total.seconds += utterance.duration
            if number in self._ids:
                self._ids[number] = utterance.id
            values = dict(measured.columns)
            if (copy := self._copies.get(number)) is not None:
                values |= {"duplicate_of": self._ids[copy.original], "duplicate_kind": copy.kind}
                total.copies += 1
                total.copies_s += utterance.duration
            if self._wants_text:
                given = self._transcripts
                text = utterance.text if given is None else given.get(utterance.id)
                values |= text_columns(text, utterance.duration)
            yield replace(utterance, meta=utterance.meta | {name: values.get(name) for name in self._columns})


def _reject(item: Rejected, total: Totals, file: TextIO) -> None:
    total.rejected.append(item)
    file.write(json.dumps(vars(item), ensure_ascii=False) + "\n")


def print_summary(sources: Sequence[Source], totals: Sequence[Totals]) -> None:
    """Utterances and hours of each manifest to stdout, and how much of it are copies."""
    show(f"{'manifest':<24}{'utterances':>12}{'hours':>10}{'copies':>9}{'hours':>10}")
    for source, t in zip(sources, totals, strict=True):
        hours, copies = t.seconds / SECONDS_PER_HOUR, t.copies_s / SECONDS_PER_HOUR
        show(f"{source.name:<24}{t.utterances:>12}{hours:>10.3f}{t.copies:>9}{copies:>10.3f}")
