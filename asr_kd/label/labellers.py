"""The kinds of labellers: of teachers that give posteriors, and of those that give words."""

from typing import Any

from asr_kd.core.files import fingerprint
from asr_kd.core.runtime import device, precision_on, set_threads
from asr_kd.core.storage import location, size
from asr_kd.graph.build import load_graph
from asr_kd.graph.scales import Scales
from asr_kd.inventory.kinds import load_inventory
from asr_kd.label.encoding import MOST_CLASSES
from asr_kd.label.job import LabelJob, Labeller
from asr_kd.label.lattices import LatticeConfig, LatticePosteriors
from asr_kd.label.mapping import Mapping
from asr_kd.label.posteriors import ShardLabels
from asr_kd.label.sidecars import describe, statistics
from asr_kd.label.transcribing import TranscriptLabeller
from asr_kd.models.ensemble import load_models, models_fingerprint
from asr_kd.models.inference import Inference
from asr_kd.models.whisper import PREFIX as WHISPER
from asr_kd.shards.reader import Shard
from asr_kd.shards.sidecar import sidecar_path, write_sidecar
from asr_kd.shards.transcripts import write_transcripts


def make_labeller(job: LabelJob) -> Labeller:
    """The labeller for a job's teacher.

    ValueError when teacher and options do not belong together, or are not those that the job began with.
    """
    whispers = [teacher for teacher in job.teacher if teacher.startswith(WHISPER)]
    labeller: Labeller = TranscriptLabeller(job) if whispers else PosteriorLabeller(job)
    if job.settings not in (None, fingerprint(labeller.settings)):
        raise ValueError(
            f"{', '.join(job.teacher)}: the teacher (or graph, inventory or precision) is not here what it was when "
            "this job began: was it replaced meanwhile, or is this machine of another kind? Put it back and run again."
        )
    return labeller


class PosteriorLabeller:
    """Of a teacher that scores frames: sidecars of soft targets, and where asked for what a search heard."""

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
            raise ValueError(f"--language: only used with a teacher {WHISPER}...; {name} gives posteriors")
        if inventory.size > MOST_CLASSES:
            raise ValueError(f"{name}: has {inventory.size} classes; sidecars hold {MOST_CLASSES}")
        self.lattices = None
        if job.graph is not None:
            graph = load_graph(job.graph)
            graph.check(inventory, name)
            scales = Scales.load(location(job.scales)) if job.scales else Scales(prior=inventory.prior_share)
            config = LatticeConfig(scales, job.graph_weight)
            log_prior_C = self.teacher.model.log_prior_C.cpu().numpy()
            self.lattices = LatticePosteriors(graph, log_prior_C, config, inventory if job.decode else None)
        elif job.scales is not None or job.decode:
            raise ValueError(f"{'--decode' if job.decode else '--scales'}: only used with --graph")
        wanted = inventory if job.inventory is None else load_inventory(job.inventory)
        alike = wanted.fingerprint == inventory.fingerprint
        self.mapping = None if alike else Mapping(inventory, wanted, name)
        self.settings = describe(
            made_by,
            wanted,
            job.config.selection,
            job.config.quantiser,
            wanted.frame_shift_s if self.mapping else self.teacher.frontend.frame_shift_s,
            precision_on(on, job.precision),
            None if self.lattices is None else self.lattices.description | {"decoded": job.decode},
            None if self.mapping is None else self.mapping.describe(),
        )

    def labels(self, shard: Shard) -> ShardLabels:
        """The labels of a shard, to be made."""
        return ShardLabels(shard, self.teacher, self.job.config, self.lattices, self.mapping)

    def write(self, labels: ShardLabels) -> dict[str, Any]:
        """Write the sidecar of finished labels, what was heard before it; returns what it holds, in numbers."""
        table, shard = labels.table(), labels.shard
        out = location(self.job.out)
        if self.job.decode:
            write_transcripts(out, shard, labels.transcripts())
        path = sidecar_path(out, shard)
        numbers = statistics(table, shard)
        write_sidecar(path, table, self.settings | {"shard": shard.digest} | numbers)
        return numbers | {"bytes": size(path), "utterances": len(shard.entries)}
