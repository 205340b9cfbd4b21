"""The kinds of labellers: of teachers that give posteriors, and of those that give words."""

from typing import Any

from asr_kd.core.files import fingerprint
from asr_kd.core.runtime import device, resolve_precision, set_threads
from asr_kd.core.storage import parse_path_or_url, size
from asr_kd.graph.graph import load_graph
from asr_kd.graph.scales import DecodingScales
from asr_kd.inventory.registry import load_inventory
from asr_kd.jobs.job import ShardProcessor
from asr_kd.label.label_job import LabelJob
from asr_kd.label.lattices import LatticeConfig, LatticePosteriors
from asr_kd.label.posteriors import ShardLabels
from asr_kd.label.transcript_labeller import TranscriptLabeller
from asr_kd.shards.reader import Shard
from asr_kd.targets.codec import MAX_CLASSES
from asr_kd.targets.sidecar import sidecar_path, write_sidecar
from asr_kd.targets.sidecar_kinds import describe, statistics
from asr_kd.teachers.inference import Inference
from asr_kd.teachers.registry import known_teachers, load_models, models_fingerprint, teacher_kind
from asr_kd.teachers.token_mapper import TokenMapper
from asr_kd.teachers.wav2vec2 import Wav2Vec2Teacher
from asr_kd.transcripts.pseudo_labels import write_transcripts
from asr_kd.transcripts.transcript_sources import check_declared_language


def make_labeller(job: LabelJob) -> ShardProcessor:
    """The labeller for a job's teacher.

    ValueError when teacher and options do not belong together, or are not those that the job began with.
    """
    gives_words = any("transcripts" in teacher_kind(name).gives for name in job.teacher)
    labeller: ShardProcessor = TranscriptLabeller(job) if gives_words else PosteriorLabeller(job)
    if job.settings not in (None, fingerprint(labeller.settings)):
        raise ValueError(
            f"{', '.join(job.teacher)}: the teacher (or graph, inventory or precision) is not here what it was when "
            "this job began: was it replaced meanwhile, or is this machine of another kind? Put it back and run again."
        )
    return labeller


class PosteriorLabeller:
    """Sidecars of soft targets from a teacher with posteriors, and where asked for transcripts."""

    def __init__(self, job: LabelJob) -> None:
        """ValueError when teacher, graph and options do not belong together."""
        set_threads(job.threads)
        self.job = job
        on = device(job.device)
        self.device = on.type
        made_by = models_fingerprint(job.teacher)
        self.teacher = Inference(load_models(job.teacher), on, job.precision)
        if models_fingerprint(job.teacher) != made_by:
            raise ValueError(f"{', '.join(job.teacher)}: was replaced while it was read. Run again.")
        name = job.teacher[0]
        inventory = self.teacher.model.inventory
        if job.language is not None:
            raise ValueError(
                f"--language: only used with a teacher {known_teachers('transcripts')}; {name} gives posteriors"
            )
        if inventory.num_classes > MAX_CLASSES:
            raise ValueError(f"{name}: has {inventory.num_classes} classes; sidecars hold {MAX_CLASSES}")
        self.lattices = None
        if job.graph is not None:
            graph = load_graph(job.graph)
            graph.check(inventory, name)
            scales = (
                DecodingScales.load(parse_path_or_url(job.scales))
                if job.scales
                else DecodingScales(prior=inventory.default_prior_scale)
            )
            config = LatticeConfig(scales, job.graph_weight)
            log_prior_C = self.teacher.model.log_prior_C.cpu().numpy()
            self.lattices = LatticePosteriors(graph, log_prior_C, config, inventory if job.decode else None)
        elif job.scales is not None or job.decode:
            raise ValueError(f"{'--write-transcripts' if job.decode else '--decoding-scales'}: only used with --graph")
        wanted = inventory if job.inventory is None else load_inventory(job.inventory)
        foreign = job.inventory is None and isinstance(self.teacher.model, Wav2Vec2Teacher)
        self._language_of = None if foreign else wanted  # its labels do not say their language
        alike = wanted.fingerprint == inventory.fingerprint
        self.mapping = None if alike else TokenMapper(inventory, wanted, name)
        self.settings = describe(
            made_by,
            wanted,
            job.config.selection,
            job.config.quantiser,
            wanted.frame_shift_s if self.mapping else self.teacher.frontend.frame_shift_s,
            resolve_precision(on, job.precision),
            None if self.lattices is None else self.lattices.description | {"decoded": job.decode},
            None if self.mapping is None else self.mapping.describe(),
        )

    def task(self, shard: Shard) -> ShardLabels:
        """As `ShardProcessor` says. ValueError when an utterance names another language than the labels'."""
        if self._language_of is not None:
            check_declared_language(shard, self._language_of)
        return ShardLabels(shard, self.teacher, self.job.config, self.lattices, self.mapping)

    def write(self, task: ShardLabels) -> dict[str, Any]:
        """Write the transcripts, if any, and then the sidecar; returns what it holds, in numbers."""
        table, shard = task.table(), task.shard
        out = parse_path_or_url(self.job.out)
        if self.job.decode:
            write_transcripts(out, shard, task.transcripts())
        path = sidecar_path(out, shard)
        numbers = statistics(table, shard)
        write_sidecar(path, table, self.settings | {"shard": shard.digest} | numbers)
        return numbers | {"bytes": size(path), "utterances": len(shard.entries)}
