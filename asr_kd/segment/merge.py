"""From the results of all parts to manifests of segments, a table of the recordings, and a list of what is left out."""

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO

from asr_kd.core.files import atomic_path
from asr_kd.core.progress import SECONDS_PER_HOUR
from asr_kd.core.terminal import say, show
from asr_kd.corpora.corpus import REJECTED, Rejected
from asr_kd.corpora.manifest import Utterance, write_manifest
from asr_kd.corpora.segments import Segment
from asr_kd.segment.parts import results_of
from asr_kd.segment.recordings import Source
from asr_kd.segment.segment_job import CutRecording, read_results

RECORDINGS_FILE = "recordings.csv"
COLUMNS = ("id", "audio_filepath", "seconds", "speech_s", "kept_s", "segments", "why_not")
RECORDING_KEY = "recording"
"""In a segment's `meta`: id of the recording that it is from."""


@dataclass
class Totals:
    """Of a manifest."""

    recordings: int = 0
    seconds: float = 0.0
    speech_s: float = 0.0
    kept_s: float = 0.0
    segments: int = 0
    silent: int = 0
    """Recordings without speech."""
    too_long: int = 0
    """Recordings with text that is not cut."""
    words: int = 0
    """Of the texts of recordings that were cut with them."""
    words_kept: int = 0
    unmatched: int = 0
    """Segments that do not match the text."""
    unreadable: list[Rejected] = field(default_factory=list)


def merge(sources: Sequence[Source], result: Callable[[str], Path], detector: str, out: Path) -> list[Totals]:
    """Write OUT/NAME.jsonl for each source, OUT/recordings.csv and OUT/rejected.jsonl; the totals of each source.

    result: where a part's result is, by the name of the part.
    """
    totals = [Totals() for _ in sources]
    with (
        atomic_path(out / RECORDINGS_FILE) as table_path,
        atomic_path(out / REJECTED) as rejected_path,
        open(table_path, "w", encoding="utf-8", newline="") as table,
        open(rejected_path, "w", encoding="utf-8") as rejected,
    ):
        report = _Report(csv.writer(table), rejected, detector)
        for source, total in zip(sources, totals, strict=True):
            for item in source.rejected:
                report.add_unreadable(item, total)
            write_manifest(out / f"{source.name}.jsonl", _segments(source, result, report, total))
    if not any(t.unreadable or t.silent or t.too_long or t.unmatched for t in totals):
        (out / REJECTED).unlink()
    return totals


def segments_of(recording: Utterance, segments: Sequence[Segment]) -> Iterator[Utterance]:
    """A recording's segments as utterances. The id is the recording's with the begin in milliseconds."""
    for segment in segments:
        start_ms = round(segment.start_s * 1000)
        yield Utterance(
            id=f"{recording.id}-{start_ms:08d}",
            audio_filepath=recording.audio_filepath,
            duration=round(segment.end_s - segment.start_s, 3),
            offset=round(recording.offset + segment.start_s, 6),
            speaker=recording.speaker,
            meta={**recording.meta, RECORDING_KEY: recording.id},
        )


def print_summary(sources: Sequence[Source], totals: Sequence[Totals]) -> None:
    """Recordings, hours and segments of each manifest to stdout; what has no speech to stderr."""
    show(f"{'manifest':<24}{'recordings':>11}{'hours':>10}{'speech':>9}{'kept':>9}{'segments':>10}")
    for source, t in zip(sources, totals, strict=True):
        hours = "".join(f"{s / SECONDS_PER_HOUR:>{w}.3f}" for s, w in ((t.seconds, 10), (t.speech_s, 9), (t.kept_s, 9)))
        show(f"{source.name:<24}{t.recordings:>11}{hours}{t.segments:>10}")
    silent = sum(t.silent for t in totals)
    if silent:
        say(f"{silent} recordings hold no speech: {REJECTED} lists them")
    words = sum(t.words for t in totals)
    if words:
        kept, unmatched = sum(t.words_kept for t in totals), sum(t.unmatched for t in totals)
        say(
            f"{kept} of {words} words ({100 * kept / words:.1f}%) have their segment; {unmatched} segments do not "
            f"match the text: {REJECTED} lists them"
        )
    too_long = sum(t.too_long for t in totals)
    if too_long:
        say(f"{too_long} recordings with text are too long and were not cut: {REJECTED} lists them")


def _segments(source: Source, result: Callable[[str], Path], report: "_Report", total: Totals) -> Iterator[Utterance]:
    cuts = results_of(source.to_cut(), result, read_results, "asr-kd segment")
    for recording in source.utterances():
        role = source.text.role(recording)
        if role == "whole":
            report.add(recording, CutRecording([Segment(0.0, recording.duration)], recording.duration), total)
            yield recording
        elif role == "too long":
            report.add_too_long(recording, total)
        else:
            _, cut = next(cuts)
            report.add(recording, cut, total)
            segments = segments_of(recording, cut.segments)
            if cut.texts is None:
                yield from segments
            else:
                for segment, matched in zip(segments, cut.texts, strict=True):
                    if matched.why_not is None:
                        yield replace(segment, text=" ".join(matched.words))
                    else:
                        report.add_unmatched(segment, matched.why_not, total)


class _Report:
    """The table of recordings and the list of rejected ones, as they are written."""

    def __init__(self, table: Any, rejected: TextIO, detector: str) -> None:
        self._table, self._rejected, self._detector = table, rejected, detector
        table.writerow(COLUMNS)

    def add(self, recording: Utterance, cut: CutRecording, total: Totals) -> None:
        """A recording that was looked at."""
        if cut.error is not None:
            self.add_unreadable(Rejected(recording.id, recording.audio_filepath, cut.error), total)
            return
        kept_s = sum(s.end_s - s.start_s for s in cut.segments)
        total.recordings += 1
        total.seconds += recording.duration
        total.speech_s += cut.speech_s
        total.kept_s += kept_s
        total.segments += len(cut.segments)
        if cut.texts is not None:
            total.words += len((recording.text or "").split())
            total.words_kept += sum(len(t.words) for t in cut.texts)
        why_not = ""
        if not cut.segments:
            total.silent += 1
            why_not = f"no speech found by the detector {self._detector} in {recording.duration:.2f} s of audio"
        self._write(recording, [cut.speech_s, kept_s], len(cut.segments), why_not)

    def add_unmatched(self, segment: Utterance, why_not: str, total: Totals) -> None:
        """A segment that nobody knows the words of."""
        total.unmatched += 1
        self._reject(Rejected(segment.id, segment.audio_filepath, f"{segment.duration:.2f} s: {why_not}"))

    def add_too_long(self, recording: Utterance, total: Totals) -> None:
        """One whose text nobody can cut."""
        total.recordings += 1
        total.seconds += recording.duration
        total.too_long += 1
        way_out = "Align it (--model), or leave it out (--ignore-text)."
        why_not = f"{recording.duration:.2f} s with text, which is not cut. {way_out}"
        self._write(recording, [0.0, 0.0], 0, why_not)

    def add_unreadable(self, item: Rejected, total: Totals) -> None:
        """One that cannot be read."""
        total.recordings += 1
        total.unreadable.append(item)
        self._table.writerow([item.id, item.audio_filepath, "", "", "", 0, item.error])
        self._reject(item)

    def _write(self, recording: Utterance, seconds: Sequence[float], segments: int, why_not: str) -> None:
        numbers = [f"{s:.3f}" for s in (recording.duration, *seconds)]
        self._table.writerow([recording.id, recording.audio_filepath, *numbers, segments, why_not])
        if why_not:
            self._reject(Rejected(recording.id, recording.audio_filepath, why_not))

    def _reject(self, item: Rejected) -> None:
        self._rejected.write(json.dumps(vars(item), ensure_ascii=False) + "\n")
