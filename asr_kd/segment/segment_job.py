"""The job of `asr-kd segment`: a worker takes a part, and the rename of its result marks it done."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from asr_kd.core.runtime import set_threads
from asr_kd.core.text_files import read_rows
from asr_kd.corpora.manifest import Utterance
from asr_kd.corpora.segments import Segment, SegmentConfig, cut
from asr_kd.corpora.speech_activity import DetectorName, SpeechDetector, load_detector
from asr_kd.corpora.stretch import stretch_blocks
from asr_kd.jobs.job import ShardEvent
from asr_kd.segment.parts import PartWorker
from asr_kd.segment.text_aligner_config import TextAlignerConfig
from asr_kd.segment.word_matching import Matched


@dataclass(frozen=True)
class CutRecording:
    """What became of a recording."""

    segments: list[Segment] = field(default_factory=list)
    speech_s: float = 0.0
    texts: list[Matched] | None = None
    """Of each segment, where the recording has text."""
    error: str | None = None
    """Why it cannot be read."""

    def to_json(self) -> str:
        """One line."""
        if self.error is not None:
            return json.dumps({"error": self.error}, ensure_ascii=False)
        segments = [[s.start_s, s.end_s] for s in self.segments]
        row: dict[str, Any] = {"speech_s": round(self.speech_s, 3), "segments": segments}
        if self.texts is not None:
            row["texts"] = [[" ".join(t.words), t.why_not] for t in self.texts]
        return json.dumps(row, ensure_ascii=False)


@dataclass(frozen=True)
class SegmentJob:
    """What decides the segments, and on what they are found; a `PoolJob` on lists of recordings."""

    detector: DetectorName
    out: str
    """Folder of the results."""
    config: SegmentConfig = field(default_factory=SegmentConfig)
    text: TextAlignerConfig | None = None
    """With what recordings with text are aligned."""
    device: str = "cpu"
    threads: int | None = 1

    def settings(self) -> dict[str, Any]:
        """What decides the segments."""
        text = {} if self.text is None else {"text": self.text.settings()}
        return {"detector": self.detector, **asdict(self.config), **text}

    def result(self, part: str) -> Path:
        """Where the result of a part goes. part: path of its list, or its name."""
        return Path(self.out) / f"{Path(part).stem}.jsonl"

    def worker(self, report: Callable[[ShardEvent], None]) -> "SegmentWorker":
        """As `PoolJob` says."""
        set_threads(self.threads)
        return SegmentWorker(self, report)


class SegmentWorker(PartWorker):
    """Cuts the recordings of one part after the other."""

    def __init__(self, job: SegmentJob, report: Callable[[ShardEvent], None]) -> None:
        """report: called with every event. ValueError when the detector is not installed."""
        super().__init__(job.result, report)
        self._config = job.config
        self._detector: SpeechDetector = load_detector(job.detector)
        self._aligner = None
        if job.text is not None:
            from asr_kd.segment.text_aligner import TextAligner  # slow to import, and most recordings have no text

            self._aligner = TextAligner(job.text)

    def line(self, item: Utterance) -> str:
        """As `PartWorker` says."""
        return self.cut(item).to_json()

    def cut(self, recording: Utterance) -> CutRecording:
        """Find a recording's segments. Errors of the system (disk, memory) pass."""
        try:
            blocks = stretch_blocks(recording.audio_filepath, recording.offset, recording.duration)
            found = cut(self._detector(blocks), recording.duration, self._config)
            texts = None
            if self._aligner is not None and recording.text and found.segments:
                texts = self._aligner.texts(recording, found.segments)
        except ValueError as e:
            return CutRecording(error=str(e))
        return CutRecording(found.segments, found.speech_s, texts)


def read_results(path: Path) -> Iterator[CutRecording]:
    """What became of each recording of a part, in its order."""
    for _, row in read_rows(path):
        if "error" in row:
            yield CutRecording(error=str(row["error"]))
        else:
            texts = [Matched(text.split(), why_not) for text, why_not in row["texts"]] if "texts" in row else None
            yield CutRecording([Segment(*pair) for pair in row["segments"]], row["speech_s"], texts)
