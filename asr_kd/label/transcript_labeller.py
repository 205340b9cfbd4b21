"""Labelling by a teacher that only gives words: a shard on its way from audio to a table of transcripts.

The sidecar is the commit, as with posteriors; the lines of OUT/SHARD.hyp.jsonl are written before it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from asr_kd.core.runtime import device, set_threads
from asr_kd.core.storage import parse_path_or_url, size
from asr_kd.corpora.text import NORMALISER_VERSION
from asr_kd.label.label_job import LabelJob
from asr_kd.label.lattices import LatticeConfig
from asr_kd.label.posteriors import LabelConfig
from asr_kd.shards.reader import Shard
from asr_kd.targets.sidecar import sidecar_path, write_sidecar
from asr_kd.targets.sidecar_kinds import TRANSCRIPTS_FORMAT, TRANSCRIPTS_KIND
from asr_kd.teachers.registry import TranscriptKind, TranscriptTeacher, teacher_kind
from asr_kd.transcripts.pseudo_labels import pseudo_label, write_transcripts
from asr_kd.transcripts.recognised import Transcript

WORD = pa.struct([("word", pa.string()), ("start", pa.float32()), ("end", pa.float32()), ("confidence", pa.float32())])
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("text", pa.string()),  # null = set aside
        ("confidence", pa.float32()),
        ("words", pa.list_(WORD)),
        ("reason", pa.string()),
    ]
)


@dataclass
class Waves:
    """A batch on the way to the teacher: one utterance, or none where it was set aside."""

    row: int
    wave_N: np.ndarray | None
    seconds: float


class ShardTranscripts:
    """The transcripts of one shard in the making, one utterance a batch: Whisper reads 30 s at a time in any case."""

    def __init__(self, shard: Shard, teacher: TranscriptTeacher) -> None:
        self.shard, self.teacher = shard, teacher
        self.found: list[Transcript | str] = ["not labelled"] * len(shard.entries)

    def batches(self) -> list[list[int]]:
        """As `ShardTask` says."""
        return [[row] for row in range(len(self.shard.entries))]

    def read(self, rows: list[int]) -> Waves:
        """As `ShardTask` says."""
        (row,) = rows
        seconds = self.shard.entries[row].seconds
        try:
            wave_N = self.shard.audio(row)
        except ValueError as e:
            self.found[row] = str(e)
            return Waves(row, None, seconds)
        if not np.isfinite(wave_N).all():
            self.found[row] = "the audio holds samples that are not finite"
            return Waves(row, None, seconds)
        if not len(wave_N):
            self.found[row] = "the audio holds no samples"
            return Waves(row, None, seconds)
        return Waves(row, wave_N, seconds)

    def process(self, batch: Waves) -> None:
        """As `ShardTask` says."""
        if batch.wave_N is not None:
            self.found[batch.row] = self.teacher(batch.wave_N)

    def table(self) -> pa.Table:
        """The sidecar table, one row per utterance in the shard's order; numbers are those of the lines."""
        rows = []
        for entry, found in zip(self.shard.entries, self.found, strict=True):
            line = pseudo_label(entry, self.shard.digest, found).to_line()
            row = {name: line.get(name) for name in SCHEMA.names}
            if row["words"] is not None:
                row["words"] = [dict(zip(WORD.names, word, strict=True)) for word in row["words"]]
            rows.append(row)
        return pa.Table.from_pylist(rows, schema=SCHEMA)


class TranscriptLabeller:
    """Sidecars of transcripts, from a teacher that only gives words."""

    def __init__(self, job: LabelJob) -> None:
        """ValueError when options ask for what only posteriors have, or more than one teacher is given."""
        name, kind = next((n, k) for n in job.teacher if isinstance(k := teacher_kind(n), TranscriptKind))
        if len(job.teacher) > 1:
            raise ValueError(f"{name}: gives transcripts, which cannot be averaged. Give one teacher.")
        asked = {
            "--graph, --decoding-scales and --write-transcripts": job.graph or job.scales or job.decode,
            "--lattice-weight": job.graph_weight != LatticeConfig.weight,
            "--inventory": job.inventory,
            "--top-k, --min-prob, --top-p, --quant-levels and --max-frames-per-batch": job.config != LabelConfig(),
        }
        for options, is_asked in asked.items():
            if is_asked:
                raise ValueError(f"{options}: of posteriors, {name} gives none")
        set_threads(job.threads)
        on = device(job.device)
        self.job, self.device = job, on.type
        self.teacher = kind.load(name, on, job.precision, job.language)
        self.settings: dict[str, Any] = {
            "kind": TRANSCRIPTS_KIND,
            "format": TRANSCRIPTS_FORMAT,
            "teacher": self.teacher.fingerprint(),
            "precision": self.teacher.precision,
            "normaliser": NORMALISER_VERSION,
            "decoding": self.teacher.describe(),
        }

    def task(self, shard: Shard) -> ShardTranscripts:
        """As `ShardProcessor` says."""
        return ShardTranscripts(shard, self.teacher)

    def write(self, labels: ShardTranscripts) -> dict[str, Any]:
        """As `ShardProcessor` says."""
        shard, out = labels.shard, parse_path_or_url(self.job.out)
        write_transcripts(out, shard, labels.found)
        reasons = [found for found in labels.found if isinstance(found, str)]
        numbers = {
            "seconds": shard.seconds,
            "words": sum(len(found.words) for found in labels.found if not isinstance(found, str)),
            "set_aside": len(reasons),
            "first_reason": reasons[0] if reasons else None,
        }
        path = sidecar_path(out, shard)
        write_sidecar(path, labels.table(), self.settings | {"shard": shard.digest} | numbers)
        return numbers | {"bytes": size(path), "utterances": len(shard.entries)}
