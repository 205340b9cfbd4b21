"""What is measured on: a teacher with random weights, and audio with the lengths and the FLAC size of speech."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import soundfile
import torch

from asr_kd.corpora.audio import SAMPLE_RATE
from asr_kd.corpora.manifest import Utterance
from asr_kd.frontend.fbank import FrontEnd, FrontEndConfig
from asr_kd.inventory.inventory import INVENTORY_FILE
from asr_kd.inventory.lexicon import SILENCE
from asr_kd.inventory.senones import Senones
from asr_kd.models.acoustic import AcousticModel, build_model
from asr_kd.models.config import PRESETS
from asr_kd.shards.reader import Shard, open_shard
from asr_kd.shards.writer import SHARD_SECONDS, write_shards
from asr_kd.targets.frame_targets import ALIGNMENT_KIND
from asr_kd.targets.sidecar import sidecar_path, write_sidecar

PAPER_CLASSES = 3183
"""Senones of arXiv 1904.01624."""
MEDIAN_S, SPREAD, SHORTEST_S, LONGEST_S = 3.4, 0.5, 1.0, 20.0
"""Lengths of utterances: log-normal, as those of speechocean762 (median 3.4 s), cut at both ends."""
NOISE = 0.004
"""Of full scale: FLAC then takes some 140 kbit/s, as speechocean762 does."""
SYLLABLES_HZ = 4.0


def random_teacher(preset: str, classes: int = PAPER_CLASSES) -> AcousticModel:
    """A model of that preset with random weights over `classes` senones: as fast as a trained one.

    ValueError when there is no such preset or less than 3 classes.
    """
    if preset not in PRESETS:
        raise ValueError(f"--preset {preset}: known are {', '.join(PRESETS)}")
    torch.manual_seed(0)
    return build_model(PRESETS[preset], made_up_inventory(classes), FrontEndConfig())


def made_up_inventory(classes: int) -> Senones:
    """An inventory of so many classes over phones that nobody speaks. ValueError for less than 3."""
    if classes < 3:
        raise ValueError(f"--classes {classes}: at least 3 are needed")
    silence_states = 1 if classes % 2 else 2
    phones = [SILENCE, *(f"P{number}" for number in range((classes - silence_states) // 2))]
    return Senones.monophone(phones, states=2, silence_states=silence_states)


def synthetic_shards(folder: Path, minutes: float, shard_seconds: float = SHARD_SECONDS, seed: int = 0) -> list[Path]:
    """Shards of about so many minutes of buzzing syllables in `folder`. The same arguments give the same bytes."""
    rng = np.random.default_rng(seed)
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    utterances: list[Utterance] = []
    left_s = minutes * 60
    while left_s > 0 or not utterances:
        seconds = float(np.clip(MEDIAN_S * np.exp(SPREAD * rng.standard_normal()), SHORTEST_S, LONGEST_S))
        path = folder / "audio" / f"u{len(utterances):06d}.flac"
        soundfile.write(path, _syllables(seconds, rng), SAMPLE_RATE, subtype="PCM_16")
        utterances.append(Utterance(id=path.stem, audio_filepath=str(path), duration=seconds))
        left_s -= seconds
    return write_shards(utterances, folder / "shards", shard_seconds)


def synthetic_alignments(shards: Sequence[Path], inventory: Senones, folder: Path) -> Path:
    """`folder` with random alignments of the shards, as `asr-kd align` writes them. The same every time."""
    frontend, rng = FrontEnd(), np.random.default_rng(0)
    inventory.save(folder / INVENTORY_FILE)
    for shard in map(open_shard, shards):
        frames = [frontend.num_frames(round(entry.seconds * SAMPLE_RATE)) for entry in shard.entries]
        states = pa.array([rng.integers(inventory.num_classes, size=n) for n in frames], type=pa.list_(pa.int16()))
        table = pa.table({"id": [entry.id for entry in shard.entries], "states": states})
        about = {"kind": ALIGNMENT_KIND, "inventory": inventory.fingerprint, "shard": shard.digest}
        write_sidecar(sidecar_path(folder, shard), table, about)
    return folder


def one_utterance_each(shards: Sequence[Shard], folder: Path, count: int) -> list[Path]:
    """`count` shards in `folder`, each with the shortest utterance of `shards` in it."""
    shard, row = min(
        ((s, r) for s in shards for r in range(len(s.entries))), key=lambda at: at[0].entries[at[1]].seconds
    )
    wave_N = shard.audio(row)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "shortest.flac"
    soundfile.write(path, wave_N, SAMPLE_RATE, subtype="PCM_16")
    seconds = len(wave_N) / SAMPLE_RATE
    same = [Utterance(id=f"shortest-{i}", audio_filepath=str(path), duration=seconds) for i in range(count)]
    return write_shards(same, folder / "shards", shard_seconds=seconds)


def _syllables(seconds: float, rng: np.random.Generator) -> np.ndarray:
    """(N,) in [-1, 1): ten harmonics of a wandering voice, a few syllables a second, and a little noise."""
    time_N = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    pitch_N = rng.uniform(90, 220) * (1 + 0.1 * np.sin(2 * np.pi * rng.uniform(0.3, 0.8) * time_N))
    phase_N = 2 * np.pi * np.cumsum(pitch_N) / SAMPLE_RATE
    voice_N = sum(rng.uniform(0.2, 1) / h * np.sin(h * phase_N) for h in range(1, 11))
    loudness_N = np.maximum(0, np.sin(np.pi * SYLLABLES_HZ * time_N + rng.uniform(0, np.pi)))
    return 0.15 * voice_N * loudness_N + NOISE * rng.standard_normal(len(time_N))
