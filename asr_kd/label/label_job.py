"""The labelling job in plain values; `processor` loads the teacher."""

from dataclasses import dataclass, field

from asr_kd.jobs.job import Job, ShardProcessor
from asr_kd.label.lattices import LatticeConfig
from asr_kd.label.posteriors import LabelConfig


@dataclass(frozen=True)
class LabelJob(Job):
    """What decides the sidecars of a folder, and on what they are made."""

    teacher: tuple[str, ...]
    """Model folders or files, `bundle:NAME_OR_FILE`, or `whisper:NAME_OR_FOLDER`; the posteriors of several are
    averaged."""
    out: str
    """Folder of the sidecars."""
    config: LabelConfig = field(default_factory=LabelConfig)
    graph: str | None = None
    """Graph for lattice posteriors."""
    scales: str | None = None
    """What `asr-kd tune` wrote for that graph."""
    graph_weight: float = LatticeConfig.weight
    decode: bool = False
    """Also write transcripts."""
    inventory: str | None = None
    """Folder or file of the inventory that the posteriors are mapped to; None: the teacher's own."""
    language: str | None = None
    """Spoken language for Whisper; None: detect it for each utterance."""
    precision: str = "auto"
    settings: str | None = None
    """Fingerprint of the labeller's settings when the job began; a worker with others must not label."""

    def processor(self) -> ShardProcessor:
        """As `Job` says: the teacher, its graph and its inventory, loaded and checked."""
        from asr_kd.label.labellers import make_labeller  # it needs this class

        return make_labeller(self)
