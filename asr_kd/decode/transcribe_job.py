"""The job of `asr-kd transcribe` on many files: a worker process loads the model once and takes one file at a time."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from asr_kd.core.files import atomic_path, sha256_file
from asr_kd.core.runtime import set_threads
from asr_kd.corpora.audio_stream import file_blocks
from asr_kd.decode.recognition import Recognition
from asr_kd.decode.transcriber import Transcriber, load
from asr_kd.graph.scales import DecodingScales
from asr_kd.jobs.job import ShardEvent, failure
from asr_kd.teachers.onnx_model import packed_with
from asr_kd.teachers.registry import models_fingerprint
from asr_kd.transcripts.formats import FORMATS, FormatName


@dataclass(frozen=True)
class TranscribeJob:
    """What decides the outputs, and on what they are made; a `PoolJob` on audio files."""

    model: str
    graph: str | None
    scales: str | None
    format: FormatName
    outputs: Mapping[str, str] = field(default_factory=dict)
    """The output of each audio file."""
    device: str = "auto"
    precision: str = "auto"
    threads: int | None = None

    def settings(self) -> dict[str, Any]:
        """What decides the words."""
        packed_graph, packed_scales = packed_with([self.model], self.graph, self.scales)
        scales = None if packed_scales is None else asdict(DecodingScales.load(packed_scales))
        graph = None if packed_graph is None else sha256_file(Path(packed_graph) / "graph.json")
        return {"model": models_fingerprint([self.model]), "graph": graph, "scales": scales}

    def load(self) -> Transcriber:
        """The model. ValueError when model, graph and scales do not belong together."""
        set_threads(self.threads)
        return load(self.model, self.graph, self.scales, self.device, self.precision)

    def worker(self, report: Callable[[ShardEvent], None]) -> "FileWorker":
        """As `PoolJob` says."""
        return FileWorker(self, report)


class FileWorker:
    """Transcribes one file after the other. An output appears whole or not at all."""

    def __init__(self, job: TranscribeJob, report: Callable[[ShardEvent], None]) -> None:
        self._job, self._report = job, report
        self._transcriber = job.load()

    def run(self, receive: Callable[[], str | None]) -> None:
        """As `PoolJob` says. A file that fails is reported and does not stop the others."""
        while (path := receive()) is not None:
            try:
                self._report(self._transcribed(path))
            except Exception as e:  # whatever happens in a file is that file's
                self._report(failure(path, e))

    def _transcribed(self, path: str) -> ShardEvent:
        out = Path(self._job.outputs[path])
        recognition = Recognition(
            self._transcriber,
            out.stem,
            file_blocks(path),
            lambda seconds, _: self._report(ShardEvent(path, "audio", seconds)),
        )
        with atomic_path(out) as temporary, open(temporary, "w", encoding="utf-8") as file:
            for piece in FORMATS[self._job.format].pieces(recognition.recording):
                file.write(piece)
        seconds = recognition.recording.seconds
        return ShardEvent(path, "done", seconds, statistics={"seconds": seconds, "work_s": recognition.work_s})
