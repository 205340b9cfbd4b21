"""The job of `asr-kd annotate`: a worker takes a part of the utterances, the rename of its result marks it done."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asr_kd.cleaning.copies import Sketch, sketch
from asr_kd.cleaning.measure import ColumnValue, MeasureOptions
from asr_kd.cleaning.registry import load_measures
from asr_kd.core.files import atomic_path
from asr_kd.core.runtime import set_threads
from asr_kd.core.text_files import read_rows
from asr_kd.corpora.audio import read_audio
from asr_kd.corpora.manifest import Utterance
from asr_kd.jobs.job import ShardEvent, failure
from asr_kd.segment.recordings import read_part

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


class AnnotateWorker:
    """Measures the utterances of one part after the other."""

    def __init__(self, job: AnnotateJob, report: Callable[[ShardEvent], None]) -> None:
        """report: called with every event. ValueError when what a measure needs is not installed."""
        self._job, self._report = job, report
        self._measures = load_measures(job.measures, job.options)

    def run(self, receive: Callable[[], str | None]) -> None:
        """Measure the parts that `receive` gives until it gives None. One that fails does not stop the others."""
        while (path := receive()) is not None:
            try:
                seconds = self._measure_part(path)
            except Exception as e:  # whatever happens in a part is that part's
                self._report(failure(path, e))
            else:
                self._report(ShardEvent(path, "done", seconds, statistics={"seconds": seconds}))

    def _measure_part(self, path: str) -> float:
        seconds = 0.0
        with atomic_path(self._job.result(path)) as temporary, open(temporary, "w", encoding="utf-8") as file:
            for utterance in read_part(Path(path)):
                file.write(self.measure(utterance).to_json() + "\n")
                self._report(ShardEvent(path, "audio", utterance.duration))
                seconds += utterance.duration
        return seconds

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
        return Measured(columns, sketch(wave_N) if "duplicate" in self._job.measures else None)


def read_results(path: Path) -> Iterator[Measured]:
    """What was found of each utterance of a part, in its order."""
    for _, row in read_rows(path):
        if "error" in row:
            yield Measured(error=str(row["error"]))
        else:
            yield Measured(row["columns"], Sketch.from_dict(row["sketch"]) if "sketch" in row else None)
