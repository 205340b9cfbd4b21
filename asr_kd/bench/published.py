"""What others have published on labelling speech and training on it at scale, to stand beside a plan. Nothing here was
measured by us."""

from dataclasses import dataclass

from asr_kd.core.progress import SECONDS_PER_HOUR


@dataclass(frozen=True)
class Published:
    """A figure from a paper, a model card or a README."""

    name: str
    hours_per_second: float | None
    """Hours of audio per second and device; None where it was not published."""
    device: str
    said: str
    """What the source says, in short."""
    source: str


PUBLISHED: tuple[Published, ...] = (
    Published(
        name="Parthasarathi & Strom 2019",
        hours_per_second=None,
        device="GPUs, number not published for labelling",
        said="1,000,000 h labelled by a 5 x 768 BLSTM, the highest of its outputs stored; the abstract says no more",
        source="arXiv 1904.01624",
    ),
    Published(
        name="NeMo parakeet-tdt-0.6b-v2",
        hours_per_second=3380 / SECONDS_PER_HOUR,
        device="A100 80 GB",
        said="RTFx 3380 on the Open ASR leaderboard at batch size 128: transcripts; audio in memory already",
        source="huggingface.co/nvidia/parakeet-tdt-0.6b-v2; GPU: github.com/huggingface/open_asr_leaderboard README",
    ),
    Published(
        name="NeMo parakeet-tdt-1.1b on SaladCloud",
        hours_per_second=66_000 / (100 * 10 * SECONDS_PER_HOUR),
        device="consumer GPU",
        said="over 66,000 h of YouTube in 10 hours by 100 replicas; 1M hours in 7 days put at $1,800",
        source="blog.salad.com/ai-batch-transcription-benchmark",
    ),
    Published(
        name="Distil-Whisper, whisper-large-v2",
        hours_per_second=20 / (20 * 60),
        device="A100 80 GB",
        said="20 h of Common Voice pseudo-labelled in about 20 minutes, bfloat16, greedy: transcripts",
        source="github.com/huggingface/distil-whisper training/README.md",
    ),
)


@dataclass(frozen=True)
class PublishedTraining:
    """How long others trained."""

    name: str
    hours: float
    ranks: int
    days: float
    said: str
    """What the source says, in short, and what it does not."""
    source: str


PUBLISHED_TRAINING = PublishedTraining(
    name="Parthasarathi & Strom 2019",
    hours=1_000_000,
    ranks=64,
    days=12,
    said="BMUF on 64 GPUs for 1,000,000 h without labels, gradient threshold compression on 16 GPUs for sequence "
    "training on 7,000 h with labels; 12 days are end to end, targets and features included. The abstracts do not say "
    "which GPUs, how many passes, or how long training alone took",
    source="abstracts of arXiv 1904.01624 and 1904.10584",
)
