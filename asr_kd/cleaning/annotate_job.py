"""The job of `asr-kd annotate`: a worker takes a part of the utterances, the rename of its result marks it done."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asr_kd.cleaning.copies import Sketch, sketch
from asr_kd.cleaning.measure import ColumnValue, MeasureOptions
from asr_kd.cleaning.registry import load_measures
from asr_kd.core.runtime import set_threads
from asr_kd.core.text_files import read_rows
from asr_kd.corpora.audio import read_audio
from asr_kd.corpora.manifest import Utterance
from asr_kd.jobs.job import ShardEvent
from asr_kd.segment.parts import PartWorker

MAX_SECONDS = 1000.0
"""Longer utterances are not measured: they are recordings to cut first."""
FORMAT = 1
"""Raised when the same samples get other values."""


@dataclass(frozen=True)
class Measured:
    """What was found of an utterance."""

    columns: dict[str, ColumnValue] = field(default_factory=dict)
    sketch: Sketch | None = None
    error: str | None = None
    """Why it cannot be measured."""

    def to_json(self) -> str:
        """One line."""
        line: dict[str, Any] = {"error": self.error} if self.error is not None else {"columns": self.columns}
        if self.sketch is not None:
            line["sketch"] = self.sketch.to_dict()
        return json.dumps(line, ensure_ascii=False)


@dataclass(frozen=True)
class AnnotateJob:
    """What decides the values, and on what they are found; a `PoolJob` on lists of utterances."""

    measures: tuple[str, ...]
    out: str
    """Folder of the results."""
    options: MeasureOptions = field(default_factory=MeasureOptions)
    device: str = "cpu"
    threads: int | None = 1

    def settings(self) -> dict[str, Any]:
        """What decides the values."""
        settings: dict[str, Any] = {"format": FORMAT, "measures": list(self.measures)}
        if "speech" in self.measures:
            settings["detector"] = self.options.detector
        if "language" in self.measures:
            settings["whisper"] = self.options.whisper
        return settings

    def result(self, part: str) -> Path:
        """Where the result of a part goes. part: path of its list, or its name."""
        return Path(self.out) / f"{Path(part).stem}.jsonl"

    def worker(self, report: Callable[[ShardEvent], None]) -> "AnnotateWorker":
        """As `PoolJob` says."""
        set_threads(self.threads)
        return AnnotateWorker(self, report)


class AnnotateWorker(PartWorker):
    """Measures the utterances of one part after the other."""

    def __init__(self, job: AnnotateJob, report: Callable[[ShardEvent], None]) -> None:
        """report: called with every event. ValueError when what a measure needs is not installed."""
        super().__init__(job.result, report)
        self._measures = load_measures(job.measures, job.options)
        self._wants_sketch = "duplicate" in job.measures

    def line(self, item: Utterance) -> str:
        """As `PartWorker` says."""
        return self.measure(item).to_json()

    def measure(self, utterance: Utterance) -> Measured:
        """Find what an utterance is like. Errors of the system (disk, memory) pass."""
        if utterance.duration > MAX_SECONDS:
            return Measured(error=f"{utterance.duration:.0f} s are too long to measure. Cut it: `asr-kd segment`.")
        try:
            wave_N = read_audio(utterance.audio_filepath, utterance.offset, utterance.duration)
        except ValueError as e:
            return Measured(error=str(e))
        if not len(wave_N):
            return Measured(error=f"{utterance.audio_filepath}: holds no sample of this utterance")
        columns: dict[str, ColumnValue] = {}
        for measure in self._measures:
            columns |= measure(wave_N)
        return Measured(columns, sketch(wave_N) if self._wants_sketch else None)


def read_results(path: Path) -> Iterator[Measured]:
    """What was found of each utterance of a part, in its order."""
    for _, row in read_rows(path):
        if "error" in row:
            yield Measured(error=str(row["error"]))
        else:
            yield Measured(row["columns"], Sketch.from_dict(row["sketch"]) if "sketch" in row else None)
